"""A run's first step is tried once for all equal runs, and never where it could fail unnoticed."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from semisonic import cli
from semisonic.data.sets import cache
from semisonic.distributed.engine import Accelerator
from semisonic.reporting.console import Console
from semisonic.runs import first_step
from semisonic.runs.first_step import Tried, try_first_step
from semisonic.schema import UserError
from semisonic.training.given import NOTHING, Given
from semisonic.training.memory_advice import with_micro
from semisonic.training.process import started
from tests.support.memory import configuration
from tests.support.runs import QUICK
from tests.support.trials import digits

PLENTY = 2**40


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "trials_folder", lambda: tmp_path / "trials")
    monkeypatch.setattr(first_step, "free_bytes", lambda: PLENTY)
    return tmp_path / "trials"


@pytest.fixture
def accelerator(folder: Path) -> Iterator[Accelerator]:
    with started(configuration()) as accelerator:
        yield accelerator


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The algorithms of trials that were taken, which cost nothing here."""
    found: list[str] = []
    monkeypatch.setattr(first_step, "dry_steps", lambda cfg, *_: found.append(cfg.algorithm.name))
    return found


def attempt(
    accelerator: Accelerator, *fields: str, given: Given = NOTHING, begun: bool = False, keep: bool = True
) -> Tried:
    cfg = configuration(*fields)
    return try_first_step(
        cfg, cfg, begun, *digits(), accelerator, Console(main=True), given, keep=keep
    )  # fmt: skip


def test_an_equal_run_takes_no_trial(accelerator: Accelerator, folder: Path, taken: list[str]):
    assert attempt(accelerator).answer == "taken" and len(list(folder.iterdir())) == 1
    # What no first step depends on may be another's.
    again = attempt(accelerator, "--out", "elsewhere", "--log.every", "7", "--checkpoint.keep", "3", "--max-hours", "1")
    assert again.answer == "passed before" and taken == ["fixmatch"]
    for other in (
        ["--optim.lr", "0.01"],
        ["--seed", "1"],
        ["--batch.labeled", "16"],
        ["--kernels", "reference"],
        ["--baseline"],
    ):
        assert attempt(accelerator, *other).answer == "taken", other
    assert len(taken) == 6


def test_the_switch_is_obeyed(accelerator: Accelerator, folder: Path, taken: list[str]):
    off = attempt(accelerator, "--trial", "off")
    assert (off.answer, taken, folder.exists()) == ("off", [], False)
    assert attempt(accelerator).answer == "taken"
    assert [attempt(accelerator, "--trial", "on").answer for _ in range(2)] == ["taken", "taken"] and len(taken) == 3


def test_a_run_that_goes_on_and_a_plan_keep_nothing(accelerator: Accelerator, folder: Path, taken: list[str]):
    assert attempt(accelerator, keep=False).answer == "taken" and attempt(accelerator, begun=True).answer == "taken"
    assert not folder.exists() and taken == ["fixmatch"]


def test_where_less_memory_is_free_the_trial_is_taken(
    accelerator: Accelerator, taken: list[str], monkeypatch: pytest.MonkeyPatch
):
    attempt(accelerator)
    for free, answer in ((PLENTY, "passed before"), (2**34, "passed before"), (2**28, "taken")):
        monkeypatch.setattr(first_step, "free_bytes", partial(int, free))
        assert attempt(accelerator).answer == answer, free


def test_a_trial_that_fails_fails_every_time(accelerator: Accelerator, folder: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise UserError("model.name: the first step fails")

    monkeypatch.setattr(first_step, "dry_steps", fail)
    for _ in range(2):
        with pytest.raises(UserError, match="the first step fails"):
            attempt(accelerator)
    assert not folder.exists()


def test_one_that_was_cut_into_micro_batches_is_tried_again(
    accelerator: Accelerator, folder: Path, taken: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(first_step, "fit_steps", lambda cfg, *_, **__: (with_micro(cfg, 2), None))
    assert attempt(accelerator).cfg.batch.micro == 2 and not folder.exists()


@pytest.mark.parametrize(
    "damage", ["", "{", '{"format": 1, "free": -1, "took": 5}', '{"format": 0, "free": 0, "took": 5}', "[]"]
)
def test_a_damaged_note_is_replaced(accelerator: Accelerator, folder: Path, taken: list[str], damage: str):
    attempt(accelerator)
    (file,) = folder.iterdir()
    file.write_text(damage)
    assert attempt(accelerator).answer == "taken" and json.loads(file.read_text())["free"] == PLENTY
    assert attempt(accelerator).answer == "passed before" and len(taken) == 2


def test_a_cache_that_cannot_be_written_is_a_note(
    accelerator: Accelerator, folder: Path, taken: list[str], capfd: pytest.CaptureFixture
):
    folder.write_text("a file where the folder would be")
    assert [attempt(accelerator).answer for _ in range(2)] == ["taken", "taken"]
    assert f"note: that the first step works cannot be kept for later runs in {folder}: " in capfd.readouterr().out


@pytest.mark.slow
def test_a_whole_run_is_the_same_with_and_without(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch):
    calls, take = [], first_step.dry_steps
    count: Callable[..., None] = lambda *arguments: (calls.append(1), take(*arguments))[1]  # noqa: E731
    monkeypatch.setattr(first_step, "dry_steps", count)
    fields = [*QUICK, "--steps", "2", "--no-baseline", "--log.trackers", "none"]
    for name in ("first", "second"):
        assert cli.main([*fields, "--out", str(tmp_path / name)]) == 0
    assert calls == [1]
    weights = [(tmp_path / name / "checkpoints/step-2/model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]
