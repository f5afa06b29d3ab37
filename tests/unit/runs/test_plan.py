"""`--plan`: real steps, honest sums, and nothing written."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from semisonic import cli
from semisonic.checkpoint.format import latest
from semisonic.config.command_line import Invocation, resolve
from semisonic.contract import Batch
from semisonic.runs.plan import (
    Measured,
    duration,
    estimate,
    phases_shown,
    slice_count,
    timed_checkpoint,
    timed_slices,
    timed_steps,
)
from semisonic.runs.run import execute
from semisonic.schema import UserError
from semisonic.training.build import build_trainer
from semisonic.training.step import TrainingStep
from semisonic.training.trainer import Trainer

FIELDS = ["--device", "cpu", "--threads", "1", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--eval.batch", "64",
          "--log.trackers", "none"]  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


def table(output: str) -> dict[str, str]:
    """The plan's lines; what is wrapped continues the line above."""
    found: dict[str, str] = {}
    name = ""
    for line in output.partition("Plan: nothing was written")[2].splitlines()[1:]:
        if line[:1].strip():
            name, _, value = line.partition("  ")
            found[name] = value.strip()
        elif name:
            found[name] += " " + line.strip()
    return found


def test_a_plan_prints_the_run_and_writes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "config.yaml").write_text("batch: {micro: 2}\n")
    before = files(tmp_path)
    fields = [*FIELDS, "--steps", "1000", "--eval.every", "300", "--data.held-out", "50", "--baseline"]
    for out in ("new", "used"):  # a folder in use is not touched, and no mistake
        assert cli.main([*fields, "--out", out, "--plan"]) == 0
        found = capfd.readouterr().out
        rows = table(found)
        assert "resident, out of the host's" in rows["peak memory"] and "median of 5" in rows["step"]
        assert (
            "for 1,000" in rows["all steps"]
            and "for 4" in rows["evaluations"]
            and "% of a step" in rows["waiting for data"]
        )
        assert "for 10 of" in rows["checkpoints"] and "3 kept" in rows["checkpoints"]
        assert "8,000 labeled, 200.0 epochs of 40; 16,000 unlabeled, 11.9 epochs of 1,347" in rows["images seen"]
        assert rows["whole run"].endswith("hours")
        for phase in ("imports", "configuration", "data", "trial step", "network", "pipelines"):
            assert re.search(rf"\b{phase} \d+\.\d\d s", rows["start-up"]), phase
        assert "process" not in rows["start-up"]  # which is older than the start, here
        assert re.fullmatch(r"\d+\.\d s, then \d+\.\d s until they are as the others", rows["first steps"])
        assert re.fullmatch(r"\d+\.\d\d s to the host, \d+\.\d\d s to the disk", rows["first checkpoint"])
        assert "supervised baseline, which the run would train first, is not included" in found
    assert files(tmp_path) == before


def test_a_plan_says_what_became_of_the_trial_of_a_step():
    phases = {"data": 1.0, "trial step": 0.25}
    assert phases_shown(phases, "taken") == "data 1.00 s, trial step 0.25 s"
    assert phases_shown(phases, "passed before") == "data 1.00 s, trial step 0.25 s (passed before)"


