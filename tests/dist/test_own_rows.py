"""BatchNorm of each rank's own rows: two ranks come to what one process comes to that forwards their rows apart."""

from pathlib import Path

import pytest

import semisonic.studies
from tests.dist.worker import Job
from tests.dist.workers import run_jobs
from tests.support.runs import compare, difference

STEPS = 4
PLUGIN = str(Path(semisonic.studies.__file__).with_name("forwards_plugin.py"))
FIELDS = ["--batch.unlabeled-ratio", "1", "--optim.weight-decay", "0.02", "--optim.schedule", "constant",
          "--algorithm.block", "2", "--algorithm.ramp", "2"]  # fmt: skip


def job(name: str, algorithm: str, *fields: str) -> Job:
    own = [*FIELDS, *fields]
    return Job(name, algorithm, dtype="float64", optim="adamw", rate=0.002, steps=STEPS, defaults=True, fields=own)


@pytest.mark.long
def test_two_ranks_with_their_own_statistics_are_the_study_s_forward_of_their_rows(tmp_path: Path):
    """Losses, gradients, weights, and the running statistics of the first rank, which are those of a checkpoint."""
    two = run_jobs(tmp_path, 2, [job("ranks", "mixmatch", "--model.norm-sync", "false")])["ranks"]
    apart = job("apart", "mixmatch-forwards", "--plugin", PLUGIN, "--algorithm.forwards", "ranks")
    found = run_jobs(tmp_path, 1, [apart, job("joined", "mixmatch")])
    assert two["wrapper"] == "DistributedDataParallel" and len(two["loss"]) == STEPS
    compare(found["apart"], two, 1e-10)
    assert difference(found["joined"]["loss"], two["loss"]) > 1e-3  # one batch of all rows is another problem
