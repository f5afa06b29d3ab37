"""Runs of a study and what they cost, before they start."""

from pathlib import Path

import pytest
from rich.console import Console

from semisonic.compare import jobs
from semisonic.schema import UserError
from semisonic.studies.declaration import Factor, Study
from semisonic.studies.plan import evened, plan, said, show
from tests.support.comparisons import fabricate

FIELDS = (
    "--data",
    "digits",
    "--steps",
    "10",
    "--batch.labeled",
    "32",
    "--batch.unlabeled-ratio",
    "7",
    "--device",
    "cpu",
)
FIXMATCH, MIXMATCH, SUPERVISED = 1440, 1888, 96
"""Image passes of a step."""


def comparison(out: Path, *options: str, entries: str = "supervised,fixmatch") -> jobs.Comparison:
    own = ["--algorithms", entries, "--seeds", "0,1", "--out", str(out), "--processes", "2", *options]
    return jobs.parse([*own, *FIELDS])


def test_a_plan_counts_runs_and_image_passes_and_states_its_rate(tmp_path: Path):
    found = plan([comparison(tmp_path)], rate=1000)
    assert [(line.entry, line.steps, line.passes, line.runs, line.mine) for line in found.lines] == [
        ("supervised", 10, 960, 2, 2), ("fixmatch", 10, 14_400, 2, 2),
    ]  # fmt: skip
    assert (found.runs, found.passes) == (4, 30_720)
    assert found.left == pytest.approx(30.72 / 2)
    assert said(found) == [
        "2 settings are trained in 4 runs of 30,720 image passes in all; 0 have finished, 4 are to be run here",
        "Estimated time left: 0:00:15, 2 at a time, at 1,000 image passes a second of a run, as stated for these data, "
        "one run on each of two cores of an AMD EPYC",
    ]  # fmt: skip


def test_finished_runs_beat_a_stated_rate_and_are_not_run_again(tmp_path: Path):
    asked = comparison(tmp_path)
    fabricate(asked.jobs[1], top1=90.0, seconds=30.0)  # fixmatch
    assert asked.jobs[1].entry.name == "fixmatch"
    found = plan([asked], rate=1000)
    supervised, fixmatch = found.lines
    assert (fixmatch.finished, fixmatch.mine, fixmatch.seconds) == (1, 1, 30.0)
    assert found.rate == 14_400 / 30 and supervised.seconds == pytest.approx(960 / 480)
    assert found.left == pytest.approx(30)  # the longest, beside two runs of 2 seconds
    assert "as the 1 finished run had" in said(found)[1]
    given = plan([asked], rate=96, given=True)
    assert given.rate == 96 and given.lines[0].seconds == 10 and "as --rate says" in said(given)[1]


def test_a_share_runs_its_own(tmp_path: Path):
    found = plan([comparison(tmp_path, "--share", "1/2")], rate=1000)
    assert found.runs == 4 and sum(line.mine for line in found.lines) == 2


def test_where_no_pace_is_known_no_time_is_made_up(tmp_path: Path):
    found = plan([comparison(tmp_path)], rate=None)
    assert found.left is None and "is not known" in said(found)[1]


def test_the_plan_is_printed_setting_by_setting(tmp_path: Path, capsys):
    show(plan([comparison(tmp_path, entries="uda:weight=2")], 1000), "Which [b]?", Console(width=120))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Which [b]?"
    assert lines[2].split() == ["uda", "(weight=2)", "10", "14,400", "14", "2", "0"]


def test_steps_are_cut_to_the_image_passes_of_one_setting():
    study = Study("x", "?", "", (Factor("method", "", "fixmatch", "FixMatch", {"M": "mixmatch", "S": "supervised"}),),
                  even="fixmatch")  # fmt: skip
    cut = 10 * FIXMATCH // MIXMATCH
    assert cut == 7
    assert evened(study, FIELDS, "40").entries() == [
        "fixmatch", f"mixmatch:steps={cut}", f"supervised:steps={10 * FIXMATCH // SUPERVISED}",
    ]  # fmt: skip
    assert evened(Study("x", "?", "", study.factors), FIELDS, "40").entries() == study.entries()
    few = Study("x", "?", "", study.factors, even="supervised")
    with pytest.raises(UserError, match="--steps: too few for a step of fixmatch, mixmatch"):
        evened(few, FIELDS, "40")
