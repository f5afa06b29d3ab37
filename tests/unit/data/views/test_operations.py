"""Operations, one at a time, against Pillow's."""

import numpy as np
import pytest

from semisonic.data.views import operations
from tests.support import pil_reference
from tests.support.views import (
    difference,
    run_operation,
)

# A view of one operation leaves some parameters unused, which DALI reports.
pytestmark = pytest.mark.filterwarnings("ignore:The external source node")


MAGNITUDES = {
    "identity": [0],
    "auto_contrast": [0],
    "invert": [0],
    "brightness": [0, 0.05, 0.37, 0.5, 0.95, 1.7],
    "color": [0, 0.05, 0.37, 0.5, 0.95, 1.7],
    "contrast": [0, 0.05, 0.37, 0.5, 0.95, 1.7],
    "sharpness": [0, 0.05, 0.37, 0.5, 0.95, 1.7],
    "posterize": [1, 4, 5, 6, 7, 8],
    "solarize": [0, 0.5, 100, 200.3, 255, 256],
    "rotate": [-30, -7.3, 0, 11, 27],
    "shear_x": [-0.3, -0.05, 0, 0.123, 0.27],
    "shear_y": [-0.3, -0.05, 0, 0.123, 0.27],
    "translate_x": [-0.3, -0.04, 0, 0.123, 0.29],
    "translate_y": [-0.3, -0.04, 0, 0.123, 0.29],
}

# (largest difference, share of pixels). Pillow rotates in 16.16 fixed point, so that a source coordinate near
# a pixel's edge may fall into the neighbor, which can have any value. All else is exact.
TOLERANCES = {"rotate": (255, 0.001)}


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("name", MAGNITUDES)
def test_operation_matches_pillow(name, size):
    ours, images, magnitudes = run_operation(name, size, MAGNITUDES[name])
    theirs = np.stack([pil_reference.apply(name, image, m) for image, m in zip(images, magnitudes, strict=True)])
    largest, share = TOLERANCES.get(name, (0, 0))
    found = difference(ours, theirs)
    assert found[0] <= largest and found[1] <= share, found
    if name != "identity":
        assert difference(ours, images)[1] > 0.05  # the operation does something to these pictures


def test_every_operation_is_tested():
    assert set(MAGNITUDES) | {"equalize"} == set(operations.OPERATIONS)
