"""The augmentation in plain torch against the DALI operators and Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps

from semisonic.data.views import operations
from semisonic.data.views import policies as pools
from semisonic.data.views import registry as augment
from semisonic_kernels import augment as kernel
from semisonic_kernels.augment import augment_reference
from tests.support import pil_reference
from tests.support.augmentation import (
    FILL,
    apply,
    differing_values,
    mixed_pictures,
    one_operation,
)
from tests.support.views import geometry, pictures, run_weak, uniforms

pytestmark = [pytest.mark.filterwarnings("ignore:The external source node"), pytest.mark.kernels("fused")]


def ranges(name):
    """The widest magnitudes of an operation."""
    wide = dict.fromkeys(("brightness", "color", "contrast", "sharpness"), pools.Range(0, 4))
    wide |= {"posterize": pools.Range(1, 8, whole="steps"), "solarize": pools.Range(0, 256)}
    wide |= {"rotate": pools.Range(0, 180, signed=True)}
    return wide.get(name, pools.Range(0, 1, signed=True))


def both(name, size, count, magnitudes=None, images=None):
    """One operation at random magnitudes, as DALI operators and in the kernel."""
    policy = pools.Policy({name: magnitudes or ranges(name)}, levels=1)
    views = [augment.RandAugment(geometry(size, pad=0, flip=False), policy, operations=w) for w in ("dali", "kernel")]
    images = pictures(count, size, seed=size) if images is None else images
    return [run_weak(view, images, uniforms(view, len(images), seed=size)) for view in views]


@pytest.mark.parametrize("size", [5, 32, 47])
@pytest.mark.parametrize("name", operations.OPERATIONS)
def test_operation_equals_dali(name, size):
    dali, ours = both(name, size, count=120)
    np.testing.assert_array_equal(ours, dali)


@pytest.mark.parametrize("name", ["rotate", "shear_y", "sharpness", "equalize", "color"])
def test_large_images_equal_dali(name):
    """Rows longer than the 256 pixels after which DALI sums its steps anew."""
    dali, ours = both(name, size=300, count=6)
    np.testing.assert_array_equal(ours, dali)


def test_right_angles_equal_dali():
    """Source coordinates on the border of two pixels, where every rounding shows."""
    for angle in (30, 60, 90, 180):
        dali, ours = both("rotate", size=32, count=30, magnitudes=pools.Range(angle, angle, signed=True))
        np.testing.assert_array_equal(ours, dali)


def test_every_gray_on_a_border_rounds_as_in_dali():
    """All colors whose gray value lies halfway between two bytes."""
    colors = np.indices((256, 256, 256)).reshape(3, -1).T
    colors = colors[colors @ np.array([19595, 38470, 7471]) % 65536 == 32768]
    image = np.resize(colors, (1, 20, 20, 3)).astype(np.uint8)
    for name in ("color", "contrast"):
        dali, ours = both(name, size=20, count=0, magnitudes=pools.Range(0, 0), images=image)
        np.testing.assert_array_equal(ours, dali)


def test_contrast_of_images_above_65793_pixels():
    """Their gray values add up to 2^24 or more, which DALI rounds on the way: the mean may be 1 off, and so may pixels."""
    dali, ours = both("contrast", size=400, count=12)
    difference = np.abs(ours.astype(int) - dali)
    assert difference.max() <= 1 and (difference.max(axis=(1, 2, 3)) == 0).mean() > 0.7


@pytest.mark.parametrize("shape", [(32, 32), (5, 5), (16, 16), (1, 1), (33, 20), (64, 64)])
def test_equalize(shape):
    images = mixed_pictures(40, *shape)
    for formula, reference in (("dali", pil_reference.equalize_rounded), ("pil", _pillow_equalize)):
        ours = augment_reference(images, *one_operation(kernel.EQUALIZE, 40), FILL, formula)
        np.testing.assert_array_equal(ours, np.stack([reference(image) for image in images.numpy()]))


def _pillow_equalize(image):
    return pil_reference.apply("equalize", image, 0)


@pytest.mark.parametrize("code", range(10))
def test_flat_images_stay_flat(code):
    images = torch.arange(0, 256, 15, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 6, 6, 3)
    ours = augment_reference(images, *one_operation(code, len(images), value=1.0), FILL)
    wanted = 255 - images if code == kernel.SOLARIZE else images & 1 if code == kernel.POSTERIZE else images
    wanted = torch.where(images >= 1, wanted, images) if code == kernel.SOLARIZE else wanted
    assert torch.equal(ours, wanted)


WHOLE = {
    kernel.INVERT: ImageOps.invert,
    kernel.BLUR: lambda image: image.filter(ImageFilter.BLUR),
    kernel.AUTO_CONTRAST: ImageOps.autocontrast,
    kernel.EQUALIZE: ImageOps.equalize,
    kernel.SHARPNESS: lambda image: image.filter(ImageFilter.SMOOTH),
}


@pytest.mark.parametrize("size", [5, 32, 33])
@pytest.mark.parametrize("code", WHOLE)
def test_blends_match_pillow(code, size):
    images = pictures(12, size, seed=size)
    for level in (0, 0.3, 0.72, 1):
        ours = apply(code, images, 1 - level)
        theirs = [Image.blend(x, WHOLE[code](x), level) for x in map(Image.fromarray, images)]
        # Where the exact result is a whole number, either may fall just short of it.
        largest, share = differing_values(ours, np.stack(theirs))
        assert largest <= (0 if level in (0, 1) else 1) and share < 0.02


def test_holes_of_an_operation():
    images = pictures(2, 8)
    ours = apply(kernel.HOLE, images, 0, [[1, 2, 4], [8, 0, 0]])
    images[:, 1:4, 2:8] = FILL
    np.testing.assert_array_equal(ours, images)
