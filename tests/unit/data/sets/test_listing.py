"""Layouts of your own images: which files are found, with which labels, and which mistakes are named."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.registry import data_problems
from semisonic.data.sets.spellings import LABELED_FOLDERS, UNLABELED_FOLDERS
from semisonic.data.sets.splits import make_split
from tests.support.image_folders import HEIGHT, WIDTH, errors_of, files, load_it, write_images


def test_train_and_test_trees(tmp_path: Path):
    write_images(tmp_path / "train/dog", "b.png a.jpg")
    write_images(tmp_path / "train/cat/deep/er", "c.PNG")
    write_images(tmp_path / "val/cat", "d.png")
    (tmp_path / "train/dog/notes.txt").write_text("not an image")
    (tmp_path / "train/dog/.hidden.png").write_text("not an image")
    data = load_it(tmp_path)
    assert data.classes == ("cat", "dog")
    assert files(data.train) == [
        ("train/cat/deep/er/c.PNG", 0),
        ("train/dog/a.jpg", 1),
        ("train/dog/b.png", 1),
    ]
    assert files(data.test) == [("val/cat/d.png", 0)]
    assert data.train.shapes.tolist() == [[HEIGHT, WIDTH]] * 3
    assert data.train.shapes.dtype == np.int32
    assert (data.size, data.flip, data.pad) == (16, True, 2)
    assert data.notes == (
        "1 file passed over, no image by name: .txt: 1, such as train/dog/notes.txt",
        "1 entry of tools passed over (.*: 1)",
    )


@pytest.mark.parametrize("names", itertools.product(LABELED_FOLDERS[:3], UNLABELED_FOLDERS))
def test_labeled_and_unlabeled(tmp_path: Path, names):
    labeled, unlabeled = names
    write_images(tmp_path / labeled / "a", "1.png 2.png")
    write_images(tmp_path / labeled / "b", "1.png")
    write_images(tmp_path / unlabeled, "x.png")
    write_images(tmp_path / unlabeled / "some/where", "y.png")
    write_images(tmp_path / "test/a", "1.png")
    write_images(tmp_path / "val/a", "1.png")
    data = load_it(tmp_path)
    assert data.train.labels.tolist() == [0, 0, 1, -1, -1]
    assert [Path(p).name for p in data.train.paths[3:]] == ["y.png", "x.png"]
    assert files(data.test) == [("test/a/1.png", 0)]
    assert data.notes == (f"not used in {tmp_path}: val/",)
    split = make_split(DataConfig(labels=None), data.train.labels, 2, seed=0)
    assert split.labeled.tolist() == [0, 1, 2]
    assert split.unlabeled.tolist() == [0, 1, 2, 3, 4]


def test_a_folder_in_two_spellings_is_a_mistake(tmp_path: Path):
    for first, second in ((LABELED_FOLDERS[0], LABELED_FOLDERS[1]), UNLABELED_FOLDERS):
        for name in (first, second):
            write_images(tmp_path / first / name / "a", "1.png")
        lines = data_problems(DataConfig(name="folder", root=tmp_path / first, size=16))
        assert f"data.root: {tmp_path / first} has both {first}/ and {second}/; keep one of them" in lines


def test_links_are_followed_once(tmp_path: Path):
    write_images(tmp_path / "pool", "1.png 2.png")
    write_images(tmp_path / "data/a", "1.png 2.png")
    (tmp_path / "data/b").symlink_to(tmp_path / "pool")
    (tmp_path / "pool/loop").symlink_to(tmp_path / "pool")
    write_images(tmp_path / "data/test/a", "t.png")
    assert [p for p, _ in files(load_it(tmp_path / "data").train)] == [
        "a/1.png",
        "a/2.png",
        "b/1.png",
        "b/2.png",
    ]


def test_mistakes_in_a_folder(tmp_path: Path):
    def only(root: Path | None, **fields) -> str:
        (line,) = data_problems(DataConfig(**{"name": "folder", "root": root, "size": 16} | fields))
        assert errors_of(root, **fields) == [line]
        return line

    assert only(None).startswith("data.root: needed for data.name=folder")
    assert (
        only(tmp_path / "none") == f"data.root: cannot read the folder {tmp_path / 'none'}: No such file or directory"
    )
    (tmp_path / "file").write_text("")
    assert only(tmp_path / "file").endswith("Not a directory")
    assert "holds no class folders" in only(tmp_path)
    write_images(tmp_path / "train/a", "1.png")
    assert only(tmp_path, size=None).startswith("data.size: needed")
    assert only(tmp_path, test_root=tmp_path / "none").startswith("data.test_root: cannot read")
    write_images(tmp_path / "labeled/a", "1.png")
    assert "has both labeled/ and train/" in only(tmp_path)
    assert "data.labels: 0" in data_problems(DataConfig(name="folder", root=tmp_path / "train", size=16, labels=0))[0]


def test_mistakes_that_show_in_the_listing(tmp_path: Path):
    write_images(tmp_path / "train/a", "1.png 2.png")
    assert f"{tmp_path} has only the class a of labeled images; at least 2 are needed" in errors_of(tmp_path)[0]
    (tmp_path / "train/b").mkdir()
    write_images(tmp_path / "train", "stray.png")
    lines = errors_of(tmp_path)
    assert "images directly in" in lines[0]
    assert f"class folder {tmp_path / 'train/b'} holds no images" in lines[1]
    (tmp_path / "train/stray.png").rename(tmp_path / "train/b/1.png")
    assert "too few labeled ones" in errors_of(tmp_path)[0]
    write_images(tmp_path / "test/c", "1.png")
    assert "classes without a labeled training image: c" in errors_of(tmp_path)[0]
