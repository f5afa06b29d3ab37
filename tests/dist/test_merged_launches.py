"""Compiled steps in bf16 with tiny launches merged and without are bit for bit the same, wherever weights come from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.dist.worker import Job
from tests.dist.workers import run_jobs

BF16 = ["--precision", "bf16"]
STEP = Job("", model="small", compile="whole", micro=2, clip=0.5, fields=BF16, steps=4)
STRATEGIES = ("ddp", "zero1", "zero2")


def both(job: Job) -> list[Job]:
    return [replace(job, name=f"{job.name} {how}", merged=how == "merged") for how in ("merged", "plain")]


def assert_same(one: dict, other: dict) -> None:
    """Losses, gradients as reduced over ranks and micro-batches, and all state: weights, averages, statistics."""
    assert one["loss"] == other["loss"] and len(one["gradients"]) == len(other["gradients"]) > 0
    for mine, theirs in (*zip(one["gradients"], other["gradients"], strict=True), (one["state"], other["state"])):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert value.dtype == theirs[name].dtype and value.equal(theirs[name]), name


@pytest.mark.long
def test_one_process(tmp_path: Path):
    """From random weights, from those of a run (`--init`), and from a checkpoint, written with and without."""
    first = both(replace(STEP, name="random", save_at=2))
    first = [replace(job, save=str(tmp_path / job.name)) for job in first]
    found = run_jobs(tmp_path, 1, first)
    saved = {job.merged: tmp_path / job.name / "checkpoints" / "step-2" for job in first}
    resumed = [replace(STEP, name=f"resumed {own}", merged=own, resume=str(saved[not own])) for own in saved]
    begun = both(replace(STEP, name="init", steps=2, fields=[*BF16, "--init", str(saved[True])]))
    found |= run_jobs(tmp_path, 1, [*begun, *resumed])
    assert_same(found["random merged"], found["random plain"])
    assert_same(found["init merged"], found["init plain"])
    assert_same(found["resumed True"], found["resumed False"])
    for name, value in found["resumed True"]["state"].items():
        assert value.equal(found["random merged"]["state"][name]), name
    assert found["random merged"]["loss"] != found["init merged"]["loss"]
    assert any(value.dtype == torch.float32 for value in found["random merged"]["gradients"][0].values())


@pytest.mark.long
def test_two_processes(tmp_path: Path):
    jobs = [job for strategy in STRATEGIES for job in both(replace(STEP, name=strategy, strategy=strategy, steps=3))]
    found = run_jobs(tmp_path, 2, jobs)
    for strategy in STRATEGIES:
        assert_same(found[f"{strategy} merged"], found[f"{strategy} plain"])
