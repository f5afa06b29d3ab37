"""Your own images by a CSV: which files are named, with which labels, and which mistakes in it are told."""

import csv
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import strategies as st

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.csv_listing import list_csv
from semisonic.text import csv_cell
from tests.support.fuzz import INPUTS, attack, damaged, odd_files
from tests.support.image_folders import errors_of, files, load_it, write_images


def write_csv(file: Path, rows: list[list[str]]) -> Path:
    with open(file, "w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    return file


@pytest.mark.parametrize("beside", [True, False])
def test_csv(tmp_path: Path, beside: bool):
    images = tmp_path if beside else tmp_path / "images"
    write_images(images, "a.png b.jpg c.png d.png")
    rows = [["label", "path", "split"], ["dog", "a.png", "train"], ["cat", "b.jpg", ""], ["", "c.png", ""]]
    file = write_csv(tmp_path / "labels.csv", [*rows, ["dog", "d.png", "test"]])
    data = load_it(None if beside else images, csv=file)
    assert data.classes == ("cat", "dog")
    assert files(data.train) == [("a.png", 1), ("b.jpg", 0), ("c.png", -1)]
    assert files(data.test) == [("d.png", 1)]


def test_mistakes_in_a_csv(tmp_path: Path):
    write_images(tmp_path, "a.png b.png")
    rows = [
        ["a.png", "x", "train"],
        ["./a.png", "y", ""],
        ["", "y", ""],
        ["b.png", "y", "dev"],
        ["c.png", "", "test"],
    ]
    lines = errors_of(None, csv=write_csv(tmp_path / "l.csv", [["path", "label", "split"], *rows]))
    assert [line.split(f" of {tmp_path / 'l.csv'} ")[0] for line in lines] == [
        f"data.csv: line {n}" for n in (3, 4, 5, 6)
    ]
    assert "repeats the image of line 2" in lines[0]
    assert "has split 'dev'" in lines[2]
    (line,) = errors_of(None, csv=write_csv(tmp_path / "m.csv", [["file", "label"]]))
    assert "has no column path" in line
    (tmp_path / "l.csv").write_bytes(b"path,label\na.png,x\n" + b"b.png,\xff\n")
    (line,) = errors_of(None, csv=tmp_path / "l.csv")
    assert line.startswith(f"data.csv: line 3 of {tmp_path / 'l.csv'} is not UTF-8")
    (line,) = errors_of(None, csv=tmp_path / "none.csv")
    assert line.startswith("data.csv: cannot read ")
    rows = [["path", "label"], ["a.png", "x"], ["b.png", "y"], ["missing.png", "x"], ["b2.png", "y"]]
    lines = errors_of(None, csv=write_csv(tmp_path / "n.csv", rows))
    assert lines[0].startswith("data.bad_files: 2 of 4 images cannot be decoded")
    assert all("No such file" in line for line in lines[1:])


def rows_of(*more: list[str]) -> list[list[str]]:
    return [["path", "label"], *([f"{name}{n}.png", name] for name in ("x", "y") for n in range(2)), *more]


def test_a_label_that_stands_for_none_is_refused_unless_it_is_a_class(tmp_path: Path):
    write_images(tmp_path, "x0.png x1.png y0.png y1.png u.png v.png w.png")
    rows = rows_of(["u.png", "None"], ["v.png", "None"], ["w.png", "nan"])
    file = write_csv(tmp_path / "l.csv", rows)
    first, second = errors_of(None, csv=file)
    assert first.startswith(f"data.csv: {file}, lines 6, 7 have the label 'None', which mostly stands for none: leave")
    assert second.startswith(f"data.csv: {file}, line 8 has the label 'nan'")
    write_csv(file, rows_of(["u.png", ""], ["v.png", " "]))
    assert load_it(None, csv=file).classes == ("x", "y")
    write_csv(file, rows_of(["u.png", "None"], ["v.png", "None"]))
    assert load_it(None, csv=file, classes=("x", "y", "None")).classes == ("x", "y", "None")
    data = load_it(None, csv=file, doubts="warn")
    assert data.classes == ("None", "x", "y") and "lines 6, 7 have the label 'None'" in data.notes[0]


def test_every_line_has_the_fields_of_the_first(tmp_path: Path):
    file = write_csv(tmp_path / "l.csv", rows_of(["a.png", "x", "dog"], ["b.png"], [], ["c.png", "x", ""]))
    assert errors_of(None, csv=file) == [
        f"data.csv: line 6 of {file} has 3 fields, its first line 2 (path, label); a field with commas needs quotes",
        f"data.csv: line 7 of {file} has 1 field, its first line 2 (path, label)",
        f"data.csv: line 9 of {file} has 3 fields, its first line 2 (path, label); a field with commas needs quotes",
    ]


def test_classes_that_are_probably_one(tmp_path: Path):
    write_images(tmp_path, "a.png b.png c.png d.png")
    rows = [["path", "label"], ["a.png", "1"], ["b.png", "1.0"], ["c.png", "2"], ["d.png", "2.0"]]
    file = write_csv(tmp_path / "l.csv", rows)
    (line,) = errors_of(None, csv=file)
    assert line.startswith(f"data.csv: {file} has classes that are probably one: '1' and '1.0', '2' and '2.0'; give")
    write_images(tmp_path, "e.png")
    write_csv(file, [["path", "label", "split"], *([*row, ""] for row in rows[1:]), ["e.png", "1", "test"]])
    data = load_it(None, csv=file, doubts="warn", duplicates="warn")
    assert data.classes == ("1", "1.0", "2", "2.0") and line in data.notes


def test_a_csv_of_another_form(tmp_path: Path):
    (tmp_path / "l.csv").write_text("path;label\na.png;x\n")
    (line,) = errors_of(None, csv=tmp_path / "l.csv")
    assert line.endswith("(found: path;label); its columns are separated by semicolons: save it with commas")
    (line,) = errors_of(None, csv=write_csv(tmp_path / "m.csv", [["path", "label", "label"]]))
    assert "has the column label 2 times" in line
    (tmp_path / "n.csv").symlink_to("/not/mounted.csv")
    (line,) = errors_of(None, csv=tmp_path / "n.csv")
    assert line.endswith("a link to /not/mounted.csv: No such file or directory")


def test_splits_in_a_csv_in_any_case(tmp_path: Path):
    write_images(tmp_path, "a.png b.png c.png d.png")
    rows = [["a.png", "x", "Train"], ["b.png", "y", "training"], ["c.png", "x", "TEST"], ["d.png", "y", "testing"]]
    data = load_it(None, csv=write_csv(tmp_path / "l.csv", [["path", "label", "split"], *rows]))
    assert [path for path, _ in files(data.test)] == ["c.png", "d.png"]


def test_paths_that_lead_nowhere(tmp_path: Path):
    rows = [["path", "label"], ["im\\a.png", "x"], ["im\\b.png", "y"]]
    file = write_csv(tmp_path / "l.csv", rows)
    assert errors_of(None, csv=file) == [f"data.csv: line 2 of {file} has the path im\\a.png; write / in place of \\"]
    rows = [["path", "label"], *([f"im/{name}{n}.png", name] for name in "xy" for n in range(2))]
    first, *_ = errors_of(None, csv=write_csv(file, rows))
    assert first.endswith(f"cannot be decoded; their paths are taken from {tmp_path}; data.root changes that")
    write_images(tmp_path / "elsewhere/im", "x0.png x1.png y0.png y1.png")
    assert load_it(tmp_path / "elsewhere", csv=file).classes == ("x", "y")


def test_a_class_of_test_images_alone_is_told_by_the_csv(tmp_path: Path):
    rows = [["a.png", "x", ""], ["b.png", "y", ""], ["c.png", "z", "test"]]
    (line,) = errors_of(None, csv=write_csv(tmp_path / "l.csv", [["path", "label", "split"], *rows]))
    assert line == "data.csv: there are test images of classes without a labeled training image: z"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (["https://a.org/b.png", "x"], "names https://a.org/b.png; images are read from files, not from addresses"),
        (["~/a.png", "x"], "names ~/a.png, which is no file; ~ stands for no home folder here"),
        (["a" * 5000, "x"], "has a field of more than 4,000 characters"),
        (["a.png", "x" * 5000], "has a field of more than 4,000 characters"),
    ],
)
def test_a_path_that_no_file_has(row: list[str], problem: str, tmp_path: Path):
    (line,) = errors_of(None, csv=write_csv(tmp_path / "l.csv", rows_of(row)))
    assert line == f"data.csv: line 6 of {tmp_path / 'l.csv'} {problem}"


