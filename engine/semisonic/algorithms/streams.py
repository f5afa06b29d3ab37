"""What the network makes of both streams, with BatchNorm statistics in common or of each by itself.

Shape suffixes: B labeled batch, U unlabeled batch.
"""

from typing import Literal

from torch import Tensor

from semisonic.algorithms.base import Algorithm
from semisonic.contract import Seen

Statistics = Literal["all", "labeled"]
"""Which images BatchNorm normalizes together, and so which ones move its running statistics."""


def look_at_streams(
    algorithm: Algorithm, labeled: Tensor, *unlabeled: Tensor, statistics: Statistics, module: str = "network"
) -> tuple[Seen, ...]:
    """What the network makes of the labeled view [B, 3, H, W] and of views [U, 3, H, W] of the unlabeled images.

    statistics: "all" is one forward of all views, which moves BatchNorm's running statistics. "labeled" is one of the
    labeled view, which moves them, and one of the others, which have batch statistics of their own and move nothing.
    The EMA network never moves any.
    """
    if statistics == "all":
        return algorithm.look(labeled, *unlabeled, module=module)
    return (*algorithm.look(labeled, module=module), *algorithm.look(*unlabeled, module=module, track=False))
