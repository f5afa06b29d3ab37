"""The study of Meta Pseudo Labels: its settings, of which some start from runs of others."""

import json
from pathlib import Path

import pytest

from semisonic.compare.jobs import Comparison
from semisonic.inference import pool
from semisonic.schema import ExitCode
from semisonic.studies import running
from semisonic.studies.mpl import MPL, PLAIN, REDUCED, STUDY, UDA, finetuned
from tests.support.comparisons import fabricate, finish

SECONDS = {UDA: 10.0, MPL: 30.0, REDUCED: 5.0, finetuned(UDA): 2.0, finetuned(MPL): 3.0}


class Comparing:
    """In place of `compare`: finishes all runs of this share but those of some entries, which fail, and the last one
    where a signal stops it."""

    def __init__(self, failing: tuple[str, ...] = (), signal: bool = False):
        self.failing, self.signal, self.asked = failing, signal, list[Comparison]()

    def __call__(self, asked: Comparison) -> int:
        self.asked.append(asked)
        for job in asked.mine[:-1] if self.signal else asked.mine:
            name = job.entry.name
            if name in self.failing:
                fabricate(job, status="failed", code=1, reason="it was to")
            elif not job.folder.exists():
                finish(job, 90.0, SECONDS.get(name, 1.0))
        failed = any(job.entry.name in self.failing for job in asked.mine)
        return ExitCode.ERROR if failed else ExitCode.STOPPED if self.signal else ExitCode.OK

    @property
    def entries(self) -> list[set[str]]:
        return [{job.entry.name for job in asked.mine} for asked in self.asked]


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose predictions were asked for."""
    found: list[str] = []
    monkeypatch.setattr(pool, "predict_pool", lambda folder: found.append(folder.name))
    monkeypatch.setattr(pool, "write_pool", lambda table, path: None)
    return found


def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comparing: Comparing, *more: str) -> int:
    monkeypatch.setattr(running, "compare", comparing)
    return running.run(STUDY, ["--seeds", "0,1", "--out", str(tmp_path), "--processes", "1", *more])


def test_runs_that_start_from_others_come_after_them_and_cost_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tables: list[str], capsys: pytest.CaptureFixture
):
    comparing = Comparing()
    assert study(tmp_path, monkeypatch, comparing, "--steps", "50") == ExitCode.OK
    assert comparing.entries == [{UDA, MPL, PLAIN, f"{MPL}:labels=sampled"}, {REDUCED, finetuned(UDA), finetuned(MPL)}]
    assert tables == ["uda-40-seed0", "uda-40-seed1"]
    assert "7 settings are trained in 14 runs" in capsys.readouterr().out
    for job in comparing.asked[1].mine:
        assert job.cfg.steps == (50 if job.entry.name == REDUCED else 1000)
        if job.entry.name == finetuned(MPL):
            assert job.cfg.init == tmp_path / "runs" / f"mpl-40-seed{job.seed}"
            assert (job.cfg.optim.lr, job.cfg.optim.weight_decay, job.cfg.frozen) == (1e-5, 0, "off")
    stored = json.loads((tmp_path / "mpl.json").read_text())
    cost = {own["entry"]: (own["seconds"], own["image_passes"]) for own in stored["settings"]}
    assert (cost[REDUCED][0], cost[finetuned(MPL)][0], cost[UDA][0]) == (15.0, 33.0, 10.0)
    images = 3 * 32 * 1000  # of 1,000 steps with a gradient
    assert cost[finetuned(MPL)][1] - cost[MPL][1] == cost[finetuned(UDA)][1] - cost[UDA][1] == images
    # The student learns from 32 labeled and 224 unlabeled images, and is judged on the labeled ones before and after.
    assert cost[REDUCED][1] - cost[UDA][1] == 50 * (3 * (32 + 224) + 2 * 32)

    again = Comparing()
    assert study(tmp_path, monkeypatch, again, "--steps", "50", "--report-only") == ExitCode.OK
    assert len(tables) == 2


def test_a_run_that_failed_holds_up_those_that_start_from_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tables: list[str], capsys: pytest.CaptureFixture
):
    comparing = Comparing(failing=(MPL,))
    assert study(tmp_path, monkeypatch, comparing) == ExitCode.ERROR
    assert comparing.entries[1] == {REDUCED, finetuned(UDA)}
    assert "-seed1: not begun: mpl-40-seed1 has not finished" in capsys.readouterr().err


@pytest.mark.parametrize(("failing", "code"), [((), ExitCode.STOPPED), ((MPL,), ExitCode.ERROR)])
def test_after_a_signal_no_stage_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tables: list[str], failing: tuple[str, ...], code: ExitCode
):
    comparing = Comparing(failing, signal=True)
    assert study(tmp_path, monkeypatch, comparing) == code
    assert len(comparing.asked) == 1 and tables == []


def test_its_runs_and_their_cost_are_known_before_any_has_begun(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert running.run(STUDY, ["--plan", "--out", str(tmp_path / "out")]) == ExitCode.OK
    said = capsys.readouterr().out
    assert "7 settings are trained in 35 runs" in said and "mpl (variant=reduced, predictions=uda)" in said
    assert not (tmp_path / "out").exists()
