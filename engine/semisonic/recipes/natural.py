"""The benchmarks of the FixMatch paper (arXiv 2001.07685, table 2 and appendix B): 2^20 steps of 64 + 7 * 64 images.

Errors quoted are the paper's. None of these has been run to the end here yet. Costs are estimates: operations of all
steps in forward and backward, and hours on an H200 at 100 steps a second of WRN-28-2 at 32 px; `--plan` measures.
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

    Command: accelerate launch launch/train.py --data cifar10 --data.download true [--data.labels 250]
    Estimated: 1.3e18 operations, 3 hours.
    """
    return PAPER | {"data": {"name": "cifar10", "labels": 40}, "model": {"name": "wrn-28-2"}}


def cifar100() -> dict[str, Any]:
    """CIFAR-100, 4 labels a class, WRN-28-8. Paper: 48.85 % error (400 labels), 28.29 % (2,500), 22.60 % (10,000).

    Weight decay 1e-3.
    Command: accelerate launch launch/train.py --data cifar100 --data.download true [--data.labels 2500]
    Estimated: 2.0e19 operations, 45 hours.
    """
    return PAPER | {
        "data": {"name": "cifar100", "labels": 400},
        "model": {"name": "wrn-28-8"},
        "optim": PAPER["optim"] | {"weight_decay": 1e-3},
    }


def svhn() -> dict[str, Any]:
    """SVHN, 4 labels a class, WRN-28-2. Paper: 3.96 +- 2.17 % error (40 labels), 2.48 % (250), 2.28 % (1,000).

    With its extra images, no flips.
    Command: accelerate launch launch/train.py --data svhn --data.download true [--data.labels 250]
    Estimated: 1.3e18 operations, 3 hours.
    """
    return PAPER | {"data": {"name": "svhn", "labels": 40}, "model": {"name": "wrn-28-2"}}


def stl10() -> dict[str, Any]:
    """STL-10, 1,000 labels, 100,000 unlabelled images, 96x96, WRN-37-2. Paper: 7.98 +- 1.50 % error.

    Command: accelerate launch launch/train.py --data stl10 --data.download true
    Estimated: 3.9e18 operations, 9 hours.
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


def folder_16000() -> dict[str, Any]:
    """Your own images, 16,000 labelled and the others (40,000) not: threshold policies on MixMatch, 300 epochs.

    Command: accelerate launch launch/train.py --recipe folder-16000 --data.root IMAGES --algorithm.policy staged
    20 + 50 images of 224 px a step, ResNet-50 (--model efficientnet_b3 or efficientnet_b4; --model.weights FILE starts
    from ImageNet's), SGD at a constant 5e-4, squared error with weight 150; the ramp of the policies none and mixed
    ends after 16,000 steps, 20 epochs. With cross-entropy: --algorithm.loss ce, weight 1.
    Estimated: 9e17 operations, 2.5 hours at 100 TFLOP/s. Accuracies noted for EfficientNet-B3 on data that
    are not public: 72.5 to 74.9 % (percentile of the training accuracy with floor and cross-entropy the best).
    """
    return PAPER | {
        "steps": 240_000,
        "data": {"name": "folder", "size": 224, "labels": 16_000, "unlabelled_includes_labelled": False},
        "model": {"name": "resnet50"},
        "algorithm": {"name": "policy-mixmatch", "block": 10},
        "batch": {"labelled": 20, "unlabelled_ratio": 2.5},
        "optim": PAPER["optim"] | {"lr": 5e-4, "nesterov": False, "weight_decay": 4e-4, "schedule": "constant"},
        "eval": {"every": 800},
        "checkpoint": {"every": 4000},
    }
