"""EuroSAT with a pre-trained vision transformer, as in USB."""

from typing import Any

from semisonic.recipes.usb import padding, usb


def usb_eurosat() -> dict[str, Any]:
    """EuroSAT, 2 labels a class, ViT-S of patches of 2 px. USB: FixMatch 13.44 % error (20 labels), 5.91 % (40).

    FlexMatch 5.17 (20), 5.58 (40); supervised 26.49 (20), 16.12 (40), 0.90 (all). At 32 px, learning rate 5e-5 in all
    layers alike.
    Command: accelerate launch launch/train.py --recipe usb-eurosat --data.root EUROSAT [--data.labels 40]
    Estimated: 1.8e17 operations.
    """
    data = {"name": "eurosat", "labels": 20, "size": 32, "pad": padding(32, 0.875)}
    return usb(data, "vit_small_patch16_224.augreg_in1k", 5e-5, 1.0, drop_path=0.2, patch_size=2)