def test_paths_of_every_kind_that_are_files(tmp_path: Path):
    """Relative, absolute, above the CSV, with a backslash or ~, and with bytes that are not UTF-8."""
    odd = ["a.png", str(tmp_path / "b.png"), "../here/c.png", "d\\d.png", "~e.png", os.fsdecode(b"caf\xe9.png")]
    folder = tmp_path / "here"
    write_images(folder, "a.png c.png")
    for name in ("d\\d.png", "~e.png", odd[-1], "../b.png"):
        shutil.copy(folder / "a.png", folder / name)
    rows = [
        ["path", "label", "split"],
        *([csv_cell(name), label, "train"] for name, label in zip(odd, "xyxyxy", strict=True)),
    ]
    rows += [[csv_cell(odd[5]), "x", "test"]]
    lines = errors_of(None, csv=write_csv(folder / "l.csv", rows), duplicates="drop")
    assert len(lines) == 1 and "repeats the image of line 7: caf\\xe9.png" in lines[0]


@INPUTS
def test_no_content_surprises(inputs: int, tmp_path: Path):
    write_images(tmp_path, "a.png b.png c.png d.png")
    cell = st.sampled_from(["a.png", "b.png", "/", "..", "", " ", "nan", "x", "1", "1.0", "test", '"', "x" * 5000, "\x1b[1m",
                            "\u202e", "=1", "http://x/a.png", "~", "\\", "é", "e\u0301"])  # fmt: skip
    row = st.lists(cell, max_size=4).map(",".join)
    rows = st.lists(row, max_size=12).map(lambda found: "\n".join(["path,label,split", *found]).encode())
    valid = b"path,label\na.png,x\nb.png,y\nc.png,x\nd.png,y\n"
    contents = st.one_of(rows, rows, damaged(valid), odd_files(valid))
    attack(lambda path: list_csv(DataConfig(name="folder", size=8, csv=path)), tmp_path / "l.csv", contents, inputs)
