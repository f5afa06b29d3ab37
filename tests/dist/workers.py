"""Starts worker.py in one or several processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
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


def needs(names: Callable[..., Iterable[str]]) -> pytest.MarkDecorator:
    """Marks a test with what it reads: jobs in one process and in its `world`, by a function of its other parameters."""
    return pytest.mark.needs.with_args(names)


def needed(request: pytest.FixtureRequest) -> dict[int, set[str]]:
    """World size -> jobs that the chosen tests of a module read there; no others need be trained."""
    found: dict[int, set[str]] = {}
    for item in request.session.items:
        mark = item.get_closest_marker("needs")
        if mark and item.path == request.path:
            given = dict(item.callspec.params) if hasattr(item, "callspec") else {}
            for world in {1, given.pop("world", 1)}:
                found.setdefault(world, set()).update(mark.args[0](**given))
    return dict(sorted(found.items()))
