"""The benchmarks of the FixMatch paper (arXiv 2001.07685, table 2 and appendix B): 2^20 steps of 64 + 7 * 64 images.

Errors quoted are the paper's. None of these has been run to the end here yet.
"""

from typing import Any

PAPER: dict[str, Any] = {
    "steps": 2**20,
    "precision": "bf16",
    "batch": {"labelled": 64, "unlabelled_ratio": 7},
    "optim": {"name": "sgd", "lr": 0.03, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "fixmatch"},
    "algorithm": {"name": "fixmatch"},
    "ema": {"decay": 0.999},
    "eval": {"every": 1024},
    "checkpoint": {"every": 4096},
    "log": {"every": 128},
}


def cifar10() -> dict[str, Any]:
    """CIFAR-10, 4 labels a class, WRN-28-2. Paper: 13.81 +- 3.37 % error (40 labels), 5.07 % (250), 4.26 % (4,000).

    Command: accelerate launch launch/train.py --data cifar10 --data.download true
    """
    return PAPER | {"data": {"name": "cifar10", "labels": 40}, "model": {"name": "wrn-28-2"}}


def cifar100() -> dict[str, Any]:
    """CIFAR-100, 4 labels a class, WRN-28-8, weight decay 1e-3. Paper: 48.85 +- 1.75 % error.

    Command: accelerate launch launch/train.py --data cifar100 --data.download true
    """
    return PAPER | {
        "data": {"name": "cifar100", "labels": 400},
        "model": {"name": "wrn-28-8"},
        "optim": PAPER["optim"] | {"weight_decay": 1e-3},
    }


def svhn() -> dict[str, Any]:
    """SVHN with its extra images, 4 labels a class, WRN-28-2, no flips. Paper: 3.96 +- 2.17 % error.

    Command: accelerate launch launch/train.py --data svhn --data.download true
    """
    return PAPER | {"data": {"name": "svhn", "labels": 40}, "model": {"name": "wrn-28-2"}}


def stl10() -> dict[str, Any]:
    """STL-10, 1,000 labels, 100,000 unlabelled images, 96x96, WRN-37-2. Paper: 7.98 +- 1.50 % error.

    Command: accelerate launch launch/train.py --data stl10 --data.download true
    """
    return PAPER | {"data": {"name": "stl10", "labels": 1000}, "model": {"name": "wrn-37-2"}}


def folder() -> dict[str, Any]:
    """Your own images: ResNet-50 at 224, the FixMatch paper's ImageNet setting (threshold 0.7, ratio 5, weight 10).

    Command: accelerate launch launch/train.py --data folder --data.root IMAGES --data.labels N
    """
    return PAPER | {
        "steps": 100_000,
        "data": {"name": "folder", "size": 224},
        "model": {"name": "resnet50"},
        "algorithm": {"name": "fixmatch", "threshold": 0.7, "weight": 10.0},
        "batch": {"labelled": 64, "unlabelled_ratio": 5},
        "optim": PAPER["optim"] | {"weight_decay": 3e-4},
    }
