"""Folders of the user's own images, by the GPU's memory.

Memory and costs are estimates, not measurements: what a forward keeps for the backward in bf16, counted once for an
image of each network, times the views of a step, and 16 to 20 bytes a parameter; operations of all steps in forward and
backward.
"""

from typing import Any

from semisonic.recipes.adapted import NETWORK
from semisonic.recipes.paper import PAPER
from semisonic.recipes.usb import usb

EMA: dict[str, Any] = PAPER["ema"] | {"start_up": "tf"}
"""The first run on images of one's own is a short one."""


def folder() -> dict[str, Any]:
    """Your own images: ResNet-50 at 224, the FixMatch paper's ImageNet setting (threshold 0.7, ratio 5, weight 10).

    Command: accelerate launch launch/train.py --data folder --data.root IMAGES [--data.labels N]
    Estimated: 1.7e18 operations; 31 GB, of which 44 MB for each of 704 views. By the GPU's memory: folder-small and
    folder-small-vit from 4 to 8 GB, folder-vit 8 GB, this one 40 GB, folder-large 80 GB; on less, `batch.fit` splits
    the step.
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


def folder_small() -> dict[str, Any]:
    """Your own images on a GPU of 8 GB: ResNet-18 at 224, 32 + 160 images a step.

    Command: accelerate launch launch/train.py --recipe folder-small --data.root IMAGES [--data.labels N]
    Estimated: 1.2e17 operations; 4.4 GB, of which 12 MB for each of 352 views (`--plan` measures). From weights:
    --model.weights FILE, or folder-small-vit.
    """
    return folder() | {
        "steps": 30_000,
        "model": {"name": "resnet18"},
        "batch": {"labeled": 32, "unlabeled_ratio": 5},
    }


def folder_small_vit() -> dict[str, Any]:
    """Your own images on a GPU of 4 GB: a pre-trained ViT-Ti/16 at 224, all of it trained, 8 + 8 images a step.

    Batch, optimizer and strong view as in the recipe usb-tissuemnist.
    Command: accelerate launch launch/train.py --recipe folder-small-vit --data.root IMAGES [--data.labels N]
    Estimated: 5.0e15 operations; 0.6 GB, of which 17 MB for each of 24 views.
    """
    return _fine_tuned("vit_tiny_patch16_224.augreg_in21k", lr=5e-5, layer_decay=0.95, drop_path=0.1)


def folder_vit() -> dict[str, Any]:
    """Your own images on a GPU of 8 GB: DINOv2's ViT-S/14 at 224, all of it trained, 8 + 8 images a step.

    Batch, optimizer and strong view as in the recipe usb-semi-aves, the published setting that is nearest: 200 classes
    at 224 px. With one of CLIP's or DINOv3's networks, --model timm/NAME; what its weights expect of images is known.
    Command: accelerate launch launch/train.py --recipe folder-vit --data.root IMAGES [--data.labels N]
    Estimated: 2.6e16 operations; 1.7 GB, of which 48 MB for each of 24 views.
    """
    return _fine_tuned("vit_small_patch14_dinov2.lvd142m", lr=1e-3, layer_decay=0.65, drop_path=0.2)


def folder_large() -> dict[str, Any]:
    """Your own images on a GPU of 80 GB: DINOv2's ViT-B/14 with registers at 224, by LoRA, 32 + 224 images a step.

    Optimizer and rank as in the recipes dtd and sun397, learning rate 1e-4; also try 1e-5 and 1e-3. First comes the
    supervised baseline on the same labels, which often does as well.
    Command: accelerate launch launch/train.py --recipe folder-large --data.root IMAGES [--data.labels N]
    Estimated: 6.8e17 operations; 47 GB, of which 98 MB for each of 480 views. On less, `batch.fit` splits the step.
    """
    return PAPER | {
        "steps": 10_000,
        "baseline": True,
        "data": {"name": "folder", "size": 224, "labels": None},
        "model": {"name": NETWORK, "pretrained": True, "tune": "lora", "lora_rank": 4},
        "ema": EMA,
        "algorithm": {"name": "fixmatch"},
        "batch": {"labeled": 32, "unlabeled_ratio": 7},
        "optim": {"name": "adamw", "lr": 1e-4, "weight_decay": 5e-4, "schedule": "cosine", "warm_up": 250},
    }


def _fine_tuned(network: str, lr: float, layer_decay: float, drop_path: float) -> dict[str, Any]:
    """A pre-trained vision transformer in USB's setting, for a run of 30,000 steps."""
    data = {"name": "folder", "size": 224, "labels": None}
    recipe = usb(data, network, lr, layer_decay, drop_path)
    return recipe | {
        "steps": 30_000,
        "precision": "auto",
        "ema": EMA,
        "optim": recipe["optim"] | {"warm_up": 750},
    }
