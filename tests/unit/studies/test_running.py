"""A declared study from its command line to its page."""

import json
from pathlib import Path

import pytest

from semisonic.compare import jobs
from semisonic.schema import UserError
from semisonic.studies import running
from semisonic.studies.declaration import Factor, Study, raw
from tests.support.comparisons import fabricate

STUDY = Study(
    "small", "Does the threshold matter?", "thresholds",
    (
        Factor("threshold", "FixMatch", "fixmatch", "0.95", {"0.5": "fixmatch:threshold=0.5"}, note="Below 1."),
        Factor("evaluated network", "FixMatch", "fixmatch", "its average", {"itself": raw("fixmatch")}, few=("itself",)),
    ),
)  # fmt: skip


def argv(tmp_path: Path, *more: str) -> list[str]:
    return ["--out", str(tmp_path / "out"), "--seeds", "0,1,2", "--steps", "7", *more]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[jobs.Comparison]:
    """What was compared, with errors of 10 % and, at a threshold of 0.5, of 15 to 16 %."""
    asked: list[jobs.Comparison] = []

    def compare(comparison: jobs.Comparison) -> int:
        asked.append(comparison)
        for job in comparison.jobs:
            if not job.folder.exists():
                worse = 5 + job.seed / 2 if "0.5" in job.entry.name else 0
                fabricate(job, top1=90.0 - worse, step=7, seconds=3.0, versions={"python": "3.11"})
        return 0

    monkeypatch.setattr(running, "compare", compare)
    return asked


def test_a_study_is_planned_then_trained_then_told(tmp_path: Path, trained: list[jobs.Comparison], capsys):
    assert running.run(STUDY, argv(tmp_path)) == 0
    (found,) = trained
    assert {(job.entry.name, job.seed, job.cfg.steps, job.cfg.data.labels) for job in found.jobs} == {
        (entry, seed, 7, 40) for entry in ("fixmatch", "fixmatch:threshold=0.5") for seed in (0, 1, 2)
    }
    out = capsys.readouterr().out
    worse = "FixMatch, threshold: 0.5 has a higher error than 0.95, by 5.50 ± 1.24 points."
    same = "FixMatch, evaluated network: itself has a higher error than its average, by 1.00 ± 0.00 points."
    assert out.index("2 settings are trained in 6 runs") < out.index(worse) < out.index(same)
    content = json.loads((tmp_path / "out" / "small.json").read_text())
    assert [factor["said"] for factor in content["factors"]] == [worse, same]
    page = (tmp_path / "out" / "small.html").read_text()
    assert STUDY.question in page and worse in page and "Below 1." in page and "<svg" in page


def test_a_plan_alone_runs_and_writes_nothing(tmp_path: Path, trained: list[jobs.Comparison], capsys):
    assert running.run(STUDY, argv(tmp_path, "--plan", "--few")) == 0
    assert "1 settings are trained" not in (out := capsys.readouterr().out) and "1 setting is trained in 3 runs" in out
    assert trained == [] and not (tmp_path / "out").exists()


def test_a_report_is_of_runs_with_the_settings_that_are_asked_for(
    tmp_path: Path, trained: list[jobs.Comparison], capsys
):
    running.run(STUDY, argv(tmp_path))
    before = json.loads((tmp_path / "out" / "small.json").read_text())
    capsys.readouterr()
    assert running.run(STUDY, argv(tmp_path, "--report-only")) == 0
    assert "Estimated" not in capsys.readouterr().out
    after = json.loads((tmp_path / "out" / "small.json").read_text())
    assert before | {"time": 0} == after | {"time": 0}  # the command too: it is the one that makes the runs
    with pytest.raises(UserError, match=r"steps: 8, but .* has 7"):
        running.run(STUDY, argv(tmp_path, "--report-only", "--steps", "8"))


def test_presets_give_way_to_the_command_line(tmp_path: Path):
    args, fields = running.parser(STUDY).parse_known_args(["--out", str(tmp_path / "out"), "--eval.every", "3"])
    first = running.ask(STUDY, args, fields, []).jobs
    assert {job.cfg.steps for job in first} == {400} and {job.cfg.eval.every for job in first} == {3}
    assert {job.seed for job in first} == {0, 1, 2, 3, 4}


def test_mistakes_are_told_together_and_name_the_option(tmp_path: Path):
    wrong = argv(tmp_path, "--rate", "-1", "--algorithm", "uda", "--plan", "--report-only")
    with pytest.raises(UserError) as error:
        running.run(STUDY, wrong)
    assert [line.split(":")[0] for line in error.value.messages] == ["--rate", "--plan", "--algorithm"]
    assert error.value.messages[2] == "--algorithm: is set by the study"
    with pytest.raises(UserError, match="--few: bare has no short list for digits; give --no-few"):
        running.run(Study("bare", "?", "", STUDY.factors[:1]), argv(tmp_path, "--few"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("labels", ["40,80", "few", ""])
def test_runs_with_several_numbers_of_labels_are_no_study(tmp_path: Path, labels: str):
    with pytest.raises(UserError, match=r"--labels: .*; give one number, or all"):
        running.run(STUDY, argv(tmp_path, "--labels", labels))


@pytest.mark.parametrize("rate", ["nan", "inf", "0"])
def test_a_rate_is_a_number_of_more_than_0(tmp_path: Path, rate: str):
    with pytest.raises(UserError, match=f"--rate: {rate}; give a number of more than 0"):
        running.run(STUDY, argv(tmp_path, "--rate", rate, "--plan"))


def test_the_command_is_the_one_that_makes_the_runs():
    assert running.command_of("ema", ["--out", "a b", "--report-only"]) == "semisonic study ema --out 'a b'"
