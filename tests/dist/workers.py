"""Starts worker.py in one or several processes."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from tests.dist.worker import Job
from tests.support.processes import ROOT


def run_jobs(folder: Path, world: int, jobs: Sequence[Job]) -> dict[str, dict]:
    """Runs jobs on so many gloo ranks; returns the result of each by its name."""
    todo, out = folder / f"jobs-{world}.json", folder / f"results-{world}.pt"
    todo.write_text(json.dumps([asdict(job) for job in jobs]))
    starter = [sys.executable]
    if world > 1:
        starter += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world}"]
    command = [*starter, str(Path(__file__).with_name("worker.py")), str(todo), str(out)]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out, weights_only=False)
