"""How many steps a DALI call covers."""

import pytest
import torch

from semisonic.data.loading.calls import steps_per_call


@pytest.mark.parametrize(
    "wanted, batch, size, device, expected",
    [
        (0, 448, 32, "cpu", 1),
        (0, 448, 32, "cuda", 8),
        (0, 448, 96, "cuda", 1),
        (0, 448, 48, "cuda", 4),
        (0, 64, 32, "cuda", 8),
        (3, 448, 32, "cpu", 3),
        (20, 448, 224, "cuda", 20),
    ],
)
def test_steps_per_call(wanted: int, batch: int, size: int, device: str, expected: int):
    assert steps_per_call(wanted, batch, size, torch.device(device)) == expected
