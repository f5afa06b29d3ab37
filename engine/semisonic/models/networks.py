"""The networks. Each maps float images [N, 3, H, W] to logits [N, classes] and has

* `features(images)`: [N, 3, H, W] -> [N, feature_dim];
* `head`: the nn.Linear such that `forward(images)` is `head(features(images))`;
* `feature_dim`: D.

Wide ResNets also have `trunk(images)`, the maps before their last stage; `top(maps)`, the features from there; and
`last_stage()`, the modules of `top` as one module.
"""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from semisonic.contract import Preprocessing
from semisonic.models import pretrained, shake_shake, small, timm_nets, torchvision_nets, wide_resnet
from semisonic.models.config import ModelConfig
from semisonic.models.head import DropoutLinear
from semisonic.models.norm import convert_batch_norm
from semisonic.models.randomness import convert_dropout
from semisonic.models.timm_layers import convert_timm_layers
from semisonic.models.timm_weights import pretrained_problems
from semisonic.models.wrapped import GIVEN, NetworkFactory, build_given
from semisonic.registry import Registry
from semisonic.schema import UserError

FOUR_STAGE_STRIDE_FROM = 64
CONVERT = (
    "convert a file of yours: safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'FILE.safetensors')"
)
"""How to come from a file that would be unpickled to one that is not."""


@dataclass(frozen=True)
class Network:
    """What stands behind a name of `model.name`."""

    build: Callable[[ModelConfig, int, int], nn.Module]
    """(configuration, classes, image size in pixels) -> the network, as the top of this module describes it."""
    summary: str
    """One line about it."""
    blocks: tuple[type[nn.Module], ...] = ()
    """Classes of the repeated blocks that `recompute` and compile=blocks work on; see `blocks.py`."""
    blocks_draw: bool = False
    """Whether its blocks draw random numbers of torch's generator in training. An nn.Dropout does not."""
    own: bool = True
    """Whether fields of torchvision's and timm's networks (weights, stem) mean nothing to it."""
    plug_in: bool = False
    """Whether it is a user's, and may bring weights along."""
    preprocessing: Preprocessing | None = None
    """What these weights expect of images; None: nothing that is known."""


def _wide(cfg: ModelConfig, classes: int, image_size: int) -> nn.Module:
    shape = wide_resnet.parse(cfg.name)
    assert shape is not None
    stages, blocks, factor = shape
    auto_stride = 2 if stages == 4 and image_size >= FOUR_STAGE_STRIDE_FROM else 1
    return wide_resnet.WideResNet(stages, blocks, factor, classes, cfg.residual, cfg.first_stride or auto_stride)


def _shake_shake(cfg: ModelConfig, classes: int, image_size: int) -> nn.Module:
    branches = shake_shake.parse(cfg.name)
    assert branches is not None
    return shake_shake.ShakeShake(*branches, classes)


def _small(cfg: ModelConfig, classes: int, image_size: int) -> nn.Module:
    return small.Small(classes)


def _torchvision(cfg: ModelConfig, classes: int, image_size: int) -> nn.Module:
    return torchvision_nets.TorchvisionNet(cfg.name, classes, image_size, cfg.stem)


def _timm(cfg: ModelConfig, classes: int, image_size: int) -> nn.Module:
    return timm_nets.TimmNet(cfg.name, classes, image_size, cfg.drop_path, cfg.patch_size)


def _given(cfg: ModelConfig, classes: int, image_size: int) -> nn.Module:
    raise UserError("model: the network was given in Python; pass it again, network=...")


WIDE = Network(_wide, "any other Wide ResNet of depth D = 6n+4 (three stages) or 8n+5 (four) and width factor K")
SHAKE_SHAKE = Network(
    _shake_shake, "Shake-Shake of two branches, 2.9 M parameters; also 2x64d (11.7 M), 2x96d (26.2 M)"
)
TORCHVISION = Network(_torchvision, "torchvision's, random weights", own=False)
TIMM = Network(
    _timm,
    "a classifier of timm by its name there, or NAME.TAG; --list --model 'timm/*dino*' searches its 1,300",
    own=False,
)

