"""What a run's folder says of it, and folders that are no run's."""

import shutil
from pathlib import Path

import pytest

from semisonic.checkpoint.folder_lock import FolderLock
from semisonic.config.run_config import RunConfig
from semisonic.run_page.facts import Facts, check_is_run, facts_of, labeled_counts
from semisonic.runs.run_folder import write_status
from semisonic.schema import UserError


def test_a_finished_run(run: Path):
    facts = facts_of(run, RunConfig.model_validate({"steps": 30}))
    assert facts.step == 30 and facts.which == "test" and facts.classes == [str(digit) for digit in range(10)]
    assert facts.summary is not None and facts.summary["test_top1"] == facts.last("test/top1")
    assert [step for step, _ in facts.series("test/top1")] == [10, 20, 30]
    assert labeled_counts(facts, None) == [4] * 10


def test_a_run_that_has_come_to_nothing_yet(run: Path, tmp_path: Path):
    for name in ("config.yaml", "split.npz"):
        shutil.copy(run / name, tmp_path / name)
    facts = facts_of(tmp_path, RunConfig())
    assert facts.step == 0 and facts.which is None and facts.summary is None and facts.state is None
    assert facts.series("test/top1") == [] and facts.last("test/top1") is None


def test_a_run_without_an_end_runs_only_while_a_process_holds_its_folder(run: Path, tmp_path: Path):
    shutil.copy(run / "config.yaml", tmp_path / "config.yaml")
    write_status(tmp_path, "running", 7, 30)
    lock = FolderLock(tmp_path)
    try:
        assert facts_of(tmp_path, RunConfig()).standing == "running"
    finally:
        lock.release()
    assert facts_of(tmp_path, RunConfig()).standing == "unfinished"
    write_status(tmp_path, "stopped", 7, 30, "SIGTERM", 75)
    assert facts_of(tmp_path, RunConfig()).standing == "stopped"


def test_figures_that_are_not_finite_are_no_points(planted):
    facts: Facts = planted(last={"train/loss": float("nan")})
    assert [step for step, _ in facts.series("train/loss")][-1] == 90
    evaluated = [{"step": 10, "kind": "eval", "test/top1": float("nan")}]  # of test images without a label
    assert planted(lines=evaluated).which is None


@pytest.mark.parametrize(
    "made, told",
    [
        (None, "no such folder"),
        ("photo.jpg", "is no run's folder; name the folder of a run"),
        ("state.json", "it is a checkpoint: name the folder of its run"),
        ("project.yaml", "it is a labeling project: semisonic daily"),
        ("runs/a/config.yaml", "it holds runs: name one of"),
    ],
)
def test_another_folder_is_told(tmp_path: Path, made: str | None, told: str):
    folder = tmp_path / "x"
    if made:
        (folder / made).parent.mkdir(parents=True)
        (folder / made).write_text("")
    with pytest.raises(UserError, match=told) as caught:
        check_is_run(folder)
    assert len(caught.value.messages) == 1
