"""Weights of torchvision's networks out of a file that the user has, such as those trained on ImageNet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from semisonic.models.torchvision_nets import TorchvisionNet
from semisonic.records.reading import regular_file, shown
from semisonic.records.tensors import load_tensors
from semisonic.schema import UserError

SUFFIXES = (".pth", ".pt", ".safetensors")
ADVICE = "save a state dict with torch.save(network.state_dict(), FILE), or safetensors"
CHANNELS = 3
"""Of images."""
SHOWN = 10
"""Keys in a message."""


def read(path: Path) -> dict[str, Tensor]:
    """A state dict from a .pth (nothing but tensors is unpickled) or .safetensors file. Raises UserError."""
    name = f"model.weights: {path}"
    try:
        if path.suffix == ".safetensors":
            return load_tensors(path, name)
        with regular_file(path, name):
            pass  # a pipe would be waited for
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{name}: {error.strerror or error}") from error
    except Exception as error:  # what unpickling bytes of any kind raises
        # Of torch's own words none: they advise to unpickle anything that the file says.
        raise UserError(f"{name}: is no file of weights that can be read; {ADVICE}") from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{name}: must hold a state dict, names with a tensor each; {ADVICE}")
    if strange := [key for key in content if not isinstance(key, str)]:
        raise UserError(f"{name}: {shown(strange[0])} is no name of a tensor")
    return content


def unsound(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors that hold something else than finite numbers where the network computes with such."""
    real = (key for key, own in wanted.items() if key in given and own.is_floating_point())
    return [key for key in real if not (given[key].is_floating_point() and given[key].float().isfinite().all())]


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
    classifier = given.get("head.weight")
    of_head = classifier is not None and classifier.ndim > 1 and classifier.shape[1] == network.head.in_features
    if classifier is not None and of_head and len(classifier) != network.head.out_features:
        for own in ("head.weight", "head.bias"):
            given.pop(own, None)
            wanted.pop(own, None)
    # Files of before torch 0.4.1 do not count batches, and only an average over all batches needs that.
    missing = [k for k in wanted if k not in given and not k.endswith("num_batches_tracked")]
    extra = [k for k in given if k not in wanted]
    other = [k for k in given if k in wanted and given[k].shape != wanted[k].shape]
    if len(missing) + len(other) > len(wanted) // 2:
        raise UserError(
            f"model.weights: {path} holds weights of another network: it misses {len(missing)} of {len(wanted)} "
            f"tensors, has {len(extra)} others, and {len(other)} in another shape"
        )
    problems = []
    first = other[0] if other else ""
    sees_images = bool(first) and given[first].ndim == wanted[first].ndim == 4 and wanted[first].shape[1] == CHANNELS
    if sees_images and (channels := given[first].shape[1]) != CHANNELS:
        raise UserError(f"model.weights: {path} is for images of {channels} channels; they have {CHANNELS}")
    if first == "body.conv1.weight":
        sides = "x".join(map(str, given[first].shape[2:])), "x".join(map(str, wanted[first].shape[2:]))
        problems.append(
            f"model.stem: {path} has a first convolution of {sides[0]} pixels, the network (model.stem={stem}) one of "
            f"{sides[1]}; use 7x7"
        )
        other = other[1:]
    found = {"misses": missing, "has, but the network has not,": extra, "has in another shape": other}
    for text, keys in {**found, "has other values than finite numbers in": unsound(given, wanted)}.items():
        if keys:
            names = ", ".join(theirs[key] for key in keys[:SHOWN])
            more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
            problems.append(f"model.weights: {path} {text} {names}{more}")
    if problems:
        raise UserError(problems)
    network.load_state_dict(given, strict=False)
