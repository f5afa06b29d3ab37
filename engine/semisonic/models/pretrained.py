"""Weights of torchvision's networks out of a file that the user has, such as those trained on ImageNet."""

import pickle
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from semisonic.models.torchvision_nets import TorchvisionNet
from semisonic.schema import UserError

SUFFIXES = (".pth", ".pt", ".safetensors")
SHOWN = 10
"""Keys in a message."""


def read(path: Path) -> dict[str, Tensor]:
    """A state dict from a .pth (nothing but tensors is unpickled) or .safetensors file. Raises UserError."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"model.weights: cannot read {path}: {error.strerror or error}") from error
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or ["empty"])[0]
        raise UserError(f"model.weights: {path} is no file of weights ({reason})") from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"model.weights: {path} must hold a state dict, names with a tensor each")
    return content


def load_weights(network: nn.Module, path: Path, stem: Literal["auto", "3x3", "7x7"]) -> None:
    """Puts the weights of a file in torchvision's own naming into the network; the head stays random where the file's
    has another number of classes. Raises UserError where anything else is missing, left over or of another shape.
    """
    if not isinstance(network, TorchvisionNet):
        raise UserError(f"model.weights: is for torchvision's networks, not for {type(network).__name__}; remove it")
    given, wanted = {}, network.state_dict()
    head = network.head_path + "."
    for key, value in read(path).items():
        own = "head." + key.removeprefix(head) if key.startswith(head) else "body." + key
        given[own] = value
    theirs = {own: head + own.removeprefix("head.") if own.startswith("head.") else own.removeprefix("body.")
              for own in [*given, *wanted]}  # fmt: skip
    if "head.weight" in given and given["head.weight"].shape[0] != network.head.out_features:
        for own in ("head.weight", "head.bias"):
            given.pop(own, None)
            wanted.pop(own, None)
    # Files of before torch 0.4.1 do not count batches, and only an average over all batches needs that.
    missing = [k for k in wanted if k not in given and not k.endswith("num_batches_tracked")]
    extra = [k for k in given if k not in wanted]
    other = [k for k in given if k in wanted and given[k].shape != wanted[k].shape]
    problems = []
    if other and (first := other[0]) == "body.conv1.weight":
        sides = "x".join(map(str, given[first].shape[2:])), "x".join(map(str, wanted[first].shape[2:]))
        problems.append(
            f"model.stem: {path} has a first convolution of {sides[0]} pixels, the network (model.stem={stem}) one of "
            f"{sides[1]}; use 7x7"
        )
        other = other[1:]
    for keys, text in ((missing, "misses"), (extra, "has, but the network has not,"), (other, "has in another shape")):
        if keys:
            names = ", ".join(theirs[key] for key in keys[:SHOWN])
            more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
            problems.append(f"model.weights: {path} {text} {names}{more}")
    if problems:
        raise UserError(problems)
    network.load_state_dict(given, strict=False)
