"""How images must be shown to the network of a configuration: normalization belongs to the weights, not to the data."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from semisonic.contract import Preprocessing
from semisonic.models import torchvision_nets
from semisonic.models.config import ModelConfig
from semisonic.models.networks import find
from semisonic.models.timm_nets import is_timm
from semisonic.schema import UserError
from semisonic.text import name_of


def preprocessing_of(cfg: ModelConfig) -> Preprocessing | None:
    """What the weights that `cfg` starts from expect of images; None for random weights. Builds and reads nothing."""
    network = find(cfg.name)
    if network is not None and network.preprocessing is not None:
        return network.preprocessing
    if is_timm(cfg.name):
        return _of_timm(cfg)
    if cfg.weights is not None and cfg.name in torchvision_nets.names():
        return _of_torchvision(cfg.name)
    return None


def _of_timm(cfg: ModelConfig) -> Preprocessing | None:
    from semisonic.models.timm_weights import weights_about

    about = weights_about(cfg)
    if about is None:
        return None
    whose = f"timm's {about.name}" + (f".{about.tag}" if about.tag else "")
    return Preprocessing(
        mean=about.mean, std=about.std, source=whose, size=about.input_size,
        interpolation=_known(about.interpolation), crop=min(about.crop_pct, 1.0),
    )  # fmt: skip


def _known(interpolation: str) -> Literal["bilinear", "bicubic"]:
    return "bicubic" if interpolation == "bicubic" else "bilinear"


def stated_by(network: nn.Module) -> Preprocessing | None:
    """What a network that was given in Python states of its weights: `pretrained_cfg`, a dict with timm's keys, or a
    method that gives one; None where it has none. Raises UserError for one that is not such a dict."""
    holder = next((part for part in (network, getattr(network, "body", None)) if hasattr(part, "pretrained_cfg")), None)
    if holder is None:
        return None
    stated: Any = holder.pretrained_cfg
    stated = stated() if callable(stated) else stated
    stated = stated.to_dict() if hasattr(stated, "to_dict") else stated
    if not isinstance(stated, Mapping) or "mean" not in stated or "std" not in stated:
        raise UserError("network: its pretrained_cfg must be a dict with mean and std, as timm's are")
    try:
        mean, std = (tuple(float(value) for value in stated[key]) for key in ("mean", "std"))
        size, crop = stated.get("input_size"), stated.get("crop_pct")
        if len(mean) != 3 or len(std) != 3 or not all(0 < value <= 1 for value in std):
            raise ValueError("mean and std are three numbers of 0 to 1 each")
        return Preprocessing(
            mean=mean, std=std, source="the network that was given", size=None if size is None else int(size[-1]),
            interpolation=_known(str(stated.get("interpolation", "bilinear"))),
            crop=min(float(0.875 if crop is None else crop), 1.0),
        )  # fmt: skip
    except (TypeError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise UserError(f"network: its pretrained_cfg is not as timm's are: {name_of(error)}") from error


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
        size=crop, interpolation=_known(shown.interpolation.value),
        crop=crop / whole,
    )  # fmt: skip
