"""How much each labeled image counts in the loss on labels: by its class, and by a weight of its own.

    L_x = mean_B w_class(y) w_image H(y, p)

Balanced weights are inverse class frequencies. Effective ones are those of the effective number of samples (Cui et al.,
arXiv 1901.05555) with b = (N - 1)/N of the mean number N of images of a class, as SAW has them (Lai et al., 2022):
(1 - b)/(1 - b^n), scaled to sum C. Both are 1 where all classes have as many images.
Shape suffixes: B labeled batch, C classes, N labeled set.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator
from torch import Tensor, nn

from semisonic.contract import Info
from semisonic.schema import HEAVIEST, Config, UserError

NAMES = ("none", "balanced", "effective")
_EXPECTED = f"{', '.join(NAMES)}, or a number of 0 to 1,000,000 for each class, such as 1,1,2.5, not all 0"


def _class_weights(value: Any) -> Any:
    """A name, or the numbers of a list or of a text such as `1,2`; a ValueError says what would be valid."""
    if value in NAMES:
        return value
    parts = value.split(",") if isinstance(value, str) else value
    try:
        if not isinstance(parts, list | tuple) or any(isinstance(part, bool) for part in parts):
            raise ValueError
        numbers = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        raise ValueError(_EXPECTED) from None
    if not any(numbers) or not all(0 <= number <= HEAVIEST for number in numbers):
        raise ValueError(_EXPECTED)
    return numbers


class LossConfig(Config):
    class_weights: Annotated[
        Literal["none", "balanced", "effective"] | tuple[float, ...], BeforeValidator(_class_weights)
    ] = "none"
    """How much labeled images count by their class. balanced = inversely to the class's number of labeled images.
    effective = more evenly, by the effective number of samples. Or a number for each class in their order, such as
    1,1,2.5. In methods that mix images, a class counts so by its share of the mixed label."""


def effective_weights(counts: Sequence[int]) -> list[float]:
    """By the effective number of samples; counts: of every class, of which 0 is taken as 1. They sum to C."""
    counts = [max(1, count) for count in counts]
    mean = sum(counts) / len(counts)
    if mean == 1:
        return [1.0] * len(counts)  # the limit; b would be 0
    b = (mean - 1) / mean
    raw = [(1 - b) / (1 - b**count) for count in counts]
    return [weight * len(counts) / math.fsum(raw) for weight in raw]


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """N/(C n_c), whose mean over the labeled images is 1; counts: of every class, of which 0 is taken as 1."""
    return [sum(counts) / (len(counts) * max(1, count)) for count in counts]


def class_weights(cfg: LossConfig, counts: Sequence[int]) -> list[float] | None:
    """The weights of the classes [C]; None: all count by 1. Raises `UserError` for a list of another length."""
    if problems := length_problems(cfg, len(counts)):
        raise UserError(problems)
    if isinstance(cfg.class_weights, tuple):
        return list(cfg.class_weights)
    kinds = {"balanced": balanced_weights, "effective": effective_weights}
    return kinds[cfg.class_weights](counts) if cfg.class_weights in kinds else None


def length_problems(cfg: LossConfig, classes: int) -> list[str]:
    """What speaks against a list of weights, where so many classes are known; else []."""
    given = cfg.class_weights
    if not isinstance(given, tuple) or len(given) == classes:
        return []
    return [f"loss.class_weights: {len(given)} numbers for {classes} classes; give one for each, in their order"]


class LabelWeights(nn.Module):
    """The weights of a run, as tensors of its state."""

    by_class: Tensor | None
    """[C]."""
    by_image: Tensor | None
    """Of every image of the labeled set [N]."""

    def __init__(self, by_class: Tensor | None, by_image: Tensor | None):
        super().__init__()
        self.register_buffer("by_class", by_class)
        self.register_buffer("by_image", by_image)

    def of(self, label_B: Tensor, index_B: Tensor | None) -> Tensor | None:
        """The weight of each labeled sample [B]; None: all count by 1. index: positions in the labeled set."""
        image_B = self.of_images(index_B)
        if self.by_class is None:
            return image_B
        class_B = self.by_class[label_B]
        return class_B if image_B is None else class_B * image_B

    def of_images(self, index_B: Tensor | None) -> Tensor | None:
        """The images' own weights [B]."""
        if self.by_image is None:
            return None
        if index_B is None:
            raise UserError(
                "data.weight_column: this algorithm does not say which labeled images it trains on, so that they "
                "cannot be weighed; leave it out"
            )
        return self.by_image[index_B]


def label_weights(cfg: LossConfig, info: Info, images: Sequence[float] | None = None) -> LabelWeights | None:
    """The weights that a run asks for; None: none. images: of every labeled image [N]. Raises `UserError`."""
    by_class = class_weights(cfg, info.class_counts)
    if images is not None and not any(images):
        raise UserError(
            f"data.weight_column: all {len(images)} labeled images that were drawn have the weight 0; draw others, or "
            "give some of them more"
        )
    if by_class is None and images is None:
        return None
    return LabelWeights(*(None if given is None else torch.tensor(given) for given in (by_class, images)))
