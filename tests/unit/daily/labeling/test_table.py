"""The table of a run's labels: read as it was written, and after a kill the one of before or the new one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from semisonic.daily.labeling import table
from semisonic.daily.labeling.table import Table, parts, read, read_header, settle, write
from semisonic.schema import UserError


def labels(count: int, folds: bool = False, classes: int = 3) -> Table:
    generator = np.random.default_rng(count)
    values = {name: generator.random(count).astype(np.float32) for name in table.COLUMNS}
    values["image"] = np.arange(1, count + 1)
    values["top"] = np.tile(np.arange(1, classes + 1, dtype=np.int32), (count, 1))
    values["p"] = generator.random((count, classes)).astype(np.float32)
    return Table({name: value for name, value in values.items() if folds or name not in ("folds", "calibrated")})


@pytest.mark.parametrize("folds", [False, True])
def test_a_table_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: bool):
    monkeypatch.setattr(table, "ROWS", 4)
    made = labels(10, folds)
    write(tmp_path / "day-001", made, {"run": "day-001"})
    files = parts(tmp_path / "day-001")
    assert [path.name for path in files] == [f"part-00000-0000{number}.parquet" for number in range(3)]
    found = read(tmp_path / "day-001")
    assert found.columns.keys() == made.columns.keys()
    for name, values in made.columns.items():
        assert np.array_equal(found[name], values) and found[name].dtype == values.dtype, name
    assert read(tmp_path / "day-001", "top", "image").columns.keys() == {"top", "image"}
    columns = parquet.read_schema(files[0]).names
    assert columns[:7] == ["image", "top1", "top2", "top3", "p1", "p2", "p3"] and ("calibrated" in columns) == folds
    header = read_header(tmp_path / "day-001")
    assert header is not None and header["rows"] == 10 and header["columns"].keys() == made.columns.keys()


class Killed(BaseException):
    """What no handler of errors catches."""


def killing(function: Callable[..., object], moment: list[int]) -> Callable[..., object]:
    def call(*args: object) -> object:
        moment[0] -= 1
        if moment[0] == 0:
            raise Killed
        return function(*args)

    return call


def test_a_kill_leaves_the_table_of_before_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    outcomes = []
    for moment in range(1, 6):
        shutil.rmtree(tmp_path / "auto", ignore_errors=True)
        write(tmp_path / "auto" / "day-001", labels(3), {})
        left = [moment]
        with monkeypatch.context() as patch:
            for name in ("write_bytes", "write_text", "replace", "settle"):
                if name != "settle" or moment == 5:  # the last one, which removes the table of before
                    patch.setattr(table, name, killing(getattr(table, name), left))
            with pytest.raises(Killed):
                write(tmp_path / "auto" / "day-001", labels(5), {})
        settle(tmp_path / "auto" / "day-001")
        outcomes.append(len(read(tmp_path / "auto" / "day-001")))
        assert [path.name for path in (tmp_path / "auto").iterdir()] == ["day-001"]
    assert outcomes == [3, 3, 3, 5, 5]


def test_what_is_missing_or_damaged_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(table, "ROWS", 4)
    with pytest.raises(UserError, match=r"day-001: holds no auto-labels that can be read; run `label` again"):
        read(tmp_path / "day-001")
    write(tmp_path / "day-001", labels(6), {})
    parts(tmp_path / "day-001")[1].write_bytes(b"half")
    with pytest.raises(UserError, match=r"part-00000-00001\.parquet: cannot be read .* run `label` again"):
        read(tmp_path / "day-001")
    parts(tmp_path / "day-001")[1].unlink()
    with pytest.raises(UserError, match="day-001: has not the 6 rows that it should have"):
        read(tmp_path / "day-001")
