"""Enhancements: they are Pillow's, and what they refuse."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from semisonic_kernels import transformations
from semisonic_kernels.enhance import enhance, enhance_reference
from tests.support.kernel_images import pictures, uniforms

pytestmark = pytest.mark.kernels("fused")


def test_enhancements_are_pillow_s() -> None:
    images = pictures(8, 12, 10)
    factors = transformations.enhancement(uniforms(8, 4), 0.8).float()
    found = enhance(images, factors)
    assert found.equal(enhance_reference(images, factors))
    for image, out, factor in zip(images, found, factors.tolist(), strict=True):
        pillow = Image.fromarray(image.permute(1, 2, 0).numpy())
        for kind, value in zip(
            (ImageEnhance.Color, ImageEnhance.Contrast, ImageEnhance.Brightness, ImageEnhance.Sharpness), factor, strict=True
        ):  # fmt: skip
            pillow = kind(pillow).enhance(value)
        assert np.array_equal(out.permute(1, 2, 0).numpy(), np.array(pillow))
    assert enhance(images, torch.ones(8, 4)).equal(images)


def test_enhance_refuses() -> None:
    with pytest.raises(ValueError, match=r"images must be uint8 \[N, 3, H, W\], not torch.float32"):
        enhance(pictures(dtype=torch.float32), torch.ones(6, 4))
    with pytest.raises(ValueError, match=r"factors must be floating \[6, 4\], not torch.float32 \[6, 3\]"):
        enhance(pictures(), torch.ones(6, 3))
