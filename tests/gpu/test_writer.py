"""Snapshots of tensors on a GPU: of their moment, without waiting for the device."""

from pathlib import Path

import pytest
import torch

from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint.async_writer import CheckpointWriter
from tests.support.checkpoints import state

pytestmark = pytest.mark.gpu


def test_a_snapshot_is_of_its_moment_and_the_host_does_not_wait(tmp_path: Path):
    weight = torch.zeros(64, 64, 3, 3, device="cuda").to(memory_format=torch.channels_last)
    rest = torch.zeros(2**24, device="cuda")
    count = torch.zeros((), device="cuda")
    own = CheckpointWriter(tmp_path / "checkpoints", keep=3)
    for step in (1, 2, 3):
        torch.cuda._sleep(200_000_000)  # the device is behind the host
        for tensor in (weight, rest, count):
            tensor.fill_(step)
        given = checkpoints.Checkpoint({"w": weight, "rest": rest}, {"network/w/step": count}, state(step=step), "")
        behind = torch.cuda.Event()
        behind.record()
        own.submit(step, given)
        if step > 1:  # the first one makes the pinned buffers, which waits
            assert not behind.query()
        for tensor in (weight, rest, count):  # the next step overwrites them in place
            tensor.fill_(-1)
        own.settle()
    own.finish()
    assert own.model.tensors["w"].is_pinned() and own.model.tensors["w"].stride() == weight.stride()
    for step in (1, 2, 3):
        found = checkpoints.load_checkpoint(tmp_path / "checkpoints" / f"step-{step}")
        assert (found.model["w"] == step).all() and (found.model["rest"] == step).all()
        assert found.model["w"].is_contiguous() and found.optimizer["network/w/step"] == step
