"""MNIST on a small network, for a CPU."""

from typing import Any


def mnist() -> dict[str, Any]:
    """FixMatch with 4 labels a class on MNIST (28x28, padded to 32).

    Command: accelerate launch launch/train.py --data mnist --data.download true
    Two CPU cores, estimated: 25 minutes.
    """
    return {
        "steps": 3000,
        "precision": "fp32",
        "data": {"name": "mnist", "labels": 40},
        "batch": {"labeled": 64, "unlabeled_ratio": 7},
        "model": {"name": "small"},
        "algorithm": {"name": "fixmatch"},
        "optim": {"name": "sgd"},
        "ema": {"decay": 0.99, "start_up": "tf"},
        "eval": {"every": 100},
        "checkpoint": {"every": 500},
    }
