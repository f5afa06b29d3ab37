"""Pixels of a batch in rows of memory: the same numbers in the same places, whatever the layout."""

import pytest
import torch
from torch import Tensor

from semisonic_kernels.images import channel_row, from_rows, in_rows, normalized

MEAN, SCALE = torch.tensor([120.5, 99.0, 3.25]).view(1, 3, 1, 1), torch.tensor([0.02, 0.03, 1.5]).view(1, 3, 1, 1)


def pixels(layout: str, shape: tuple[int, ...] = (5, 3, 4, 7)) -> Tensor:
    images = torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    if layout == "channels_last":
        return images.to(memory_format=torch.channels_last)
    return torch.cat([images, images], 3)[..., ::2] if layout == "strided" else images


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided"])
@pytest.mark.parametrize("shape", [(5, 3, 4, 7), (1, 3, 4, 4), (4, 3, 1, 1), (0, 3, 4, 4)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_normalized_pixels_are_those_of_the_formula_to_the_bit(dtype: torch.dtype, shape: tuple[int, ...], layout: str):
    images, mean, scale = pixels(layout, shape), MEAN.to(dtype), SCALE.to(dtype)
    before = images.clone()
    found, expected = normalized(images, mean, scale), (images.to(dtype) - mean) * scale
    assert found.dtype == dtype and torch.equal(found, expected) and torch.equal(images, before)
    for order in (torch.contiguous_format, torch.channels_last) if images.numel() else ():
        assert found.is_contiguous(memory_format=order) == expected.is_contiguous(memory_format=order)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_rows_are_the_batch_s_own_memory(layout: str):
    images = pixels(layout).float()
    rows = in_rows(images)
    assert rows.shape == (5, 84) and rows.data_ptr() == images.data_ptr()
    assert torch.equal(from_rows(rows, images), images) and from_rows(rows, images).stride() == images.stride()
    places = from_rows(channel_row(MEAN, images).expand_as(rows).contiguous(), images)
    assert torch.equal(places, MEAN.expand_as(images))


def test_a_compiled_graph_normalizes_alike():
    call = torch.compile(normalized, fullgraph=True, backend="aot_eager")
    images = pixels("channels_last")
    assert torch.equal(call(images, MEAN, SCALE), normalized(images, MEAN, SCALE))
