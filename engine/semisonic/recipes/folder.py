"""Folders of the user's own images."""

from typing import Any

from semisonic.recipes.paper import PAPER

EMA: dict[str, Any] = PAPER["ema"] | {"start_up": "tf"}
"""The first run on images of one's own is a short one."""


def folder() -> dict[str, Any]:
    """Your own images: ResNet-50 at 224, the FixMatch paper's ImageNet setting (threshold 0.7, ratio 5, weight 10).

    Command: accelerate launch launch/train.py --data folder --data.root IMAGES [--data.labels N]
    """
    return PAPER | {
        "steps": 100_000,
        "data": {"name": "folder", "size": 224, "labels": None},
        "model": {"name": "resnet50"},
        "ema": EMA,
        "algorithm": {"name": "fixmatch", "threshold": 0.7, "weight": 10.0},
        "batch": {"labeled": 64, "unlabeled_ratio": 5},
        "optim": PAPER["optim"] | {"weight_decay": 3e-4},
    }


def folder_16000() -> dict[str, Any]:
    """Your own images, 16,000 labeled and the others (40,000) not: threshold policies on MixMatch, 300 epochs.

    Command: accelerate launch launch/train.py --recipe folder-16000 --data.root IMAGES --algorithm.policy staged
    20 + 50 images of 224 px a step, ResNet-50 (--model efficientnet_b3 or efficientnet_b4; --model.weights FILE starts
    from ImageNet's), SGD at a constant 5e-4, squared error with weight 150; the ramp of the policies none and mixed
    ends after 16,000 steps, 20 epochs. With cross-entropy: --algorithm.loss ce, weight 1.
    Estimated: 9e17 operations, 2.5 hours at 100 TFLOP/s. Accuracies noted for EfficientNet-B3 on data that
    are not public: 72.5 to 74.9 % (percentile of the training accuracy with floor and cross-entropy the best).
    """
    return PAPER | {
        "steps": 240_000,
        "data": {"name": "folder", "size": 224, "labels": 16_000, "unlabeled_includes_labeled": False},
        "model": {"name": "resnet50"},
        "ema": EMA,
        "algorithm": {"name": "policy-mixmatch", "block": 10},
        "batch": {"labeled": 20, "unlabeled_ratio": 2.5},
        "optim": PAPER["optim"] | {"lr": 5e-4, "nesterov": False, "weight_decay": 4e-4, "schedule": "constant"},
        "eval": {"every": 800},
        "checkpoint": {"every": 4000},
    }