NETWORKS: Registry[Network] = Registry(
    "network",
    {
        "wrn-28-2": Network(_wide, "Wide ResNet, 1.5 M parameters: CIFAR-10 and SVHN in the literature"),
        "wrn-28-8": Network(_wide, "Wide ResNet, 23.4 M parameters: CIFAR-100 in the literature"),
        "wrn-37-2": Network(_wide, "Wide ResNet with four stages, 5.9 M parameters: STL-10 in the literature"),
        "shake-shake-26-2x32d": SHAKE_SHAKE,
        "small": Network(_small, "four convolutions, 80,000 parameters: the embedded digits on a CPU"),
        GIVEN: Network(_given, "a network of your own, in Python: semisonic.train(network=...)", plug_in=True),
    },
)
"""Networks by name. Besides, there are those of all the sizes that a name can say, and torchvision's; see `find`."""


def register_network(
    name: str,
    build: Callable[..., nn.Module],
    summary: str,
    blocks: tuple[type[nn.Module], ...] = (),
    blocks_draw: bool = False,
    preprocessing: Preprocessing | None = None,
) -> None:
    """Adds a network; `build` takes (classes), or (configuration, classes, image size in pixels).

    The other arguments are `Network`'s. Raises ValueError for a name that is taken or cannot be one, and for a builder
    that takes something else.
    """
    taken = [part for part in inspect.signature(build).parameters.values() if part.default is part.empty]
    count = sum(part.kind in (part.POSITIONAL_ONLY, part.POSITIONAL_OR_KEYWORD) for part in taken)
    if count not in (1, 3):
        raise ValueError(f"network {name!r}: its builder takes {count} arguments; (classes) or (cfg, classes, size)")
    if find(name) is not None and name not in NETWORKS:
        raise ValueError(f"network {name!r}: there is one of that name already; choose another")

    def checked(cfg: ModelConfig, classes: int, image_size: int) -> nn.Module:
        network: Any = build(classes) if count == 1 else build(cfg, classes, image_size)
        if missing := [part for part in ("features", "head", "feature_dim") if not hasattr(network, part)]:
            raise UserError(f"model.name: {name} has no {', '.join(missing)}, which every network needs")
        if not isinstance(network.head, nn.Linear) or network.head.out_features != classes:
            raise UserError(
                f"model.name: {name}.head must be an nn.Linear with an output for each of {classes} classes"
            )
        return network

    NETWORKS.register(name, Network(checked, summary, blocks, blocks_draw, plug_in=True, preprocessing=preprocessing))


def find(name: str) -> Network | None:
    """What stands behind a name of `model.name`; None where there is no such network."""
    if name in NETWORKS:
        return NETWORKS[name]
    if wide_resnet.parse(name) is not None:
        return WIDE
    if shake_shake.parse(name) is not None:
        return SHAKE_SHAKE
    if timm_nets.is_timm(name):
        return TIMM if timm_nets.unknown(name) is None else None
    return TORCHVISION if name in torchvision_nets.names() else None


def models() -> dict[str, str]:
    """Every network by its name for `model.name`, with one line about it."""
    return {
        **{name: network.summary for name, network in NETWORKS.items()},
        "wrn-D-K": WIDE.summary,
        "timm/NAME": TIMM.summary,
        **dict.fromkeys(torchvision_nets.names(), TORCHVISION.summary),
    }


