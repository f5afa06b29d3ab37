"""Features that are kept: read back, joined, damaged, and written by two at once."""

import threading
from pathlib import Path

import numpy as np
import pytest

from semisonic.frozen import kept
from semisonic.frozen.features import Rows

WIDTH = 4


def rows(*numbers: int) -> Rows:
    """Features that say whose they are."""
    index = np.array(numbers, np.int64)
    return Rows(index, np.repeat(index[:, None], WIDTH, 1).astype(np.float16))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features" / "key.safetensors"


def read(path: Path) -> Rows:
    found = kept.read(path, print, WIDTH)
    assert found is not None
    return found


def test_what_is_kept_is_read_and_added_to(path: Path):
    said: list[str] = []
    assert kept.read(path, said.append, WIDTH) is None
    kept.keep(path, rows(1, 5, 7), said.append)
    kept.keep(path, rows(0, 5, 9), said.append)
    found = read(path)
    assert found.index.tolist() == [0, 1, 5, 7, 9] and found.values[:, 0].tolist() == [0, 1, 5, 7, 9]
    assert found.of(np.array([7, 0]))[:, 0].tolist() == [7, 0]
    assert found.places(np.array([2, 9])).tolist() == [-1, 4] and not said
    with pytest.raises(KeyError, match="image 2"):
        found.of(np.array([1, 2]))
    assert [file.name for file in path.parent.iterdir() if not file.name.endswith(".lock")] == [path.name]


@pytest.mark.parametrize("damage", ["cut", "flip", "other"])
def test_a_damaged_file_is_told_and_made_anew(path: Path, damage: str):
    said: list[str] = []
    kept.keep(path, rows(1, 2, 3), said.append)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-3]
    elif damage == "flip":
        content[-1] ^= 1  # a bit of the features
    else:
        content = bytearray(b"something else")
    path.write_bytes(content)
    assert kept.read(path, said.append, WIDTH) is None
    assert len(said) == 1 and str(path) in said[0] and "made anew" in said[0]
    kept.keep(path, rows(4), said.append)
    assert read(path).index.tolist() == [4]


def test_features_of_another_width_are_told_and_made_anew(path: Path):
    """As another's file in a shared folder may have, under a checksum that is right."""
    said: list[str] = []
    kept.keep(path, Rows(np.arange(2), np.ones((2, WIDTH + 1), np.float16)), said.append)
    assert kept.read(path, said.append, WIDTH) is None and "is no file of features" in said[0]
    kept.keep(path, rows(4), said.append)
    assert read(path).index.tolist() == [4]


def test_two_runs_at_once_lose_nothing(path: Path):
    said: list[str] = []
    threads = [threading.Thread(target=kept.keep, args=(path, rows(*range(n, 200, 4)), said.append)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(path).index.tolist() == list(range(200)) and not said


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path):
    said: list[str] = []
    (tmp_path / "file").write_text("")
    kept.keep(tmp_path / "file" / "key.safetensors", rows(1), said.append)
    assert len(said) == 1 and "cannot be kept" in said[0]
