"""What ranks draw whose network has dropout."""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.processes import ROOT, Run


def run_draws(
    launch: Run, monkeypatch: pytest.MonkeyPatch, out: Path, ranks: int, *fields: str
) -> list[dict[str, Any]]:
    """What draws.py found on each rank."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    done = launch("../tests/dist/draws.py", out, *fields, processes=ranks)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(f"{out}.{rank}.pt") for rank in range(ranks)]


def check_draws(found: list[dict[str, Any]]) -> None:
    """Each rank's numbers of each step are those of its key: never those of another step or of another rank."""
    for own in found:
        assert 0.3 < own["found"].float().mean() < 0.7
        assert torch.equal(own["found"], own["expected"])
        steps = [step.numpy().tobytes() for step in own["found"]]
        assert len(set(steps)) == len(steps)
    for own, other in pairwise(found):
        assert not any(torch.equal(a, b) for a, b in zip(own["found"], other["found"], strict=True))
