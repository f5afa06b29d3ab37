"""STL-10 with a pre-trained vision transformer, as in USB."""

from typing import Any

from semisonic.recipes.usb import padding, usb


def usb_stl10() -> dict[str, Any]:
    """STL-10, 4 labels a class, ViT-B/16 at 96 px, MAE's weights. USB: FixMatch 16.15 % error (40 labels), 8.11 (100).

    FlexMatch 14.40 (40), 8.17 (100); supervised 19.00 (40), 10.87 (100). Learning rate 1e-4, layer decay 0.65.
    Copies of test images among the unlabeled ones, of which a run tells, flatter every method.
    Command: accelerate launch launch/train.py --recipe usb-stl10 --data.download true [--data.labels 100]
    Estimated: 9.4e16 operations.
    """
    data = {"name": "stl10", "labels": 40, "pad": padding(96, 0.875)}
    return usb(data, "vit_base_patch16_224.mae", 1e-4, 0.65, drop_path=0.2)
