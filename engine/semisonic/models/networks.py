"""The networks. Each maps float images [N, 3, H, W] to logits [N, classes] and has

* `features(images)`: [N, 3, H, W] -> [N, feature_dim];
* `head`: the nn.Linear such that `forward(images)` is `head(features(images))`;
* `feature_dim`: D.

Wide ResNets also have `trunk(images)`, the maps before their last stage; `top(maps)`, the features from there; and
`last_stage()`, the modules of `top` as one module.
"""

import difflib
from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import nn

from semisonic.models import pretrained, shake_shake, small, torchvision_nets, wide_resnet
from semisonic.models.head import DropoutLinear
from semisonic.models.norm import convert_batch_norm
from semisonic.models.wrapped import GIVEN, NetworkFactory, build_given
from semisonic.schema import Config, UserError

FOUR_STAGE_STRIDE_FROM = 64


class ModelConfig(Config):
    name: str = "wrn-28-2"
    """wrn-D-K (wrn-28-2, wrn-28-8, wrn-37-2, ...), shake-shake-26-2x32d, small, or a classifier of torchvision
    (resnet18, ...)."""
    weights: Path | None = None
    """For torchvision's networks: a file of weights to start from, such as ImageNet's (.pth with a state dict, or
    .safetensors, in torchvision's naming). The head is new where the file has another number of classes."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the head's inputs that are dropped in training."""
    stem: Literal["auto", "3x3", "7x7"] = "auto"
    """First layers of torchvision's residual networks and efficientnets: 3x3 = no downsampling, for small
    images; 7x7 = the network's own; auto = 3x3 for images of at most 64 px."""
    residual: Literal["tf", "port"] = "tf"
    """Wide ResNets: tf = the TensorFlow original; port = the PyTorch ports, with dead BatchNorm layers."""
    first_stride: Literal[1, 2] | None = None
    """Wide ResNets: stride of the first stage. None = 1, but 2 for four stages (wrn-37-2) from 64 px."""
    norm_momentum: float | None = Field(None, gt=0, le=1)
    """Weight of the new batch in BatchNorm's running statistics. None = the network's own: 0.001 for wide
    ResNets, 0.1 for shake-shake and small, torchvision's for its own."""
    norm_eps: float | None = Field(None, gt=0)
    """Added to BatchNorm's variance. None = the network's own: 0.001 for wide ResNets, 1e-5 for shake-shake and
    small, torchvision's for its own."""
    norm_sync: bool = True
    """Normalize by the statistics of all ranks' batches. False = each rank by its own share."""
    fingerprint: str | None = None
    """Of a network that was given in Python, whose name is `given`: by this a run knows its own. Written by
    `semisonic.train(network=...)`."""


def models() -> dict[str, str]:
    """Every network by its name for `model.name`, with one line about it."""
    return {
        "wrn-28-2": "Wide ResNet, 1.5 M parameters: CIFAR-10 and SVHN in the literature",
        "wrn-28-8": "Wide ResNet, 23.4 M parameters: CIFAR-100 in the literature",
        "wrn-37-2": "Wide ResNet with four stages, 5.9 M parameters: STL-10 in the literature",
        "wrn-D-K": "any other Wide ResNet of depth D = 6n+4 (three stages) or 8n+5 (four) and width factor K",
        "shake-shake-26-2x32d": "Shake-Shake of two branches, 2.9 M parameters; also 2x64d (11.7 M), 2x96d (26.2 M)",
        "small": "four convolutions, 80,000 parameters: the embedded digits on a CPU",
        GIVEN: "a network of your own, in Python: semisonic.train(network=...)",
        **dict.fromkeys(torchvision_nets.names(), "torchvision's, random weights"),
    }


def model_problems(cfg: ModelConfig, image_size: int) -> list[str]:
    """What is wrong with the configuration for images of this size in pixels; builds nothing."""
    wide = wide_resnet.parse(cfg.name) is not None
    own = wide or cfg.name in ("small", GIVEN) or shake_shake.parse(cfg.name) is not None
    if not own and cfg.name not in (known := torchvision_nets.names()):
        return [_unknown(cfg.name, known)]
    errors = []
    if (cfg.name == GIVEN) != (cfg.fingerprint is not None):
        errors.append(f"model.name: {GIVEN} is a network of your own, in Python: semisonic.train(network=...)")
    if cfg.weights is not None and own:
        errors.append(f"model.weights: is for torchvision's networks, not for {cfg.name}; remove it, or use init")
    elif cfg.weights is not None and cfg.weights.suffix not in pretrained.SUFFIXES:
        errors.append(f"model.weights: {cfg.weights} must end in {' or '.join(pretrained.SUFFIXES)}")
    if cfg.residual == "port" and not wide:
        errors.append(f"model.residual: port is for wide ResNets (wrn-D-K), not for {cfg.name}; remove it")
    if cfg.first_stride is not None and not wide:
        errors.append(f"model.first_stride: is for wide ResNets (wrn-D-K), not for {cfg.name}; remove it")
    if cfg.stem != "auto" and not torchvision_nets.has_small_stem(cfg.name):
        errors.append(f"model.stem: {cfg.name} has one stem only; use auto")
    if (size := torchvision_nets.size_error(cfg.name, image_size)) is not None:
        errors.append(f"model.name: {size}")
    return errors


def build(cfg: ModelConfig, classes: int, image_size: int, factory: NetworkFactory | None = None) -> nn.Module:
    """The network in training mode, its random weights drawn from torch's generator; `cfg.weights` is not read here.

    image_size: in pixels, one side. factory: makes the network whose name is `given`. Raises UserError with the lines
    of `model_problems`.
    """
    if errors := model_problems(cfg, image_size):
        raise UserError(errors)
    network: nn.Module
    if (shape := wide_resnet.parse(cfg.name)) is not None:
        stages, blocks, factor = shape
        auto_stride = 2 if stages == 4 and image_size >= FOUR_STAGE_STRIDE_FROM else 1
        stride = cfg.first_stride or auto_stride
        network = wide_resnet.WideResNet(stages, blocks, factor, classes, cfg.residual, stride)
    elif (branches := shake_shake.parse(cfg.name)) is not None:
        network = shake_shake.ShakeShake(*branches, classes)
    elif cfg.name == "small":
        network = small.Small(classes)
    elif cfg.name == GIVEN:
        if factory is None:
            raise UserError("model: the network was given in Python; pass it again, network=...")
        network = build_given(factory, classes, image_size)
    else:
        network = torchvision_nets.TorchvisionNet(cfg.name, classes, image_size, cfg.stem)
    if cfg.dropout:
        network.head = DropoutLinear(network.head, cfg.dropout)  # type: ignore[arg-type]
    return convert_batch_norm(network, cfg.norm_momentum, cfg.norm_eps, cfg.norm_sync)


def _unknown(name: str, known: list[str]) -> str:
    if name.startswith("wrn"):
        return f"model.name: {name} does not exist; wrn-D-K needs D = 6n+4 or 8n+5, as wrn-28-2 or wrn-37-2"
    if name.startswith("shake"):
        return f"model.name: {name} does not exist; shake-shake-D-2xWd needs D = 6n+2, W even, as shake-shake-26-2x32d"
    close = difflib.get_close_matches(name, [*known, "small", "wrn-28-2"], n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    valid = "wrn-D-K, shake-shake-26-2x32d, small, torchvision's classifiers (resnet18)"
    return f"model.name: no network {name}; {hint}Valid: {valid}"
