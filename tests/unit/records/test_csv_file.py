"""CSV of people: read as it was meant, or refused with the line."""

import codecs
import csv
import os
from pathlib import Path

import pytest
from hypothesis import strategies as st

from semisonic.records.csv_file import check_columns, open_csv
from semisonic.schema import UserError
from semisonic.text import csv_cell
from tests.support.fuzz import INPUTS, attack, damaged, odd_files


def rows_of(path: Path, **options: int) -> list[tuple[int, list[str]]]:
    table = open_csv(path, "data.csv", **options)
    check_columns(table, path, "data.csv", ["path", "label"], ["split"])
    places = [place for place in table.places(["path", "label"]) if place is not None]
    return [(line, [cells[place] for place in places if place < len(cells)]) for line, cells in table.rows]


READ = {
    "plain": b"path,label\na.png,fox\n",
    "with a mark": codecs.BOM_UTF8 + b"path,label\na.png,fox\n",
    "of Windows": b"path,label\r\na.png,fox\r\n",
    "of old Macs": b"path,label\ra.png,fox\r",
    "without an end": b"path,label\na.png,fox",
    "quoted": b'"path","label"\n"a.png","fox"\n',
    "columns in another order, and more": b"id, label ,path\n7,fox,a.png\n",
    "a column twice that nobody reads": b"x,x,path,label\n1,2,a.png,fox\n",
}


@pytest.mark.parametrize("form", READ)
def test_forms_of_csv_that_are_read(form: str, tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(READ[form])
    assert rows_of(tmp_path / "a.csv") == [(2, ["a.png", "fox"])]


def test_lines_have_their_numbers_and_cells_their_text(tmp_path: Path):
    texts = ["=1+1", "-x.png", "two\nlines", 'quo"te', "com,ma", os.fsdecode(b"caf\xe9.png"), "naïve", "'@"]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        file.write("\r\n")
        writer.writerows([csv_cell(text), ""] for text in texts)
    assert rows_of(tmp_path / "a.csv") == [(line, [text, ""]) for line, text in enumerate(texts, start=3)]


REFUSED = {
    "empty": (b"", "F is empty; its first line must name the columns"),
    "no such column": (b"file,label\n", "F has no column path; its first line must name path, label and optionally"),
    "semicolons": (b"path;label\na.png;fox\n", "its columns are separated by semicolons: save it with commas"),
    "tabs": (b"path\tlabel\na.png\tfox\n", "its columns are separated by tabs: save it with commas"),
    "a column twice": (b"path,label,label\n", "F has the column label 2 times; keep one"),
    "UTF-16": ("path,label\n".encode("utf-16"), "F is UTF-16; save it as UTF-8"),
    "UTF-32": ("path,label\n".encode("utf-32"), "F is UTF-32; save it as UTF-8"),
    "Latin-1": ("path,label\na.png,fox\nb.png,löwe\n".encode("latin-1"), "line 3 of F is not UTF-8 (byte 0xf6)"),
    "null bytes": (b"path,label\na.png,f\0x\n", "line 2 of F holds a null byte"),
    "a quote to the end": (b'path,label\n"a.png,fox\nb.png,fox\n', "line 2 of F cannot be read: unexpected end of data"),
    "a quote to the next": (
        b'path,label\n"a.png,fox\nb.png,fox\n"c.png,fox\n', "line 2 of F cannot be read: ',' expected after '\"'"
    ),
    "a cell of two lines": (b'path,label\n"a\nb.png",fox\n', "line 2 of F goes on to line 3; is a quotation mark"),
    "a long cell": (b"path,label\n" + b"a" * 200_000 + b",fox\n", "line 2 of F cannot be read: field larger than"),
    "a long line": (b"path,label\n" + b"a," * 2**20, "line 2 of F has more than 1,048,576 characters"),
    "a million columns": (b"a," * 2**18 + b"\n", "F has no column path and no column label"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_meant_is_refused_with_its_line(what: str, tmp_path: Path):
    content, reason = REFUSED[what]
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        rows_of(path)
    (line,) = caught.value.messages
    assert line.startswith("data.csv: ") and reason.replace("F ", f"{path} ") in line and len(line) < 500


def test_what_is_no_file_is_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large.csv").write_bytes(b"path,label\n")
    for path, reason in {
        "none": "no such file",
        "pipe": "a named pipe, not a regular file",
        "": "a folder, not",
    }.items():
        with pytest.raises(UserError, match=reason):
            rows_of(tmp_path / path)
    with pytest.raises(UserError, match="has 11 bytes; at most 10 are read"):
        rows_of(tmp_path / "large.csv", most=10)


def contents() -> st.SearchStrategy[bytes | str]:
    """Lines of pieces that mean something to a reader of CSV, and damaged files."""
    piece = st.sampled_from([",", '"', "\n", "\r", "path", "label", "a.png", "fox", ";", "\t", "=", "'", "\\x0a", "é",
                             "\x1b[31m", "\u202e", " ", "," * 5000])  # fmt: skip
    lines = st.lists(piece, max_size=30).map(lambda pieces: ("path,label\n" + "".join(pieces)).encode())
    return st.one_of(lines, lines, damaged(READ["quoted"]), odd_files(READ["plain"]))


@INPUTS
def test_no_content_surprises(inputs: int, tmp_path: Path):
    attack(rows_of, tmp_path / "a.csv", contents(), inputs)
