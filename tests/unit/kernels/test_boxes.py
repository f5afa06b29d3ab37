"""Boxes: where they lie, their masks, and the mean color that fills them."""

import pytest
import torch

from semisonic_kernels.boxes import boxes_around, inside_boxes, mean_filled, mean_filled_reference
from tests.support.kernel_images import LAYOUTS, pictures, uniforms

pytestmark = pytest.mark.kernels("fused")


def test_boxes_keep_their_side_unless_the_border_cuts_them() -> None:
    boxes = boxes_around(torch.tensor([[0.5, 0.5], [0.0, 0.999], [0.99999997, 0.0]]), 4, 3, 10, 8)
    assert boxes.tolist() == [[3, 3, 7, 6], [0, 6, 2, 8], [7, 0, 10, 2]]


def test_every_pixel_is_a_center_equally_often() -> None:
    rows = (torch.arange(90) / 90).view(-1, 1)
    boxes = boxes_around(torch.cat([rows, rows], 1), 1, 1, 9, 9)
    assert torch.bincount(boxes[:, 0]).tolist() == [10] * 9


def test_the_mask_of_a_box() -> None:
    inside = inside_boxes(torch.tensor([[1, 2, 3, 5], [2, 2, 2, 4]]), 4, 6)
    assert inside[0, 0].nonzero().tolist() == [[row, column] for row in (1, 2) for column in (2, 3, 4)]
    assert not inside[1].any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_mean_filled_equals_its_reference(dtype: torch.dtype, layout: torch.memory_format) -> None:
    images = pictures(dtype=dtype).to(memory_format=layout)
    boxes = boxes_around(uniforms(6, 2), 4, 4, 9, 7)
    boxes[3] = 0
    filled = mean_filled(images, boxes)
    assert filled.dtype == dtype and filled.is_contiguous(memory_format=layout)
    torch.testing.assert_close(filled, mean_filled_reference(images, boxes), rtol=0, atol=1e-4)
    assert not filled[0].equal(images[0]) and filled[3].equal(images[3])
    torch.testing.assert_close(filled.double().mean((2, 3)), images.double().mean((2, 3)), rtol=0, atol=0.5)
