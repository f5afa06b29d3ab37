"""STL-10, as in the FixMatch paper."""

from typing import Any

from semisonic.recipes.paper import PAPER


def stl10() -> dict[str, Any]:
    """STL-10, 1,000 labels, 100,000 unlabeled images, 96x96, WRN-37-2. Paper: 7.98 +- 1.50 % error.

    Copies of test images among the unlabeled ones, of which a run tells, flatter every method, the paper's too. In
    float32: --precision fp32.
    Command: accelerate launch launch/train.py --data stl10 --data.download true
    Estimated: 3.9e18 operations, 9 hours.
    """
    return PAPER | {"data": {"name": "stl10", "labels": 1000}, "model": PAPER["model"] | {"name": "wrn-37-2"}}
