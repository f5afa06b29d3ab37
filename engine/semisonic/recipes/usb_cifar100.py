"""CIFAR-100 with a pre-trained vision transformer, as in USB."""

from typing import Any

from semisonic.recipes.usb import padding, usb


def usb_cifar100() -> dict[str, Any]:
    """CIFAR-100, 2 labels a class, ViT-S of patches of 2 px. USB: FixMatch 29.60 % error (200 labels), 19.56 % (400).

    FlexMatch 26.76 (200), 18.24 (400); supervised 35.88 (200), 26.76 (400), 8.30 (all). Learning rate 5e-4, layer decay
    0.5.
    Command: accelerate launch launch/train.py --recipe usb-cifar100 --data.download true [--data.labels 400]
    Estimated: 1.8e17 operations, a seventh of the recipe cifar10's.
    """
    data = {"name": "cifar100", "labels": 200, "pad": padding(32, 0.875)}
    return usb(data, "vit_small_patch16_224.augreg_in1k", 5e-4, 0.5, drop_path=0.2, patch_size=2)
