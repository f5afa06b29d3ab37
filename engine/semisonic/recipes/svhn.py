"""SVHN, as in the FixMatch paper."""

from typing import Any

from semisonic.recipes.paper import PAPER


def svhn() -> dict[str, Any]:
    """SVHN, 4 labels a class, WRN-28-2. Paper: 3.96 +- 2.17 % error (40 labels), 2.48 % (250), 2.28 % (1,000).

    Without its extra images and without flips, as there; TorchSSL and USB have both, whose errors some methods quote.
    In float32: --precision fp32.
    Command: accelerate launch launch/train.py --data svhn --data.download true [--data.labels 250]
    Estimated: 1.3e18 operations, 3 hours.
    """
    return PAPER | {
        "data": {"name": "svhn", "labels": 40, "svhn_extra": False},
        "model": PAPER["model"] | {"name": "wrn-28-2"},
    }
