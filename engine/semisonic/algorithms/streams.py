"""Logits of the labelled and the unlabelled stream, with BatchNorm statistics in common or of each by itself.

Shape suffixes: B labelled batch, U unlabelled batch.
"""

from typing import Literal

from torch import Tensor

from semisonic.algorithms.base import Algorithm

Statistics = Literal["all", "labelled"]
"""Which images BatchNorm normalises together, and so which ones move its running statistics."""


def classify_streams(
    algorithm: Algorithm, labelled: Tensor, *unlabelled: Tensor, statistics: Statistics, module: str = "network"
) -> tuple[Tensor, ...]:
    """Logits (float32) of the labelled view [B, 3, H, W] and of views [U, 3, H, W] of the unlabelled images.

    statistics: "all" is one forward of all views, which moves BatchNorm's running statistics. "labelled" is one of the
    labelled view, which moves them, and one of the others, which have batch statistics of their own and move nothing.
    The EMA network never moves any.
    """
    if statistics == "all":
        return algorithm.classify(labelled, *unlabelled, module=module)
    return (*algorithm.classify(labelled, module=module), *algorithm.classify(*unlabelled, module=module, track=False))
