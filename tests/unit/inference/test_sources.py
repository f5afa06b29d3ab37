"""What is to be predicted: folders, lists, CSV and arrays by name, kept in few bytes."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from semisonic.inference.inputs import Inputs
from semisonic.inference.sources import ArraySources, FileSources, Names, Sources, files_below, find_sources
from semisonic.schema import UserError
from tests.support.image_folders import write_images

INPUTS = Inputs(16)


def names(sources: Sources) -> list[str]:
    return [sources.name(row) for row in range(len(sources))]


def mistake(images: Path | None, listed: Path | None = None) -> str:
    with pytest.raises(UserError) as caught:
        find_sources(images, listed, INPUTS)
    (line,) = caught.value.messages
    return line


def test_names_come_back_as_they_were_whatever_bytes_they_have():
    given = ["a.png", "", "b\n.png", os.fsdecode(b"\xff.png"), "ü/é.jpg"] * 30_000
    kept = Names(given)
    assert len(kept) == len(given) and kept[-1] == "ü/é.jpg" and kept[3:5] == given[3:5] and list(kept) == given
    assert kept.digest == Names(given).digest != Names(given[1:]).digest
    assert Names(["ab", "c"]).digest != Names(["a", "bc"]).digest
    with pytest.raises(IndexError):
        kept[len(given)]


def test_names_take_little_more_than_their_letters():
    kept = Names(f"{number:09}.png" for number in range(100_000))
    assert sys.getsizeof(kept._text) + kept._ends.nbytes < 22 * 100_000


def test_a_folder_is_searched_and_one_image_is_a_folder_of_one(tmp_path: Path):
    write_images(tmp_path / "b" / "c", "2.png 1.png")
    write_images(tmp_path, "a.png")
    (tmp_path / "notes.txt").write_text("no image by name")
    found = files_below(tmp_path)
    assert names(found) == ["a.png", "b/c/1.png", "b/c/2.png"] and found.root == tmp_path
    assert names(files_below(tmp_path / "b" / "c" / "1.png")) == ["1.png"]
    assert "no images found" in mistake(tmp_path / "notes.txt")
    assert mistake(tmp_path / "none") == f"{tmp_path}/none: no such file or folder"


def test_a_list_names_files_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    listed = tmp_path / "list"
    listed.write_bytes(b"a b.png\r\n\n/abs/\xff.png\n")
    found = find_sources(None, listed, INPUTS)
    assert names(found) == ["a b.png", os.fsdecode(b"/abs/\xff.png")]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one.png\ntwo.png")))
    assert names(find_sources(None, Path("-"), INPUTS)) == ["one.png", "two.png"]
    listed.write_text("\n")
    assert mistake(None, listed) == f"--list {listed}: names no files"
    listed.write_bytes(b"a" * 70_000)
    assert "a line of more than 65,536 bytes" in mistake(None, listed)
    listed.write_bytes(b"a\0b\n")
    assert "zero byte" in mistake(None, listed)
    assert mistake(None, tmp_path / "none") == f"--list {tmp_path}/none: No such file or directory"


def test_a_csv_has_a_column_of_paths_beside_others(tmp_path: Path):
    file = tmp_path / "table.csv"
    file.write_text('label,path\nx,"a,b.png"\n\ny,c.png\n')
    found = find_sources(file, None, INPUTS)
    assert names(found) == ["a,b.png", "c.png"] and isinstance(found, FileSources) and found.root == tmp_path
    file.write_text("file\na.png\n")
    assert mistake(file).startswith(f"images: {file} has no column path; its first line must name path (found: file)")
    file.write_text("path,label\n,x\n")
    assert mistake(file) == f"images: line 2 of {file} names no path"
    file.write_text("path,label\na,x,y\n")
    assert mistake(file) == f"images: line 2 of {file} has 3 fields, its first line 2"
    file.write_text("path\n")
    assert mistake(file) == f"{file}: names no files"


def test_an_array_file_has_numbered_images(tmp_path: Path):
    file = tmp_path / "some.npy"
    np.save(file, np.zeros((5, 8, 8), np.uint8))
    found = find_sources(file, None, INPUTS)
    assert isinstance(found, ArraySources) and names(found)[-1] == "some.npy[4]"
    for array, problem in (
        (np.zeros((5, 64), np.uint8), "holds [5, 64]; images are [N, H, W, 3] or [N, H, W]"),
        (np.zeros((5, 8, 8)) + 2, "floats up to 2 were given"),
        (np.zeros((5, 8, 8, 4), np.uint8), "drop alpha"),
        (np.array([{}]), "holds Python objects"),
    ):
        np.save(file, array)
        assert problem in mistake(file)


def test_sources_are_known_again_by_their_place_and_names(tmp_path: Path):
    write_images(tmp_path / "a", "1.png 2.png")
    write_images(tmp_path / "b", "1.png 2.png")
    a, again, b = (files_below(tmp_path / name).identity for name in ("a", "a", "b"))
    assert a == again != b
    write_images(tmp_path / "a", "3.png")
    assert files_below(tmp_path / "a").identity != a


def test_a_folder_is_listed_as_for_training_and_what_is_passed_over_is_said(tmp_path: Path):
    folder = tmp_path / "images"
    write_images(folder, "a.png .hidden.png ._a.png")
    write_images(folder / "@eaDir", "a.png")
    write_images(tmp_path / "elsewhere", "b.png")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "nowhere").symlink_to(tmp_path / "none")
    (folder / "photo.heic").write_bytes(b"")
    found = files_below(folder)
    assert names(found) == ["a.png", "linked/b.png", "nowhere"]  # the last is left out when it is read
    assert any(".heic: 1" in note for note in found.notes) and any("@eaDir: 1" in note for note in found.notes)
    (folder / "a.png").unlink()
    only = tmp_path / "only"
    only.mkdir()
    (only / "photo.heic").write_bytes(b"")
    assert "no images found" in mistake(only) and "convert them" in mistake(only)
