"""CIFAR-100, as in the FixMatch paper."""

from typing import Any

from semisonic.recipes.paper import PAPER


def cifar100() -> dict[str, Any]:
    """CIFAR-100, 4 labels a class, WRN-28-8. Paper: 48.85 % error (400 labels), 28.29 % (2,500), 22.60 % (10,000).

    Weight decay 1e-3. In float32: --precision fp32.
    Command: accelerate launch launch/train.py --data cifar100 --data.download true [--data.labels 2500]
    Estimated: 2.0e19 operations, 45 hours.
    """
    return PAPER | {
        "data": {"name": "cifar100", "labels": 400},
        "model": PAPER["model"] | {"name": "wrn-28-8"},
        "optim": PAPER["optim"] | {"weight_decay": 1e-3},
    }