def test_a_plan_of_a_growing_batch_takes_its_largest_steps(
    tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    sizes, take = [], TrainingStep.__call__

    def noted(step: TrainingStep, batch: Batch) -> object:
        sizes.append(len(batch.u_index))
        return take(step, batch)

    monkeypatch.setattr(TrainingStep, "__call__", noted)
    assert (
        cli.main([*FIELDS, "--no-baseline", "--steps", "1000", "--batch.unlabeled-schedule", "growing", "--plan"]) == 0
    )
    found = capfd.readouterr().out
    assert set(sizes) == {16} and "8 labeled + 2 to 16 unlabeled" in found
    rows = table(found)
    assert "8,000 labeled, 200.0 epochs of 40; 5,2" in rows["images seen"]  # a third of 16,000
    assert "of the largest batch (median of 5" in rows["step"]
    assert "33 % of the unlabeled images that a constant one would read" in " ".join(found.split())


def measured(**changes: object) -> Measured:
    values: dict = {
        "phases": {"imports": 9.0, "data": 1.0}, "first_step": 30.0, "first_steps": 20.0, "steps": [0.1, 0.1, 0.1, 0.1, 0.6], "data_wait": 0.5, "allocated": 1, "reserved": 1,
        "in_use": 1, "memory": 2, "evaluation": 1.0, "per_slice": 0.5, "checkpoint": 1000, "copy": 1.0, "write": 2.0,
    }  # fmt: skip
    return Measured(**(values | changes))


def test_the_estimate_adds_up():
    cfg = resolve([*FIELDS, "--steps", "1000", "--eval.every", "300", "--checkpoint.every", "500"])[1]
    found = estimate(cfg, measured(), test=1000, held_out=0, world_size=2)
    assert slice_count(1000, cfg, 2) == 8
    assert found.steps == pytest.approx(200)  # a step that waits for data counts
    assert found.evaluation_count == 4 and found.evaluations == pytest.approx(4 * 2 * (1 + 8 * 0.5))
    assert found.checkpoint_count == 2 and found.checkpoints == pytest.approx(6) and found.kept == 2
    assert found.total == pytest.approx(60 + 200 + 40 + 6)
    more = estimate(cfg, measured(), test=1000, held_out=10, world_size=2)
    assert more.evaluations - found.evaluations == pytest.approx(4 * 2 * 1.5) and more.kept == 3
    grown = resolve([*FIELDS, "--steps", "1000", "--batch.unlabeled-schedule", "growing"])[1]
    part = grown.image_sizes.before(1000) / (1000 * grown.image_sizes.largest)
    assert 0.5 < part < 0.6  # 8 labeled images and a third of 16
    assert estimate(grown, measured(), test=0, held_out=0, world_size=1).steps == pytest.approx(200 * part)
    assert duration(59.96) == "60.0 s" and duration(90061) == "1 day, 1:01:01"


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    cfg = resolve([*FIELDS, "--steps", "3", "--out", str(tmp_path_factory.mktemp("plan") / "run"), "--no-baseline"])[1]
    return build_trainer(cfg)


@pytest.mark.parametrize(("a_call", "count", "before"), [(1, 5, 7), (2, 6, 12), (8, 8, 40)])
def test_whole_calls_of_dali_are_measured(trainer: Trainer, monkeypatch, a_call: int, count: int, before: int):
    """Else a step that waits for a call counts too often or not at all; and what was made ahead must be used up."""
    taken: list[int] = []
    loader = SimpleNamespace(steps_per_call=a_call, wait_seconds=0.0)
    monkeypatch.setattr(trainer, "training_step", lambda batch: taken.append(batch))
    times, _, _, data_wait = timed_steps(trainer, Endless(loader))
    assert len(times) == count and len(taken) == count + before and before % a_call == 0 and data_wait == 0


class Endless:
    def __init__(self, loader: object):
        self.__dict__.update(vars(loader))

    def __next__(self) -> int:
        return 0


def test_slices_are_extrapolated(trainer: Trainer, monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr("semisonic.runs.plan.time.perf_counter", lambda: now[0])

    def evaluate(net: str, which: str, most: int) -> None:
        now[0] += 3 + 2 * (most / 64)

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    assert timed_slices(trainer) == pytest.approx((3, 2))


def test_an_evaluation_of_some_images_is_that(trainer: Trainer):
    assert sum(map(sum, trainer.evaluate("ema", "test", 70).confusion)) == 70


def test_the_checkpoint_s_size_is_that_on_disk(trainer: Trainer):
    for name, optim in (("sgd", []), ("adamw", ["--optim", "adamw"])):
        out = trainer.run_folder.parent / name
        cfg = resolve([*FIELDS, "--steps", "1", "--no-baseline", "--out", str(out), *optim])[1]
        assert execute(Invocation(cfg)) == 0
        planned = build_trainer(cfg, trainer.data, trainer.split, trainer.accelerator)
        size, copy, write = timed_checkpoint(planned)
        folder = latest(out / "checkpoints")
        assert folder is not None
        found = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        assert math.isclose(size, found, rel_tol=0.05) and copy > 0 and write > 0
        assert not list(trainer.run_folder.parent.glob("tmp*"))


def test_a_place_that_cannot_be_written_is_named(trainer: Trainer, monkeypatch: pytest.MonkeyPatch):
    def refuse(dir: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("semisonic.runs.plan.tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"out: a checkpoint cannot be written into .*: No space left"):
        timed_checkpoint(trainer)
