"""How images must be shown to the network of a configuration: normalization belongs to the weights, not to the data."""

from typing import Any

from semisonic.contract import Preprocessing
from semisonic.models import torchvision_nets
from semisonic.models.networks import ModelConfig


def preprocessing_of(cfg: ModelConfig) -> Preprocessing | None:
    """What the weights that `cfg` starts from expect of images; None for random weights. Builds and reads nothing."""
    if cfg.weights is not None and cfg.name in torchvision_nets.names():
        return _of_torchvision(cfg.name)
    return None


def _of_torchvision(name: str) -> Preprocessing:
    """As torchvision states it for the first weights that it has published of a network.

    A file of weights in its naming does not say which ones these are; those of one network have one normalization.
    """
    from torchvision import models as zoo

    first: Any = next(iter(zoo.get_model_weights(name)))
    shown = first.transforms()
    crop, whole = shown.crop_size[0], shown.resize_size[0]
    return Preprocessing(
        mean=tuple(shown.mean), std=tuple(shown.std), source=f"torchvision's {name}, {first.name}",
        size=crop, interpolation="bicubic" if shown.interpolation.value == "bicubic" else "bilinear",
        crop=crop / whole,
    )  # fmt: skip
