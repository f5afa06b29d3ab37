"""What is noticed of other images than those that a run began with, what is said of it, and what does not count."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semisonic.data.sets import fingerprint
from semisonic.data.sets.base import DataSet, Images
from semisonic.data.sets.fingerprint import POOL, TABLE, TEST, data_problem, write_table
from semisonic.data.sets.manifest import reading_all
from tests.support.fuzz import INPUTS, attack, npz_files
from tests.support.image_folders import load_it, picture, write_images

WHOSE = "the run in OUT"


def images(root: Path) -> Path:
    """Two labeled images and a test image of each of two classes, and two without a label; all of them differ."""
    parts = {"train/cat": "12", "train/dog": "12", "test/cat": "1", "test/dog": "1", "unlabeled": "ab"}
    for number, name in enumerate(f"{part}/{stem}.png" for part, stems in parts.items() for stem in stems):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(shift=20 * number).save(root / name)
    return root


def swap(one: Path, other: Path) -> None:
    one.rename(one.with_name("swapped"))
    other.rename(one)
    one.with_name("swapped").rename(other)


def replaced(file: Path, other: Path) -> None:
    """Other pixels under the same name, size and time."""
    known, content = file.stat(), other.read_bytes()
    file.write_bytes(content[: known.st_size].ljust(known.st_size, b"\0"))
    os.utime(file, ns=(known.st_atime_ns, known.st_mtime_ns))


def half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:40])


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "swapped classes": (
        lambda root: swap(root / "train/cat", root / "train/dog"),
        "the training image train/cat/1.png holds something else (and 3 more differences)",
    ),
    "replaced image": (
        lambda root: replaced(root / "train/dog/2.png", root / "train/cat/1.png"),
        "the training image train/dog/2.png holds something else",
    ),
    "renamed": (
        lambda root: (root / "train/cat/1.png").rename(root / "train/cat/3.png"),
        "the training image train/cat/1.png is called train/cat/3.png",
    ),
    "moved to another class": (
        lambda root: (root / "train/cat/1.png").rename(root / "train/dog/3.png"),
        "the training image train/cat/1.png is called train/dog/3.png",
    ),
    "added": (
        lambda root: write_images(root / "train/dog", "9.png"),
        "the training image train/dog/9.png is new",
    ),
    "removed": (
        lambda root: (root / "train/dog/1.png").unlink(),
        "the training image train/dog/1.png is missing, or cannot be decoded",
    ),
    "damaged": (
        lambda root: half(root / "train/dog/1.png"),
        "the training image train/dog/1.png is missing, or cannot be decoded",
    ),
    "unlabeled": (
        lambda root: [half(root / "unlabeled/a.png"), write_images(root / "unlabeled", "c.png")],
        "the unlabeled image unlabeled/a.png is missing, or cannot be decoded (and 1 more difference)",
    ),
    "another test set": (
        lambda root: [shutil.rmtree(root / "test"), write_images(root / "test/cat", "1.png 2.png"),
                      write_images(root / "test/dog", "3.png")],
        "the test image test/cat/1.png holds something else (and 3 more differences)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_other_images_are_noticed(name: str, tmp_path: Path):
    change, expected = CHANGES[name]
    root = images(tmp_path / "images")
    before = load_it(root)
    write_table(before, tmp_path / TABLE)
    change(root)
    now = load_it(root, bad_files="skip")
    if name == "replaced image":
        assert data_problem(before.fingerprint, now, tmp_path / TABLE, WHOSE) is None  # nothing shows that it was
        with reading_all():
            now = load_it(root, bad_files="skip")
    said = data_problem(before.fingerprint, now, tmp_path / TABLE, WHOSE)
    assert said == f"data: not what {WHOSE} began with: {expected}"
    test = "test" in name
    assert (data_problem(before.fingerprint, now, tmp_path / TABLE, WHOSE, POOL) is None) == test
    assert (data_problem(before.fingerprint, now, tmp_path / TABLE, WHOSE, TEST) is None) != test


def listed(root: Path, text: str) -> DataSet:
    (root / "list.csv").write_text(text)
    return load_it(None, csv=root / "list.csv")


CSV = "path,label,split\ntrain/cat/1.png,cat,\ntrain/dog/1.png,dog,\ntrain/dog/2.png,dog,\ntest/cat/1.png,cat,test\n"


@pytest.mark.parametrize(
    ("was", "now", "expected"),
    [
        ("dog/2.png,dog", "dog/2.png,cat", "the training image train/dog/2.png has the label cat in place of the label dog"),
        ("dog/2.png,dog", "dog/2.png,", "the training image train/dog/2.png has no label in place of the label dog"),
        ("cat/1.png,cat,test", "cat/1.png,dog,test", "the test image test/cat/1.png has the label dog in place of the label cat"),
        ("train/dog/2.png,dog,\n", "", "the training image train/dog/2.png is missing, or cannot be decoded"),
        ("train/dog/1.png,dog,\ntrain/dog/2.png,dog", "train/dog/2.png,dog,\ntrain/dog/1.png,dog",
         "the labeled training images are others, or in another order"),
    ],
)  # fmt: skip
def test_an_edited_list_is_noticed(was: str, now: str, expected: str, tmp_path: Path):
    root = images(tmp_path)
    before = listed(root, CSV)
    write_table(before, tmp_path / TABLE)
    assert CSV.count(was) == 1
    after = listed(root, CSV.replace(was, now))
    said = data_problem(before.fingerprint, after, tmp_path / TABLE, WHOSE)
    assert said == f"data: not what {WHOSE} began with: {expected}"


def test_the_same_images_elsewhere_and_at_another_time_are_the_same(tmp_path: Path):
    root, test = images(tmp_path / "here"), tmp_path / "test"
    (root / "test").rename(test)
    before = load_it(root, test_root=test)
    shutil.copytree(root, tmp_path / "there/deeper")  # other inodes and times
    shutil.copytree(test, tmp_path / "other")
    os.utime(tmp_path / "there/deeper/train/cat/1.png", ns=(1, 1))
    (tmp_path / "there/deeper/train/cat/notes.txt").write_text("no image")
    now = load_it(tmp_path / "there/deeper", test_root=tmp_path / "other")
    assert now.fingerprint == before.fingerprint
    swap(tmp_path / "other/cat", tmp_path / "other/dog")
    swapped = load_it(tmp_path / "there/deeper", test_root=tmp_path / "other")
    write_table(before, tmp_path / TABLE)
    said = data_problem(before.fingerprint, swapped, tmp_path / TABLE, WHOSE)
    assert said is not None and "the test image cat/1.png holds something else (and 1 more difference)" in said


def test_without_its_table_a_message_says_which_part(tmp_path: Path):
    root = images(tmp_path / "images")
    before = load_it(root)
    half(root / "unlabeled/a.png")
    now = load_it(root, bad_files="skip")
    expected = (
        f"data: not what {WHOSE} began with: the labels of the training images are others, or in another order "
        "(and 1 more difference)"
    )
    write_table(now, tmp_path / TABLE)  # of other data
    assert data_problem(before.fingerprint, now, tmp_path / "none", WHOSE) == expected
    assert data_problem(before.fingerprint, now, tmp_path / TABLE, WHOSE) == expected
    (tmp_path / TABLE).write_bytes(b"damaged")
    assert data_problem(before.fingerprint, now, tmp_path / TABLE, WHOSE) == expected


@INPUTS
def test_a_table_of_any_content_says_more_or_nothing(inputs: int, tmp_path: Path):
    write_images(tmp_path / "images/a", "a.png b.png")
    write_images(tmp_path / "images/b", "a.png b.png")
    data = load_it(tmp_path / "images", test_fraction=0.5)
    write_table(data, tmp_path / TABLE)
    with np.load(tmp_path / TABLE) as stored:
        valid = dict(stored)
    assert fingerprint._read_table(tmp_path / TABLE, data.fingerprint).keys() == {"train", "test"}
    attack(lambda path: fingerprint._read_table(path, data.fingerprint), tmp_path / "t.npz", npz_files(valid), inputs)


def resident(seed: int = 0) -> DataSet:
    """Two classes of 4 x 4 pixels, the last two without a label."""
    pixels = np.random.default_rng(seed).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
    labels = np.array([0, 1, 0, 1, 0, 1, -1, -1])
    half = (0.5, 0.5, 0.5)
    train, test = Images(pixels[:8], labels), Images(pixels[8:], np.array([0, 1]))
    return DataSet("two", ("a", "b"), 4, half, half, False, 0, train, test)


def with_pixel(part: Images, index: int) -> Images:
    pixels = part.pixels.copy()
    pixels[index, 0, 0, 0] ^= 1
    return replace(part, pixels=pixels)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda data: replace(data, classes=("b", "a")), "the classes are"),
        (lambda data: replace(data, train=with_pixel(data.train, 5)), "the labeled training images are"),
        (lambda data: replace(data, train=with_pixel(data.train, 6)), "the unlabeled images are"),
        (lambda data: replace(data, test=with_pixel(data.test, 0)), "the test images are"),
        (lambda data: replace(data, test=replace(data.test, labels=data.test.labels[::-1])), "the labels of the test images are"),
        (lambda data: replace(data, train=replace(data.train, labels=data.train.labels[[1, 0, *range(2, 8)]])),
         "the labels of the training images are"),
    ],
)  # fmt: skip
def test_other_pixels_or_labels_in_memory_are_noticed(change, expected: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(fingerprint, "_PIECE", 3 * 48)  # three images
    said = data_problem(resident().fingerprint, change(resident()), tmp_path / TABLE, WHOSE)
    assert said == f"data: not what {WHOSE} began with: {expected} others, or in another order"
    assert data_problem(resident().fingerprint, resident(), tmp_path / TABLE, WHOSE) is None
    shuffled = resident()  # a selection that is no slice
    order = np.array([6, 0, 1, 2, 7, 3, 4, 5])
    mixed = replace(shuffled, train=Images(shuffled.train.pixels[order], shuffled.train.labels[order]))
    same = {part for part, value in mixed.fingerprint.items() if value == shuffled.fingerprint[part]}
    assert same == set(fingerprint.PARTS) - {"labels"}
