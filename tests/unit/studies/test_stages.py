"""Runs that start from other runs: their order, and what they are given."""

from pathlib import Path

import numpy as np
import pytest

from semisonic.compare import jobs
from semisonic.compare.jobs import Comparison, parse_entries
from semisonic.inference import pool
from semisonic.schema import UserError
from semisonic.studies.stages import Origin, before, comparisons, origins, ready, stages
from tests.support.comparisons import finish

FIELDS = ["--data", "digits", "--device", "cpu", "--steps", "7"]
TUNED = "supervised:init=uda:optim.lr=1e-5:steps=9"
REDUCED = "mpl:variant=reduced:predictions=uda"
AFTER = "supervised:init=mpl:optim.lr=1e-5"


def first(tmp_path: Path, *more: str) -> Comparison:
    own = ["--algorithms", "uda,mpl", "--seeds", "0,1", "--labels", "40", "--out", str(tmp_path), "--processes", "1"]
    return jobs.parse([*own, *more, *FIELDS])


def both(tmp_path: Path, share: tuple[int, int] = (1, 1)) -> list[Comparison]:
    asked = first(tmp_path, "--share", f"{share[0]}/{share[1]}")
    return comparisons(asked, stages(["uda", "mpl", TUNED, REDUCED])[1:], FIELDS, "40", share)


def test_entries_are_in_stages_by_what_they_name():
    found = stages([TUNED, "uda", REDUCED, "mpl", AFTER, f"supervised:init={'x' * 3}"])
    assert [[entry.name for entry in stage] for stage in found] == [
        ["uda", "mpl", "supervised:init=xxx"], [TUNED, REDUCED, AFTER],  # a checkpoint of the user's own is no entry
    ]  # fmt: skip
    (entry,) = parse_entries(TUNED)[0]
    assert before(entry, ["uda", "mpl"]) == ("init", "uda") and before(entry, ["mpl"]) is None
    (entry,) = parse_entries(REDUCED)[0]
    assert before(entry, ["uda"]) == ("algorithm.predictions", "uda")


def test_what_is_no_entry_is_named():
    with pytest.raises(UserError, match="'nothing' is unknown"):
        stages(["uda", "nothing"])


def test_a_run_starts_from_the_one_with_its_seed(tmp_path: Path):
    one, two = both(tmp_path)
    assert {job.entry.name for job in one.jobs} == {"uda", "mpl"}
    assert [(job.entry.name, job.seed) for job in two.jobs] == [(name, s) for s in (0, 1) for name in (TUNED, REDUCED)]
    tuned, reduced = two.jobs[:2]
    source = next(job for job in one.jobs if job.entry.name == "uda" and job.seed == 0)
    assert tuned.cfg.init == source.folder and tuned.cfg.steps == 9 and tuned.cfg.optim.lr == 1e-5
    assert reduced.cfg.algorithm.predictions == tmp_path / "tables" / "uda-40-seed0.npy" and reduced.cfg.steps == 7
    assert tuned.folder == tmp_path / "runs" / jobs.folder_name(TUNED, "40", 0)
    assert two.jobs[2].cfg.init == two.jobs[2].folder.parent / "uda-40-seed1"
    assert origins([*one.jobs, *two.jobs])[tuned.folder] == Origin("init", source)


def test_what_cannot_begin_waits_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one, two = both(tmp_path)
    made, source = [*one.jobs, *two.jobs], one.jobs[0]
    found, lines = ready(two, made)
    assert found.mine == [] and len(lines) == 4
    assert lines[0] == f"{two.jobs[0].folder.name}: not begun: uda-40-seed0 has not finished"

    finish(source, 90.0)
    tables: list[tuple[Path, Path]] = []
    monkeypatch.setattr(pool, "predict_pool", lambda folder: folder)
    monkeypatch.setattr(pool, "write_pool", lambda table, path: tables.append((table, path)))
    one, two = both(tmp_path)
    found, lines = ready(two, [*one.jobs, *two.jobs])
    assert [job.entry.name for job in found.mine] == [TUNED, REDUCED] and len(lines) == 2
    assert {job.seed for job in found.mine} == {0}
    assert tables == [(source.folder, tmp_path / "tables" / "uda-40-seed0.npy")]
    # Now that the weights are there, so is what they expect of images.
    assert found.mine[0].cfg.data.expected.mean == (0.25,) * 3 and f"--init={source.folder}" in found.mine[0].argv


def test_a_table_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one, two = both(tmp_path)
    origin = origins([*one.jobs, *two.jobs])[two.jobs[1].folder]
    origin.path.parent.mkdir()
    np.save(origin.path, np.zeros((1, 1)))
    monkeypatch.setattr(pool, "predict_pool", lambda folder: pytest.fail("it is there"))
    origin.make()


def test_shares_divide_the_runs_of_a_later_stage_too(tmp_path: Path):
    parts = [[job.folder.name for job in both(tmp_path, (k, 2))[1].mine] for k in (1, 2)]
    assert sorted(parts[0] + parts[1]) == sorted(job.folder.name for job in both(tmp_path)[1].jobs)
    assert len(parts[0]) == len(parts[1]) == 2
