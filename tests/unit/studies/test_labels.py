"""What errors over numbers of labels say, and the runs that a study asks for."""

import json
from pathlib import Path

import pytest

from semisonic.compare import jobs
from semisonic.schema import UserError
from semisonic.studies import labels as study
from tests.support.comparisons import fabricate


def ask(tmp_path: Path, *more: str) -> list[str]:
    return ["--data", "digits", "--counts", "1,2", "--seeds", "0,1", "--out", str(tmp_path / "out"), *more]


def test_every_run_is_one_of_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    asked: list[jobs.Comparison] = []

    def compare(comparison: jobs.Comparison) -> int:
        asked.append(comparison)
        for job in comparison.jobs:
            errors = {"random": 30, "typical": 10}[job.cfg.data.labels_from]
            fabricate(job, top1=100 - errors / int(job.labels) * 10 - job.seed)
        return 0

    monkeypatch.setattr(study, "compare", compare)
    assert study.study(ask(tmp_path, "--choose", "random,typical", "--steps", "7")) == 0
    (found,) = asked
    assert {(job.cfg.data.labels, job.cfg.data.labels_from, job.seed, job.cfg.steps) for job in found.jobs} == {
        (labels, way, seed, 7) for labels in (10, 20) for way in ("random", "typical") for seed in (0, 1)
    }
    said = capsys.readouterr().out
    assert "fixmatch, 10 labels: a typical choice has a lower error than a random choice, by 20.00 ± " in said
    stored = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert stored["smallest"] == {"fixmatch, random": 20, "fixmatch, typical": 20}
    assert [point["error"] for point in stored["points"]] == [30.5, 15.5, 10.5, 5.5]
    assert stored["question"] == study.QUESTION and stored["seeds"] == [0, 1] and stored["hardware"] == "a computer"
    assert stored["command"].startswith("semisonic study labels --data digits --counts 1,2")
    assert "4 settings" not in said and "2 settings are trained in 8 runs" in said
    page = (tmp_path / "out" / "labels.html").read_text()
    assert "How few labels suffice" in page and page.count('role="img"') == 1 and "5.50 ± 6.35" in page


def test_mistakes_are_told_together(tmp_path: Path):
    wrong = ["--choose", "random,best", "--counts", "0,2", "--within", "-1", "--data.labels", "40"]
    with pytest.raises(UserError) as error:
        study.study([*ask(tmp_path), *wrong])
    assert [line.split(":")[0] for line in error.value.messages] == [
        "--choose", "--counts", "--within", "--data.labels",
    ]  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_a_plan_alone_runs_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(study, "compare", lambda comparison: pytest.fail("nothing is to be run"))
    assert study.study(ask(tmp_path, "--plan", "--steps", "7", "--rate", "1000")) == 0
    out = capsys.readouterr().out
    assert "fixmatch (data.labels_from=typical)" in out and "at 1,000 image passes a second" in out
    assert not (tmp_path / "out").exists()
