"""DALI operators with formulas of their own: both ways to equalize."""

import numpy as np
import pytest

from tests.support import pil_reference
from tests.support.views import (
    difference,
    run_operation,
)

# A view of one operation leaves some parameters unused, which DALI reports.
pytestmark = pytest.mark.filterwarnings("ignore:The external source node")


@pytest.mark.parametrize("size", [32, 48])
def test_equalize(size):
    ours, images, _ = run_operation("equalize", size, [0])
    np.testing.assert_array_equal(ours, np.stack([pil_reference.equalize_rounded(image) for image in images]))
    pillow = np.stack([pil_reference.apply("equalize", image, 0) for image in images])
    np.testing.assert_array_equal(run_operation("equalize", size, [0], "pil")[0], pillow)
    assert difference(ours, pillow)[0] > 10
