"""A gradient inside the step (VAT's), compiled, on two ranks: the same as eager in one process."""

from pathlib import Path

import pytest

from tests.dist.worker import Job
from tests.dist.workers import run_jobs
from tests.support.runs import compare


@pytest.mark.long
def test_a_compiled_step_with_an_inner_gradient_equals_the_eager_one(tmp_path: Path):
    jobs = [Job(mode, "vat", model="small", compile=mode, steps=3, dtype="float64") for mode in ("off", "whole")]
    one, two = (run_jobs(tmp_path, world, jobs) for world in (1, 2))
    compare(one["off"], one["whole"], 1e-8)
    compare(one["off"], two["whole"], 1e-8)