def model_problems(cfg: ModelConfig, image_size: int) -> list[str]:
    """What is wrong with the configuration for images of this size in pixels; builds nothing."""
    network = find(cfg.name)
    if network is None:
        return [_unknown(cfg.name)]
    wide, own, timm, errors = network.build is _wide, network.own, network is TIMM, []
    if (cfg.name == GIVEN) != (cfg.fingerprint is not None):
        errors.append(f"model.name: {GIVEN} is a network of your own, in Python: semisonic.train(network=...)")
    errors += _weights_problems(cfg, own, timm)
    if cfg.residual == "port" and not wide:
        errors.append(f"model.residual: port is for wide ResNets (wrn-D-K), not for {cfg.name}; remove it")
    if cfg.first_stride is not None and not wide:
        errors.append(f"model.first_stride: is for wide ResNets (wrn-D-K), not for {cfg.name}; remove it")
    if cfg.stem != "auto" and (own or timm or not torchvision_nets.has_small_stem(cfg.name)):
        errors.append(f"model.stem: {cfg.name} has one stem only; use auto")
    if timm:
        return errors + timm_nets.problems(cfg.name, image_size, cfg.drop_path, cfg.patch_size)
    if cfg.drop_path:
        errors.append(f"model.drop_path: is for timm's networks (timm/NAME), not for {cfg.name}; remove it")
    if cfg.patch_size is not None:
        errors.append(f"model.patch_size: is for timm's networks (timm/NAME), not for {cfg.name}; remove it")
    if not own and (size := torchvision_nets.size_error(cfg.name, image_size)) is not None:
        errors.append(f"model.name: {size}")
    return errors


def _weights_problems(cfg: ModelConfig, own: bool, timm: bool) -> list[str]:
    errors = []
    if cfg.weights is not None and own:
        errors.append(
            f"model.weights: is for torchvision's and timm's networks, not for {cfg.name}; remove it, or use init"
        )
    elif cfg.weights is not None and timm and cfg.weights.suffix != ".safetensors":
        errors.append(f"model.weights: {cfg.weights} must end in .safetensors for timm's networks; {CONVERT}")
    elif cfg.weights is not None and cfg.weights.suffix not in pretrained.SUFFIXES:
        errors.append(f"model.weights: {cfg.weights} must end in {' or '.join(pretrained.SUFFIXES)}")
    if cfg.pretrained and not timm:
        errors.append(f"model.pretrained: is for timm's networks (timm/NAME), not for {cfg.name}; set it to false")
    elif cfg.pretrained and cfg.weights is not None:
        errors.append(
            "model.pretrained: the weights are those of model.weights already; set it to false, or leave those out"
        )
    elif cfg.pretrained:
        errors += pretrained_problems(cfg)
    return errors


def build(cfg: ModelConfig, classes: int, image_size: int, factory: NetworkFactory | None = None) -> nn.Module:
    """The network in training mode, its random weights drawn from torch's generator; `cfg.weights` is not read here.

    image_size: in pixels, one side. factory: makes the network whose name is `given`. Raises UserError with the lines
    of `model_problems`.
    """
    if errors := model_problems(cfg, image_size):
        raise UserError(errors)
    found = find(cfg.name)
    assert found is not None
    if factory is not None and cfg.name == GIVEN:
        network = build_given(factory, classes, image_size)
    else:
        network = found.build(cfg, classes, image_size)
    if cfg.dropout:
        network.head = DropoutLinear(network.head, cfg.dropout)  # type: ignore[arg-type]
    try:
        convert_timm_layers(network)
    except ValueError as error:
        raise UserError(f"model.name: {cfg.name}: {error}") from error
    convert_dropout(network)
    return convert_batch_norm(network, cfg.norm_momentum, cfg.norm_eps, cfg.norm_sync, cfg.norm_groups)


def _unknown(name: str) -> str:
    if timm_nets.is_timm(name) and (line := timm_nets.unknown(name)) is not None:
        return line
    if name.startswith("wrn"):
        sizes = f"D = 6n+4 or 8n+5 up to {wide_resnet.DEEPEST}, and K up to {wide_resnet.WIDEST}"
        return f"model.name: {name} does not exist; wrn-D-K needs {sizes}, as wrn-28-2 or wrn-37-2"
    if name.startswith("shake"):
        sizes = f"D = 6n+2 up to {shake_shake.DEEPEST}, and W even up to {shake_shake.WIDEST}"
        return f"model.name: {name} does not exist; shake-shake-D-2xWd needs {sizes}, as shake-shake-26-2x32d"
    close = difflib.get_close_matches(name, [*torchvision_nets.names(), *NETWORKS], n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    own = ", ".join(known for known in NETWORKS if not known.startswith("wrn"))
    valid = f"wrn-D-K, {own}, torchvision's classifiers (resnet18), timm's (timm/NAME)"
    return f"model.name: no network {name}; {hint}Valid: {valid}"
