"""Ranks whose network draws random numbers: each its own ones, new ones in each step, also where steps are replayed."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT, Run


def run_draws(launch: Run, monkeypatch: pytest.MonkeyPatch, out: Path, ranks: int, *fields: str) -> list[dict[str, Any]]:
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
    for own, other in zip(found, found[1:], strict=False):
        assert not any(torch.equal(a, b) for a, b in zip(own["found"], other["found"], strict=True))


def test_two_ranks_draw_their_own_numbers_in_every_replayed_step(
    tmp_path: Path, launch: Run, monkeypatch: pytest.MonkeyPatch
):
    """The order of events on the CPU, with a recorder that runs the step again; tests/gpu replays CUDA graphs."""
    found = run_draws(launch, monkeypatch, tmp_path / "run", 2, "--threads", "1")
    check_draws(found)
    one, other = (own["state"] for own in found)
    assert all(torch.equal(value, other[name]) for name, value in one.items())  # the ranks have stayed one model
