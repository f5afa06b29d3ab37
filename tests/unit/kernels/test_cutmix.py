"""CutMix: whose pixels are pasted, targets by their exact share, gradients, and what it refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor

from semisonic_kernels.boxes import boxes_around
from semisonic_kernels.cutmix import cutmix, cutmix_boxes, cutmix_reference
from tests.support.kernel_images import LAYOUTS, pictures, uniforms

pytestmark = pytest.mark.kernels("fused")

both_cutmix = pytest.mark.parametrize("call", [cutmix.__wrapped__, cutmix_reference], ids=["kernel", "reference"])


def test_cutmix_sides_are_rounded_down() -> None:
    boxes = cutmix_boxes(torch.tensor([0.75, 0.5, 1.0, 0.0]), torch.full((4, 2), 0.5), 32, 31)
    sides = torch.stack([boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]], 1)
    assert sides.tolist() == [[16, 15], [22, 21], [0, 0], [32, 31]]


@both_cutmix
def test_cutmix_targets_are_the_pasted_share_of_pixels_exactly(call: Any) -> None:
    """White partners on black images: the share can be counted."""
    count, size = 64, 8
    images = torch.zeros(2 * count, 3, size, size)
    images[count:] = 1
    targets = torch.tensor([[1.0, 0.0]] * count + [[0.0, 1.0]] * count)
    partner = (torch.arange(2 * count) + count) % (2 * count)
    boxes = cutmix_boxes(uniforms(2 * count, 1)[:, 0], uniforms(2 * count, 2, seed=1), size, size)
    mixed, mixed_targets = call(images, targets, partner, boxes)
    assert mixed_targets[:, 1].equal(mixed.mean((1, 2, 3)))  # sixty-fourths are exact
    assert mixed_targets.sum(1).equal(torch.ones(2 * count))
    assert mixed_targets[:, 1].unique().numel() > 10


@both_cutmix
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_cutmix_pastes_the_partner_s_pixels(dtype: torch.dtype, layout: torch.memory_format, call: Any) -> None:
    images = pictures(dtype=dtype).to(memory_format=layout)
    targets = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)).softmax(-1)
    partner = torch.tensor([3, 1, 0, 5, 4, 2])
    boxes = cutmix_boxes(uniforms(6, 1)[:, 0], uniforms(6, 2, seed=1), 9, 7)
    mixed, mixed_targets = call(images, targets, partner, boxes)
    assert mixed.dtype == dtype and mixed.is_contiguous(memory_format=layout)
    for k, (top, left, bottom, right) in enumerate(boxes.tolist()):
        expected = images[k].clone()
        expected[:, top:bottom, left:right] = images[partner[k], :, top:bottom, left:right]
        assert mixed[k].equal(expected)
        share = (bottom - top) * (right - left) / 63
        torch.testing.assert_close(mixed_targets[k], (1 - share) * targets[k] + share * targets[partner[k]])


@both_cutmix
def test_cutmix_gradients_are_exact(call: Any) -> None:
    images = pictures(4, 4, 3, torch.float64).requires_grad_()
    targets = torch.rand(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    boxes, partner = boxes_around(uniforms(4, 2), 3, 2, 4, 3), torch.tensor([1, 2, 3, 0])
    assert torch.autograd.gradcheck(lambda x, y: call(x, y, partner, boxes), (images, targets))


def test_cutmix_of_nothing_is_the_identity() -> None:
    images, targets = pictures(), torch.eye(6)
    boxes = cutmix_boxes(torch.ones(6), uniforms(6, 2), 9, 7)
    mixed, mixed_targets = cutmix.__wrapped__(images, targets, torch.arange(6).flip(0), boxes)
    assert mixed.equal(images) and mixed_targets.equal(targets)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": torch.zeros(6, 3, 4)}, r"images must be uint8 or floating \[N, C, H, W\], not torch.float32"),
        ({"targets_NC": torch.zeros(6).long()}, r"targets must be probabilities, floating \[6, C\]"),
        ({"partner_N": torch.zeros(6)}, r"partner must be int64 \[6\], not torch.float32"),
        ({"boxes_N4": torch.zeros(6, 2).long()}, r"boxes must be int64 \[6, 4\], not torch.int64 \[6, 2\]"),
    ],
)
def test_cutmix_refuses(changed: dict[str, Tensor], message: str) -> None:
    given = {"images": pictures(), "targets_NC": torch.eye(6), "partner_N": torch.arange(6),
             "boxes_N4": torch.zeros(6, 4).long()}  # fmt: skip
    with pytest.raises(ValueError, match=message):
        cutmix(**given | changed)
    with pytest.raises(ValueError, match=r"lam must be floating \[N\]"):
        cutmix_boxes(torch.ones(6).long(), torch.zeros(6, 2), 9, 7)
    with pytest.raises(ValueError, match=r"centers must be floating \[N, 2\]"):
        cutmix_boxes(torch.ones(6), torch.zeros(6, 3), 9, 7)
