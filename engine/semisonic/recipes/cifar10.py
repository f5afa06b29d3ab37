"""CIFAR-10, as in the FixMatch paper."""

from typing import Any

from semisonic.recipes.paper import PAPER


def cifar10() -> dict[str, Any]:
    """CIFAR-10, 4 labels a class, WRN-28-2. Paper: 13.81 +- 3.37 % error (40 labels), 5.07 % (250), 4.26 % (4,000).

    In float32: --precision fp32.
    Command: accelerate launch launch/train.py --data cifar10 --data.download true [--data.labels 250]
    Estimated: 1.3e18 operations, 3 hours.
    """
    return PAPER | {"data": {"name": "cifar10", "labels": 40}, "model": PAPER["model"] | {"name": "wrn-28-2"}}
