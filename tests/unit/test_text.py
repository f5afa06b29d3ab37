"""Text of others: in terminals, in names of files, in CSV and in JSON."""

import csv
import io
import json
import math
import os
import re
from urllib.parse import unquote, unquote_to_bytes

import pytest

from semisonic.schema import UserError
from semisonic.text import (
    LONGEST_NAME,
    csv_cell,
    csv_text,
    dump_json,
    file_name,
    name_of,
    numbers,
    plain_text,
    printable,
    printable_lines,
    utf8_text,
)
from tests.support.processes import ROOT

ODD = {
    "two\nlines": "two\\nlines",
    "back\rwards": "back\\rwards",
    "\x1b[31mred\x1b[0m": "\\x1b[31mred\\x1b[0m",
    "\x9b2J": "\\x9b2J",
    "bell\a": "bell\\x07",
    "exe\u202egpj.png": "exe\\u202egpj.png",
    "\u2066isolated": "\\u2066isolated",
    "line\u2028separator": "line\\u2028separator",
    os.fsdecode(b"caf\xe9"): "caf\\xe9",
    "\ud800": "\\ud800",
    "nothing\0": "nothing\\x00",
    "no-break\xa0space": "no-break\\xa0space",
}
"""Text -> what is shown of it."""


@pytest.mark.parametrize("text", ODD)
def test_what_a_terminal_would_act_on_is_escaped(text: str):
    assert printable(text) == ODD[text] and printable(text).isprintable()
    assert printable(printable(text)) == printable(text), "what is escaped is left alone"
    printable(text).encode()  # a terminal can be sent it
    assert UserError(f"data.root: {text}").messages == [f"data.root: {ODD[text]}"]


def test_what_people_write_stays():
    for text in ("naïve", "日本語 テスト", "می\u200cخواهم", "👩\u200d👧", "a\\b", "50 % [bold] $x$"):
        assert printable(text) == text
    assert printable_lines("a\n\x1b") == "a\n\\x1b"


def test_long_names_keep_both_ends():
    shown = name_of(f"begin{'x' * 10**6}end")
    assert len(shown) == LONGEST_NAME and shown.startswith("begin") and shown.endswith("end") and "[...]" in shown
    assert name_of(shown) == shown


NAMES = (
    "fox", "a/b", "..", ".", "", ".hidden", "con", "NUL.txt", "50%", "end. ", "~root", "-rf", "nul\0", "\x1b[2J", "a\\b", 'q"?*<>|:',
    "日本語", os.fsdecode(b"caf\xe9"),
)  # fmt: skip


@pytest.mark.parametrize("text", NAMES)
def test_a_name_of_a_file_is_one_folder_s_and_can_be_read_back(text: str, tmp_path):
    name = file_name(text)
    (tmp_path / name).write_text("")
    assert [path.name for path in tmp_path.iterdir()] == [name] and not name.startswith(".")
    if text:
        assert os.fsdecode(unquote_to_bytes(name)) == text
    assert file_name("fox") == "fox" and file_name("日本語") == "日本語"


def test_names_of_files_are_short_and_differ():
    first, second = file_name("é" * 10**5), file_name("é" * 10**5 + "!")
    assert first != second and max(len(first.encode()), len(second.encode())) <= 200
    assert len({file_name(text) for text in NAMES}) == len(NAMES)
    assert unquote(file_name("%" * 70)) != ""


CELLS = {
    "=1+2": "'=1+2",
    "+x": "'+x",
    "-x.png": "'-x.png",
    "@x": "'@x",
    "\t=1": "\\x09=1",
    "\r=1": "\\x0d=1",
    "two\nlines": "two\\x0alines",
    "'=1": "''=1",
    "''": "'''",
    "'quoted'": "'quoted'",
    "a\\x0ab": "a\\\\x0ab",
    "a\\\nb": "a\\\\\\x0ab",
    "C:\\x\\y": "C:\\x\\y",
    os.fsdecode(b"caf\xe9.png"): "caf\\xe9.png",
    "café": "café",
}
"""Text -> its cell."""


@pytest.mark.parametrize("text", CELLS)
def test_cells_are_text_in_spreadsheets_and_can_be_read_back(text: str):
    file = io.StringIO()
    csv.writer(file).writerow([csv_cell(text), "end"])
    assert next(csv.reader(io.StringIO(file.getvalue()))) == [CELLS[text], "end"]
    assert csv_text(CELLS[text]) == text
    assert CELLS[text].encode().isascii() or "é" in text


def test_columns_of_utf8_hold_every_name():
    for text in (*CELLS, "\x00", "a\\xff", "é"):
        assert csv_text(utf8_text(text).encode().decode()) == text or text.startswith("'")
        assert plain_text(utf8_text(text).encode().decode()) == text
    assert utf8_text("=1+\n\x1b") == "=1+\n\x1b" and utf8_text(os.fsdecode(b"\xff")) == "\\xff"
    assert utf8_text("\ud800") == csv_cell("\ud800") == "\\ud800"


def test_cells_of_others_stay_as_they_are():
    for cell in ("", "fox", "'", "'fox", "\\x41", "\\x", "a\\b", "é"):
        assert csv_text(cell) == cell


def test_all_json_is_written_by_one_function():
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "engine").rglob("*.py")
        for line in path.read_text().splitlines()
        if "json.dump" in line and path.name != "text.py"
    ]
    assert not found, "semisonic.text.dump_json writes no NaN"


def test_all_csv_is_written_with_cells_that_are_text():
    writers = {
        path.name
        for path in (ROOT / "engine").rglob("*.py")
        if re.search(r"csv\.(writer|DictWriter|write_csv)", path.read_text())
    }
    known = {"report.py", "outputs.py", "tables.py", "adding.py"}
    assert writers == known, "one that is new makes cells with csv_cell, and has a test of it"


def test_json_has_no_numbers_that_parsers_refuse():
    value = {"a": math.nan, "b": [1.5, math.inf, (-math.inf,)], "c": None, "text": "nan of it"}
    text = dump_json(value)
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": "nan", "b": [1.5, "inf", ["-inf"]], "c": None, "text": "nan of it",
    }  # fmt: skip
    read = {name: numbers(entry) for name, entry in json.loads(text).items()}
    assert math.isnan(read["a"]) and read["b"] == [1.5, math.inf, [-math.inf]] and read["text"] == "nan of it"
    assert dump_json({"x": 0.1}, indent=1) == json.dumps({"x": 0.1}, indent=1)
