"""Semi-Aves with a pre-trained vision transformer, as in USB."""

from typing import Any

from semisonic.recipes.usb import usb


def usb_semi_aves() -> dict[str, Any]:
    """Semi-Aves, 3,959 labels, 26,640 unlabeled images of the same species, ViT-S/16. USB: FixMatch 31.90 % error.

    FlexMatch 32.48; supervised 41.20. At 224 px, learning rate 1e-3, layer decay 0.65. USB resizes to 256 x 256 pixels
    and crops 224 of them; a weak crop here shows at least as much of the picture, 77 %, and may be narrower. Its strong
    crops are as small as 8 %, those here as the weak ones.
    Command: accelerate launch launch/train.py --recipe usb-semi-aves --data.root SEMI_AVES
    Estimated: 1.4e17 operations.
    """
    data = {"name": "semi-aves", "labels": None, "crop_area": 0.875**2, "crop_ratio": 0.875}
    return usb(data, "vit_small_patch16_224.augreg_in1k", 1e-3, 0.65, drop_path=0.2)
