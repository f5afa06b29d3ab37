"""Quarter turns: exact, in every layout, with a gradient that turns back."""

import pytest
import torch

from semisonic_kernels.rotate import rotate, rotate_reference, rotations, rotations_reference
from tests.support.algorithms import images
from tests.support.devices import DEVICES
from tests.support.pretext import by_hand


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("call", [rotate.__wrapped__, rotate_reference])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_rotate_is_rot90_of_each_image(call, layout: torch.memory_format, device: str):
    turns = torch.tensor([0, 1, 2, 3, 3, 1, 5], device=device)
    for pixels in (images(7, 1), images(7, 2).double()):
        pixels = pixels.to(device).to(memory_format=layout)
        turned = call(pixels, turns)
        assert torch.equal(turned, by_hand(pixels, turns)) and turned.dtype == pixels.dtype
        assert turned.is_contiguous(memory_format=layout)
        assert torch.equal(call(turned, 4 - turns % 4), pixels)  # k and 4 - k: where it began


@pytest.mark.parametrize("call", [rotations.__wrapped__, rotations_reference])
def test_rotations_are_all_four_of_each(call):
    pixels = images(3, 1).to(memory_format=torch.channels_last)
    turned = call(pixels)
    assert torch.equal(turned, torch.cat([by_hand(pixels, torch.full((3,), k)) for k in range(4)]))
    assert turned.is_contiguous(memory_format=torch.channels_last)


def test_the_gradient_of_a_rotation_turns_back():
    pixels, turns = images(4, 1).double().requires_grad_(), torch.arange(4)
    weights = torch.rand(pixels.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for call in (rotate.__wrapped__, rotate_reference):
        (grad,) = torch.autograd.grad((weights * call(pixels, turns)).sum(), pixels)
        assert torch.equal(grad, by_hand(weights, 4 - turns))
