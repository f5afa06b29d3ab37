"""The augmentation in Triton, interpreted, against plain torch."""

import numpy as np
import pytest
import torch

from semisonic_kernels import augment as kernel
from semisonic_kernels.augment import augment_reference
from semisonic_kernels.augment_triton import augment_launch
from tests.support.augmentation import FILL, arguments, interpreted, mixed_pictures
from tests.support.views import pictures

pytestmark = [pytest.mark.filterwarnings("ignore:The external source node"), pytest.mark.kernels("fused")]


QUICK = [((5, 5), "dali"), ((7, 40), "pil"), ((1, 1), "dali")]


@interpreted
@pytest.mark.parametrize(
    ("shape", "equalize"),
    [
        pytest.param(shape, equalize, marks=() if (shape, equalize) in QUICK else pytest.mark.slow)
        for shape in ((32, 32), (5, 5), (33, 33), (7, 40), (17, 2), (1, 1))
        for equalize in ("dali", "pil")
    ],
)
def test_triton_equals_reference(shape, equalize):
    """Every operation twice, in two orders, then a hole."""
    codes = [(code, (7 * code + 3) % 10) for code in range(10)]
    images, own = mixed_pictures(10, *shape), arguments(codes, *shape)
    ours = augment_launch(images, *own, FILL, equalize == "pil")
    assert torch.equal(ours, augment_reference(images, *own, FILL, equalize))
    assert ours.data_ptr() != images.data_ptr() and not torch.equal(ours, images)


@interpreted
@pytest.mark.parametrize("code", range(1, 10))
def test_triton_operation_equals_reference(code):
    images = torch.cat([mixed_pictures(4, 16, 16), torch.from_numpy(pictures(6, 16))])
    own = arguments([[code]] * 10, 16, 16, seed=code)[:3]
    assert torch.equal(augment_launch(images, *own, None, FILL, False), augment_reference(images, *own, None, FILL))


@interpreted
def test_triton_warps_rows_longer_than_a_checkpoint():
    images, own = mixed_pictures(1, 3, 530), arguments([[kernel.WARP]], 3, 530)
    assert torch.equal(augment_launch(images, *own, FILL, False), augment_reference(images, *own, FILL))


@interpreted
@pytest.mark.parametrize("count, levels", [(0, 2), (1, 2), (3, 0)])
@pytest.mark.parametrize("holes", [True, False])
def test_small_batches_and_no_level(count, levels, holes):
    images, own = mixed_pictures(count, 8, 8), arguments(np.full((count, levels), kernel.SOLARIZE), 8, 8)
    own[3] = own[3] if holes else None
    reference = augment_reference(images, *own, FILL)
    assert reference.shape == (count, 8, 8, 3)
    assert torch.equal(augment_launch(images, *own, FILL, False), reference)
    if not levels and not holes:
        assert torch.equal(reference, images) and reference.data_ptr() != images.data_ptr()
