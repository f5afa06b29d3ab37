"""TissueMNIST with a pre-trained vision transformer, as in USB."""

from typing import Any

from semisonic.recipes.usb import padding, usb


def usb_tissuemnist() -> dict[str, Any]:
    """TissueMNIST, 10 labels a class, ViT-Ti of patches of 2 px. USB: FixMatch 55.37 % error (80 labels), 51.24 (400).

    FlexMatch 58.36 (80), 51.89 (400); supervised 60.36 (80), 54.08 (400), 28.96 (all). The images of 28 px are shown
    at 32. Learning rate 5e-5, layer decay 0.95. USB's code leaves operations on colors out of the strong view here.
    Command: accelerate launch launch/train.py --recipe usb-tissuemnist --data.root MEDMNIST [--data.labels 400]
    Estimated: 4.9e16 operations.
    """
    data = {"name": "tissuemnist", "labels": 80, "size": 32, "pad": padding(32, 0.95)}
    return usb(data, "vit_tiny_patch16_224.augreg_in21k", 5e-5, 0.95, drop_path=0.1, patch_size=2)
