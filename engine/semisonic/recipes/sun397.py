"""SUN397 (Xiao et al. 2010), a pre-trained network adapted to it."""

from typing import Any

from semisonic.recipes.adapted import adapted


def sun397() -> dict[str, Any]:
    """SUN397: scenes, 4 labels a class, ViT-B/14 of DINOv2 adapted by LoRA, after a supervised baseline.

    Steps for 87,003 training images; 21,750 others are the usual test images. Its published folders a/ to z/ hold the
    classes: move these up, or name the images by a CSV (data.csv).
    Command: accelerate launch launch/train.py --recipe sun397 --data.root SUN397
    Estimated: 1.1e18 operations, and for the baseline a third of it.
    """
    return adapted(labels=1588, pool=87_003)
