"""RESISC45 (Cheng et al. 2017), a pre-trained network adapted to it."""

from typing import Any

from semisonic.recipes.adapted import adapted


def resisc45() -> dict[str, Any]:
    """RESISC45: aerial views, 4 labels a class, ViT-B/14 of DINOv2 adapted by LoRA, after a supervised baseline.

    31,500 images without a published split, of which a fifth is held back as test images; steps for the other 25,200.
    Command: accelerate launch launch/train.py --recipe resisc45 --data.root RESISC45
    Estimated: 3.2e17 operations, and for the baseline a third of it.
    """
    return adapted(labels=180, pool=25_200)
