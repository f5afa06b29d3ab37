"""Low-rank adapters of linear layers (LoRA, Hu et al. 2021, arXiv 2106.09685), by the package peft.

    y = W x + b + (alpha / r) B A x,   A: r x in, random;   B: out x r, zero at the start

W and b are frozen, and so are all other layers but the head: what is trained, its gradients and the optimizer's state
are a few percent of the network. Folded into W, the adapters cost nothing in use, and the network is the plain one.
"""

import importlib.util
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from semisonic.models.frozen import mark
from semisonic.schema import UserError

AUTO = "auto"
ADAPTER = "default"
"""peft's name for the only one."""
BASE, DOWN, UP = ".base_layer.", f".lora_A.{ADAPTER}.", f".lora_B.{ADAPTER}."
"""What peft puts into names of tensors: before those of the layer itself, and of A and B."""
SHOWN = 6
"""Layers that a message names."""


def missing_package() -> str | None:
    """A line where peft is not installed."""
    found = importlib.util.find_spec("peft") is not None
    return None if found else "model.tune: lora needs the package peft: pip install 'semisonic[lora]'"


def linear_layers(network: nn.Module, image_size: int) -> list[str]:
    """Paths of the linear layers, other than the head, that a forward of the network calls as layers.

    Attention of torch's own reads the weights of its projections past the layers, where no adapter would see them. The
    forward is of one black image, in evaluation mode.
    """
    inside = set(network.get_submodule("head").modules())
    called: list[str] = []

    def watch(path: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return layer.register_forward_hook(lambda *_: called.append(path))

    layers = [(path, layer) for path, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    hooks = [watch(path, layer) for path, layer in layers if layer not in inside]
    modes = {module: module.training for module in network.modules()}
    device = next(network.parameters()).device
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, image_size, image_size, device=device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return list(dict.fromkeys(called))


def chosen(layers: list[str], wanted: str) -> list[str]:
    """Those of the layers that `model.lora_layers` means. Raises `UserError` for a network without any, and with the
    ends of names that no layer has."""
    if not layers:
        raise UserError("model.tune: lora adapts linear layers, of which the network has none but its head; use full")
    if wanted == AUTO:
        return layers
    ends = [end.strip() for end in wanted.split(",")]
    unknown = [end for end in ends if not any(_ends(layer, end) for layer in layers)]
    if unknown:
        known = sorted({".".join(part for part in layer.split(".")[-2:] if not part.isdigit()) for layer in layers})
        more = ", ..." if len(known) > SHOWN else ""
        raise UserError(
            f"model.lora_layers: no linear layer of the network ends in {unknown[0]!r}; there are "
            f"{', '.join(known[:SHOWN])}{more}"
        )
    return [layer for layer in layers if any(_ends(layer, end) for end in ends)]


def add_adapters(network: nn.Module, image_size: int, rank: int, alpha: float, layers: str) -> None:
    """Gives linear layers of a network with its weights their adapters, whose A are drawn from torch's generator, and
    freezes all else but the head. In place. BatchNorm keeps its running statistics; dropout goes on.

    layers: as `model.lora_layers`. Raises `UserError` where there are none, and without peft.
    """
    if problem := missing_package():
        raise UserError(problem)
    targets = chosen(linear_layers(network, image_size), layers)
    from peft import LoraConfig, inject_adapter_in_model  # it imports much

    only = "|".join(map(re.escape, targets))
    about = LoraConfig(r=rank, target_modules=only, lora_dropout=0.0)
    about.lora_alpha = alpha  # type: ignore[assignment]  # peft's hint says int, its arithmetic takes any
    inject_adapter_in_model(about, network, ADAPTER)
    for name, parameter in network.named_parameters():  # peft has frozen the head as well
        parameter.requires_grad_(name.startswith("head.") or is_adapter(name))
    mark([module for module in network.modules() if getattr(module, "running_mean", None) is not None])


def scale_of(rank: int, alpha: float | None) -> float:
    """What the adapters count by."""
    return 2.0 if alpha is None else alpha / rank


def merged_tensors(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The tensors of a network with adapters as those of the plain one: B A times the scale is added to each W.

    A layer whose adapter is missing or of another shape keeps its names, which no plain network has.
    """
    plain, whole = {}, set()
    for name, weight in tensors.items():
        layer, base, _ = name.rpartition(f"{BASE}weight")
        down, up = (tensors.get(f"{layer}{part}weight") for part in (DOWN, UP))
        if base and down is not None and up is not None and _fit(weight, down, up):
            plain[f"{layer}.weight"] = (weight.double() + scale * (up.double() @ down.double())).to(weight.dtype)
            whole.add(layer)
    for name, value in tensors.items():
        layer = name.partition(BASE)[0].partition(DOWN)[0].partition(UP)[0]
        if layer not in whole or layer == name:
            plain[name] = value
        elif name == f"{layer}{BASE}bias":
            plain[f"{layer}.bias"] = value
    return plain


def _fit(weight: Tensor, down: Tensor, up: Tensor) -> bool:
    two = all(value.ndim == 2 and value.is_floating_point() for value in (weight, down, up))
    return two and weight.shape == (up.shape[0], down.shape[1]) and up.shape[1] == down.shape[0]


def plain_name(name: str) -> str:
    """The name in the plain network of a tensor that is no adapter's."""
    return name.replace(BASE, ".")


def is_adapter(name: str) -> bool:
    """Whether a tensor is an adapter's, by its name."""
    return DOWN in name or UP in name


def _ends(layer: str, end: str) -> bool:
    return layer == end or layer.endswith(f".{end}")
