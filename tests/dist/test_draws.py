"""Ranks whose network draws random numbers: each its own ones, new ones in each step, also where steps are replayed."""

from pathlib import Path

import pytest
import torch

from tests.support.draws import check_draws, run_draws
from tests.support.processes import Run


def test_two_ranks_draw_their_own_numbers_in_every_replayed_step(
    tmp_path: Path, launch: Run, monkeypatch: pytest.MonkeyPatch
):
    """The order of events on the CPU, with a recorder that runs the step again; tests/gpu replays CUDA graphs."""
    found = run_draws(launch, monkeypatch, tmp_path / "run", 2, "--threads", "1")
    check_draws(found)
    one, other = (own["state"] for own in found)
    assert all(torch.equal(value, other[name]) for name, value in one.items())  # the ranks have stayed one model
