"""Runs whose networks draw random numbers are the same on 1, 2 and 4 ranks, and go on at another world size: ten steps
in float64 to 1e-10. `test_world_size.py` has all methods with dropout, for fewer steps."""

from pathlib import Path

import pytest

from tests.dist.worker import Job
from tests.dist.workers import run_jobs
from tests.support.runs import compare, second_half

STEPS, HALF = 10, 5
JOBS = {
    "mpl": {"algorithm": "mpl", "defaults": True},
    "shake-shake": {"model": "shake-shake-8-2x2d"},
    # Its first gradients are so large that at usual rates the loss doubles and rounding grows by three digits a step.
    "efficientnet": {"model": "efficientnet_b0", "rate": 1e-7},
}
"""Meta Pseudo Labels with all defaults (dropout of both networks), Shake-Shake, stochastic depth and dropout."""


@pytest.mark.long
@pytest.mark.parametrize("name", JOBS)
def test_any_number_of_ranks_is_the_same_run(name: str, tmp_path: Path):
    def job(what: str, **more: object) -> Job:
        return Job(what, dtype="float64", steps=STEPS, save_at=HALF, **JOBS[name], **more)  # type: ignore[arg-type]

    def saved(world: int) -> str:
        return str(tmp_path / f"saved on {world}" / "checkpoints" / f"step-{HALF}")

    found = {}
    for world, jobs in (
        (1, [job("1", save=str(tmp_path / "saved on 1"))]),
        (2, [job("2", save=str(tmp_path / "saved on 2"))]),
        (4, [job("4"), job("1 to 4", resume=saved(1))]),
        (1, [job("2 to 1", resume=saved(2))]),
    ):
        found |= run_jobs(tmp_path, world, jobs)
        (tmp_path / f"results-{world}.pt").unlink()  # with an EfficientNet's gradients half a gigabyte
    assert len(found["1"]["loss"]) == STEPS
    for world in "24":
        compare(found["1"], found[world], 1e-10)
    half = second_half(found["1"], HALF)
    for way in ("1 to 4", "2 to 1"):
        compare(half, found[way], 1e-10)
