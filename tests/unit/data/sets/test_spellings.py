"""Names that may be spelled in two ways: either is read, both at once are refused, one is written."""

from pathlib import Path

import numpy as np
import pytest

from semisonic.data.sets.spellings import ARRAYS, SAVED_ARRAYS, Role, role_of
from semisonic.data.sets.splits import Split, load_split, save_split
from tests.support.splits import OF_EACH, errors_of, split_of


@pytest.mark.parametrize("spelling", [0, 1])
def test_arrays_in_either_spelling(tmp_path: Path, spelling: int):
    first, second, third = (names[min(spelling, len(names) - 1)] for names in ARRAYS)
    np.savez(tmp_path / "s.npz", **{first: OF_EACH, second: np.arange(20, 90), third: [99, 100]})
    expected = Split(np.arange(10), np.arange(20, 90), np.array([99, 100]))
    assert load_split(tmp_path / "s.npz").hash == split_of(split=tmp_path / "s.npz").hash == expected.hash


def test_an_array_in_both_spellings_is_a_mistake(tmp_path: Path):
    for american, british in ARRAYS[:2]:
        np.savez(tmp_path / "s.npz", **{american: OF_EACH, british: OF_EACH})
        (line,) = errors_of(split=tmp_path / "s.npz")
        assert line.endswith(f"s.npz has both arrays {american} and {british}; keep one of them")


def test_a_run_s_split_is_written_as_it_always_was(tmp_path: Path):
    """Checkpoints hold its hash, which the names of the arrays are part of."""
    split = Split(np.array([0]), np.array([0, 1]), np.array([2]))
    save_split(split, tmp_path / "split.npz")
    with np.load(tmp_path / "split.npz") as stored:
        assert tuple(stored.files) == SAVED_ARRAYS
    assert split.hash == "de12cdbf41f61de2c6e6a4d57722be6a3c6cbfaf81d6927b03ef7976a132bc28"


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("Training Set", Role.LABELED), ("train_images", Role.LABELED), ("TRAINSET", Role.LABELED),
        ("unlabelled-data", Role.UNLABELED), ("Extra", Role.POOL), ("test.set", Role.TEST), ("VALID", Role.VALIDATION),
        ("trainer", None), ("contest", None), ("train_cat", None), ("set", None), ("invalid", None), ("", None),
        ("_", None), ("testudo", None), ("dataset", None),
    ],
)  # fmt: skip
def test_what_a_folder_of_this_name_is_for(name: str, role: Role | None):
    assert role_of(name) is role
