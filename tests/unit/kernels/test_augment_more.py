"""Further operations of the fused augmentation kernel: hue and rescaling, in plain torch and in Triton."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image

from semisonic_kernels import augment as kernel
from semisonic_kernels.augment import augment_reference
from semisonic_kernels.augment_triton import augment_launch
from tests.support.augmentation import FILL, apply, arguments, interpreted, mixed_pictures
from tests.support.views import pictures

pytestmark = [pytest.mark.filterwarnings("ignore:The external source node"), pytest.mark.kernels("fused")]


def test_hue_is_that_of_hsv():
    images = pictures(4, 16, seed=3)
    for shift in (-0.5, -0.2, 0, 0.07, 0.31, 0.5):
        ours = apply(kernel.HUE, images, shift)
        for pixel, result in zip(images.reshape(-1, 3), ours.reshape(-1, 3), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*(pixel / 255))
            wanted = 255 * np.array(colorsys.hsv_to_rgb((h + shift) % 1, s, v))
            assert np.abs(result - wanted).max() < 0.501
    np.testing.assert_array_equal(apply(kernel.HUE, images, 0), images)


FILTERS = ["LANCZOS", "BICUBIC", "BILINEAR", "BOX", "HAMMING", "NEAREST"]


@pytest.mark.parametrize("method", range(6))
@pytest.mark.parametrize("share", [0, 0.07, 0.2, 0.25])
def test_rescale_matches_pillow(method, share):
    size = 32
    images = pictures(9, size, seed=1)
    scale, offset = 1 - 2 * share, share * size
    ours = apply(kernel.RESCALE, images, method, [[scale, 0, offset], [0, scale, offset]])
    box = (offset, offset, size - offset, size - offset)
    theirs = [Image.fromarray(x).resize((size, size), getattr(Image.Resampling, FILTERS[method]), box) for x in images]
    delta = np.abs(ours.astype(int) - np.stack(theirs))
    # Positions are rounded to 1/256 of a pixel, and Pillow rounds and saturates between rows and columns, which shows
    # where a filter overshoots: in noise.
    assert delta.mean() < 0.5 and np.quantile(delta, 0.95) <= 2
    assert np.quantile(delta[1::3], 0.999) <= 1
    if share == 0:
        np.testing.assert_array_equal(ours, images)


def further_arguments(codes, height, width, seed=0):
    operations, values, matrices, holes = arguments(codes, height, width, seed)
    generator = torch.Generator().manual_seed(seed)
    values[operations == kernel.HUE] -= 1
    own = operations == kernel.RESCALE
    values[own] = torch.randint(0, 6, (int(own.sum()),), generator=generator).float()
    matrices[operations == kernel.HOLE] = torch.tensor([[1.0, 0, height // 2], [width, 0, 0]])
    return operations, values, matrices, holes


@interpreted
@pytest.mark.parametrize("shape", [(17, 19), (5, 5), (3, 2)])
def test_triton_equals_reference(shape):
    codes = [
        (code, 10 + (code + 2) % 5) for code in (*range(10, 15), *range(10, 15), kernel.EQUALIZE, kernel.AUTO_CONTRAST)
    ]
    images, own = mixed_pictures(len(codes), *shape), further_arguments(codes, *shape)
    ours = augment_launch(images, *own, FILL, False, extended=True)
    assert torch.equal(ours, augment_reference(images, *own, FILL, extended=True))
    assert not torch.equal(ours, images)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(32, 32), (224, 224), (5, 5), (40, 530)])
def test_gpu_equals_cpu(shape):
    codes = np.random.default_rng(0).integers(0, 15, (100, 3))
    images, own = mixed_pictures(100, *shape), further_arguments(codes, *shape)
    ours = kernel.augment(images.cuda(), *(tensor.cuda() for tensor in own), FILL, extended=True).cpu()
    assert torch.equal(ours, augment_reference(images, *own, FILL, extended=True))


def test_further_operations_must_be_asked_for():
    with pytest.raises(ValueError, match=r"codes 0\.\.9"):
        kernel.augment(*_hue_of_one(), FILL)
    with pytest.raises(ValueError, match=r"codes 0\.\.14"):
        images, operations, *rest = _hue_of_one()
        kernel.augment(images, operations + 5, *rest, FILL, extended=True)


def _hue_of_one():
    return (
        mixed_pictures(1, 4, 4),
        torch.full((1, 1), kernel.HUE, dtype=torch.int32),
        *further_arguments([[0]], 4, 4)[1:],
    )
