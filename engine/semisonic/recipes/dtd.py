"""Describable Textures (Cimpoi et al. 2014), a pre-trained network adapted to it."""

from typing import Any

from semisonic.recipes.adapted import adapted


def dtd() -> dict[str, Any]:
    """DTD: 47 textures, 4 labels a class, ViT-B/14 of DINOv2 adapted by LoRA, after a supervised baseline.

    Steps for the 3,760 training and validation images of a split; put both into train/.
    Command: accelerate launch launch/train.py --recipe dtd --data.root DTD
    Estimated: 4.8e16 operations, and for the baseline a third of it.
    """
    return adapted(labels=188, pool=3760)
