"""Parts of a table: whole or not there, the same for any number of slices, joined at the end, never over other files."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from semisonic.inference.parts import HEADER, Begun, Layout, Parts, Target, begin, find_target, first_left_out
from semisonic.schema import UserError

LAYOUT = Layout(images=10, rows=3, slices=2)


def columns(part: range) -> dict[str, object]:
    return {"path": [f"{row}.png" for row in part], "confidence": np.array(part, np.float32) / 10}


@contextmanager
def begun(target: Target, layout: Layout = LAYOUT, resume: bool = False, **identity: object) -> Iterator[Begun]:
    own = {"weights": "w", "--batch": 64} | identity
    found = begin(target, layout, own, {"checkpoint": "runs/a/checkpoints/step-4"}, resume)
    try:
        yield found
    finally:
        found.lock.release()


def write(parts: Parts, number: int, part: int, left_out: tuple[int, ...] = ()) -> None:
    rows = parts.layout.parts(number)[part]
    kept = [row for row in rows if row not in left_out]
    table = {"path": [f"{row}.png" for row in kept], "confidence": np.array(kept, np.float32) / 10}
    parts.write(number, part, table, [(f"{row}.png", "empty file") for row in rows if row in left_out])


def rows(file: Path) -> list[str]:
    with file.open() as opened:
        return [row["path"] for row in csv.DictReader(opened)]


def mistake(path: Path, kind: str | None = None, resume: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        find_target(path, kind, resume)
    (line,) = caught.value.messages
    return line


@pytest.mark.parametrize("slices", [1, 2, 3, 7])
def test_the_parts_are_the_same_for_any_number_of_slices(slices: int):
    layout = Layout(10, 3, slices)
    every = [part for number in range(slices) for part in layout.parts(number)]
    assert every == [range(3), range(3, 6), range(6, 9), range(9, 10)]
    assert [layout.parts(number)[part] for number, part in layout.all_parts] == every


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_one_file_is_joined_from_its_parts(tmp_path: Path, kind: str):
    target = find_target(tmp_path / f"table.{kind}", None, resume=False)
    with begun(target) as job:
        for number, part in LAYOUT.all_parts:
            assert not job.parts.done(number, part)
            write(job.parts, number, part, left_out=(4, 9))
            assert job.parts.done(number, part)
        assert job.parts.finish(job.header) == 2
    if kind == "csv":
        found = rows(target.path)
    else:
        from pyarrow import parquet

        found = parquet.read_table(target.path).to_pydict()["path"]
    assert found == [f"{row}.png" for row in range(10) if row not in (4, 9)]
    assert first_left_out(tmp_path / "table.left_out.csv", 9) == [("4.png", "empty file"), ("9.png", "empty file")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"table.{kind}", "table.left_out.csv"])
    assert "already exists" in mistake(target.path) and "already exists" in mistake(target.path, resume=True)
    target.path.unlink()
    assert "table.left_out.csv already exists" in mistake(target.path)


def test_a_folder_keeps_its_parts_and_says_how_many_rows_there_are(tmp_path: Path):
    target = find_target(tmp_path / "made" / "table", None, resume=False)
    assert target.kind == "parquet" and not target.single
    with begun(target) as job:
        for number, part in LAYOUT.all_parts:
            write(job.parts, number, part, left_out=(0,))
        (target.folder / ".part-00000-00000.parquet.tmp").write_text("half of a part, of a kill")
        job.parts.finish(job.header)
    names = [f"part-{number:05}-{part:05}.parquet" for number, part in LAYOUT.all_parts]
    assert sorted(path.name for path in target.folder.iterdir()) == ["left_out.csv", *names, HEADER]
    assert json.loads((target.folder / HEADER).read_text())["finished"] == {"rows": 9, "left_out": 1}
    with begun(target, resume=True) as job:
        assert job.header["finished"] == {"rows": 9, "left_out": 1}


def test_a_job_that_was_stopped_goes_on_with_its_own_slices(tmp_path: Path):
    target = find_target(tmp_path / "table.csv", None, resume=False)
    with begun(target) as job:
        write(job.parts, 1, 0)
    assert "--resume continues them" in mistake(target.path)
    assert find_target(target.path, None, resume=True) == target
    with begun(target, Layout(10, 3, slices=5), resume=True) as job:
        assert job.parts.layout == LAYOUT and job.parts.done(1, 0) and not job.parts.done(0, 0)
        for number, part in LAYOUT.all_parts:
            if not job.parts.done(number, part):
                write(job.parts, number, part)
        job.parts.finish(job.header)
    assert rows(target.path) == [f"{row}.png" for row in range(10)]


def test_a_kill_before_the_header_is_written_leaves_nothing_in_the_way(tmp_path: Path):
    for path, kind in ((tmp_path / "table.csv", None), (tmp_path / "table", "csv")):
        target = Target(path, "csv", single=kind is None)
        target.folder.mkdir()
        for name in (".lock", ".lock-after-0123", f".{HEADER}.tmp"):
            (target.folder / name).write_text("of a kill")
        assert find_target(path, kind, resume=False) == find_target(path, kind, resume=True) == target
        (target.folder / "part-00000-00000.csv").write_text("of another")
        which = "" if path == target.folder else f"{target.folder} "
        assert mistake(path, kind, resume=True) == f"--out {path}: {which}already exists; name another"


@pytest.mark.parametrize("reached", ["unlinked", "header"])
def test_a_kill_while_the_parts_are_removed_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reached: str
):
    target = find_target(tmp_path / "table.csv", None, resume=False)
    unlink, removed = Path.unlink, []

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.name == HEADER if reached == "header" else path.name.startswith("part-") and len(removed) == 3:
            raise KeyboardInterrupt
        unlink(path, missing_ok)
        removed.extend([path] * path.name.startswith("part-"))

    with begun(target) as job:
        for number, part in LAYOUT.all_parts:
            write(job.parts, number, part, left_out=(2, 9))
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Path, "unlink", killed)
            job.parts.finish(job.header)
    table, left_out = target.path.read_bytes(), target.left_out.read_bytes()
    with begun(find_target(target.path, None, resume=True), resume=True) as job:
        assert job.parts.finish(job.header) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv", "table.left_out.csv"]
    assert (target.path.read_bytes(), target.left_out.read_bytes()) == (table, left_out)


@pytest.mark.parametrize("name", ["table.csv", "table"])
def test_what_was_finished_and_removed_since_is_told(tmp_path: Path, name: str):
    target = find_target(tmp_path / name, None if name.endswith("csv") else "csv", resume=False)
    finished = {"rows": 9, "left_out": 1}
    with begun(target) as job:
        for number, part in LAYOUT.all_parts:
            write(job.parts, number, part, left_out=(2,))
        job.parts.finish(job.header)
    if target.single:  # as a kill leaves it
        target.folder.mkdir()
        (target.folder / HEADER).write_text(json.dumps(job.header | {"finished": finished}))
    for gone in (target.left_out, target.path if target.single else job.parts.path(1, 0)):
        content = gone.read_bytes()
        gone.unlink()
        with pytest.raises(UserError, match=f"was finished, but {gone} was removed"), begun(target, resume=True):
            pass
        gone.write_bytes(content)
    for text in (b"", b"path,reason\na\n", b"path,reason\n\xff,x\n"):
        target.left_out.write_bytes(text)
        with pytest.raises(UserError, match=r"left_out\.csv: is not what was written there"):
            first_left_out(target.left_out, 20)


def test_a_kill_in_a_folder_of_parts_leaves_no_table_beside_them(tmp_path: Path):
    target = find_target(tmp_path / "table", "csv", resume=False)
    with begun(target) as job:
        for number, part in LAYOUT.all_parts:
            write(job.parts, number, part, left_out=(2,))
        beside = job.parts.left_out_path(0, 0)
        content = beside.read_bytes()
        job.parts.finish(job.header)
        beside.write_bytes(content)  # as a kill leaves it
    with begun(target, resume=True) as job:
        assert job.parts.finish(job.header) == 1 and not beside.exists()


def test_a_kill_while_the_parts_are_joined_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = find_target(tmp_path / "table.csv", None, resume=False)

    def killed(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    with begun(target) as job, monkeypatch.context() as patch:
        for number, part in LAYOUT.all_parts:
            write(job.parts, number, part, left_out=(2,))
        patch.setattr("semisonic.inference.parts.write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            job.parts.finish(job.header)
    assert len(rows(target.path)) == 9
    with begun(find_target(target.path, None, resume=True), resume=True) as job:
        assert job.parts.finish(job.header) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv", "table.left_out.csv"]


def test_a_file_that_somebody_else_made_meanwhile_stays(tmp_path: Path):
    target = find_target(tmp_path / "table.csv", None, resume=False)
    with begun(target) as job:
        for number, part in LAYOUT.all_parts:
            write(job.parts, number, part, left_out=(2,))
        for theirs in (target.path, target.left_out):
            theirs.write_text("theirs")
            with pytest.raises(UserError, match=f"{theirs} was made by something else meanwhile; the parts are in"):
                job.parts.finish(job.header)
            assert theirs.read_text() == "theirs" and job.parts.done(0, 0)
            theirs.unlink()


def test_what_differs_from_the_start_is_told_together(tmp_path: Path):
    target = find_target(tmp_path / "table.csv", None, resume=False)
    with begun(target):
        pass
    with pytest.raises(UserError) as caught, begun(target, resume=True, weights="other", **{"--batch": 32, "--top": 5}):
        pass
    where = f"--resume: {target.folder} was begun with"
    assert caught.value.messages == [
        f"{where} weights runs/a/checkpoints/step-4, not runs/a/checkpoints/step-4 with other weights",
        f"{where} --batch 64, not 32",
        f"{where} --top null, not 5",
    ]
    for content in (
        "",
        "[]",
        '{"format": 2}',
        '{"format": 1, "slices": 0, "finished": null, "begun_with": {}}',
        "[" * 9999,
    ):
        (target.folder / HEADER).write_text(content)
        with (
            pytest.raises(UserError, match="not of predictions that this version can continue"),
            begun(target, resume=True),
        ):
            pass


def test_two_processes_do_not_write_one_table(tmp_path: Path):
    target = find_target(tmp_path / "table", "csv", resume=False)
    with begun(target), pytest.raises(UserError, match=r"table: .*") as caught, begun(target, resume=True):
        pass
    assert "another" in str(caught.value) or "process" in str(caught.value)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert mistake(tmp_path / "file" / "table.csv") == f"--out {tmp_path}/file/table.csv: {tmp_path}/file is no folder"
    assert "must end in .csv or .parquet" in mistake(tmp_path / "table.txt")
    assert "--format" in mistake(tmp_path / "table.csv", "csv")
    assert "already exists" in mistake(tmp_path / "file", "csv")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "x").write_text("")
    assert "already exists" in mistake(tmp_path / "used")
    (tmp_path / "empty").mkdir()
    assert find_target(tmp_path / "empty", "csv", resume=False).kind == "csv"
