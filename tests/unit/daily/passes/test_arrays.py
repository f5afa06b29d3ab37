"""Features on the disk: all or nothing of them is written, and what is new goes between what was there."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from semisonic.daily.passes import arrays
from semisonic.daily.passes.arrays import Features, merged, read, settle, write


def rows_of(*ids: int) -> np.ndarray:
    """Rows that tell whose they are."""
    return np.stack([np.full(3, number / 100) for number in ids]).astype(np.float16)


def written(folder: Path, *ids: int, made_by: str = "a") -> Features:
    return write(folder, "run", made_by, [(np.array(ids), rows_of(*ids))], np.array(ids), 3)


def test_features_are_found_by_the_numbers_of_images(tmp_path: Path):
    found = written(tmp_path, 2, 5, 9)
    assert found.made_by == "a" and found.rows.dtype == np.float16
    assert found.places(np.array([9, 3, 2, 10])).tolist() == [2, -1, 0, -1]
    assert found.of(np.array([5, 2])).dtype == np.float32 and np.array_equal(found.of([5, 2]), rows_of(5, 2))
    with pytest.raises(KeyError, match=r"\[3\]"):
        found.of(np.array([5, 3]))
    assert read(tmp_path, "other") is None


def test_new_rows_go_between_those_that_were_there_and_in_the_place_of_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(arrays, "BLOCK", 2)
    before = written(tmp_path, 1, 2, 3, 4, 7, 11, 12)
    new = [(np.array([2, 5]), rows_of(2, 5) * 2), (np.array([], np.int64), rows_of(1)[:0]), (np.array([9]), rows_of(9))]
    ids = np.array([1, 2, 3, 4, 5, 7, 9, 11, 12])
    found = write(tmp_path, "run", "a", merged(before, new), ids, 3)
    assert found.ids.tolist() == ids.tolist()
    wanted = rows_of(*ids.tolist())
    wanted[[1, 4]] *= 2
    assert np.array_equal(found.rows, wanted)
    assert [part[0].tolist() for part in merged(None, new)] == [[2, 5], [], [9]]


class Killed(BaseException):
    """What no handler of errors catches."""


class Kill:
    """Counts calls, and ends one of them before it is made."""

    def __init__(self, moment: int):
        self.left = moment

    def before(self, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            self.left -= 1
            if self.left == 0:
                raise Killed
            return function(*args)

        return call


def test_a_kill_leaves_the_features_of_before_or_the_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    outcomes = set()
    for moment in range(1, 7):
        written(tmp_path, 1, 2)
        kill = Kill(moment)
        with monkeypatch.context() as patch:
            for name in ("write_file", "stage", "replace"):
                patch.setattr(arrays, name, kill.before(getattr(arrays, name)))
            with pytest.raises(Killed):
                written(tmp_path, 1, 2, 3, made_by="b")
        settle(tmp_path, "run")
        found = read(tmp_path, "run")
        assert found is not None and (len(found.ids), found.made_by) in ((2, "a"), (3, "b")), moment
        outcomes.add(found.made_by)
        assert not list(tmp_path.glob(".*"))
    assert outcomes == {"a", "b"}


def test_numbers_of_other_features_are_not_taken_for_theirs(tmp_path: Path):
    written(tmp_path, 1, 2)
    np.save(tmp_path / "run.ids.npy", np.array([1, 3]))
    assert read(tmp_path, "run") is None
    written(tmp_path, 1, 2)
    (tmp_path / "run.npy").write_bytes(b"half")
    assert read(tmp_path, "run") is None


def test_no_images_have_features_too(tmp_path: Path):
    found = write(tmp_path, "run", "a", [], np.array([], np.int64), 3)
    assert len(found.ids) == 0 and found.places(np.array([4])).tolist() == [-1]
