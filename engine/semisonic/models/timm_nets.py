"""Classifiers of timm (pytorch-image-models) by their names there, as `features` and a linear `head`.

timm is imported where a name begins with `timm/`, and nowhere else.
Shape suffixes: N batch, H height, W width, D features.
"""

import difflib
import inspect
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from semisonic.models.meta import without_memory
from semisonic.models.timm_layers import convert_layers
from semisonic.schema import UserError
from semisonic.text import name_of

PREFIX = "timm/"
PROBED = 2
"""Images, and classes, of the network that is looked at before one is built."""
NAMED = 5
"""Tags that a message names."""
CHANNELS = 3


def is_timm(name: str) -> bool:
    """Whether a name of `model.name` means a network of timm, which may not exist."""
    return name.startswith(PREFIX)


def unknown(name: str) -> str | None:
    """What to tell of a name that timm does not have; None where it does. `timm/NAME.TAG` names weights as well."""
    from timm import list_models
    from timm.models import is_model

    architecture, _, tag = name.removeprefix(PREFIX).partition(".")
    if not is_model(architecture):
        close = difflib.get_close_matches(architecture, list_models(), n=1, cutoff=0.5)
        hint = f"did you mean {PREFIX}{close[0]}? " if close else ""
        named = architecture or "without a name"
        return f"model.name: timm has no network {named}; {hint}--list --model '{PREFIX}*' shows all"
    tags = tags_of(architecture)
    if not tag or tag in tags:
        return None
    close = difflib.get_close_matches(tag, tags, n=1, cutoff=0.5)
    hint = f"did you mean {tag_list(close)}? " if close else ""
    return f"model.name: timm's {architecture} has no weights {tag}; {hint}It has {tag_list(tags) or 'none'}"


def timm_networks(pattern: str) -> dict[str, list[str]]:
    """timm's networks whose names match `timm/PATTERN` (* and ?), with the tags of their weights, the default first.
    Raises UserError where none does."""
    from timm import list_models

    found = list_models(pattern.removeprefix(PREFIX).partition(".")[0])
    if not found:
        raise UserError(unknown(pattern) or f"model.name: timm has no network {pattern}")
    return {PREFIX + name: tags_of(name) for name in found}


def tags_of(architecture: str) -> list[str]:
    """The tags of the weights that timm publishes of a network, its default first."""
    from timm.models import get_arch_pretrained_cfgs

    return [name.partition(".")[2] for name, cfg in get_arch_pretrained_cfgs(architecture).items() if cfg.has_weights]


def tag_list(tags: list[str]) -> str:
    """Some tags for a message."""
    return ", ".join(tags[:NAMED]) + (f" and {len(tags) - NAMED} more" if len(tags) > NAMED else "")


@dataclass(frozen=True)
class _Options:
    """What timm's constructor of a network takes, and what the network is without options."""

    takes: frozenset[str]
    patch: int | None
    """Side of the patches that it cuts images into, in pixels."""
    size: int
    """Side of the images that it was made for, in pixels."""


@cache
def _options(name: str) -> _Options:
    body = created(name)
    kinds = [kind for kind in type(body).__mro__ if kind not in (nn.Module, object)]
    cuts: Any = getattr(body, "patch_embed", None)
    known = type(cuts).__module__.startswith("timm.layers.patch_embed")
    return _Options(
        frozenset(name for kind in kinds for name in inspect.signature(kind).parameters),
        cuts.patch_size[0] if known else None,
        body.pretrained_cfg["input_size"][-1],
    )


def created(name: str) -> Any:
    """timm's own network of its own size, without memory."""
    from timm import create_model

    with without_memory():
        return create_model(name.removeprefix(PREFIX), num_classes=PROBED)


def problems(name: str, image_size: int, drop_path: float, patch_size: int | None) -> list[str]:
    """Why timm has no such network for images of this size in pixels, a line each; it is built without memory."""
    if (line := unknown(name)) is not None:
        return [line]
    lines, options = [], _options(name)
    if drop_path and "drop_path_rate" not in options.takes:
        lines.append(f"model.drop_path: {name} has no stochastic depth; use 0")
    if patch_size is not None and (options.patch is None or "patch_size" not in options.takes):
        return [*lines, f"model.patch_size: {name} has no patches of a size to choose; remove it"]
    return [*lines, *_size_problems(name, image_size, patch_size)]


@cache
def _size_problems(name: str, image_size: int, patch_size: int | None) -> tuple[str, ...]:
    options = _options(name)
    patch = patch_size or options.patch
    if patch is not None and image_size % patch:  # timm would leave out the rest, silently
        smaller = image_size // patch * patch
        sizes = f"{smaller} or {smaller + patch}" if smaller else f"{patch}"
        text = f"cuts images into patches of {patch} px, which do not divide {image_size} px; use data.size {sizes}"
        return (f"model.name: {name} {text}",)
    try:
        with without_memory():
            network = TimmNet(name, PROBED, image_size, patch_size=patch_size).eval()
        with torch.no_grad():
            features = network.features(torch.empty(PROBED, CHANNELS, image_size, image_size, device="meta"))
    except UserError as error:
        return tuple(error.messages)
    except Exception as error:  # whatever timm's code raises of a size that it was not made for
        why = f"{type(error).__name__}: {name_of(str(error).strip().partition(chr(10))[0])}"
        return (f"model.name: {name} takes no images of {image_size} px, but of {options.size} px ({why})",)
    if features.shape != (PROBED, network.feature_dim):
        return (f"model.name: {name} gives its classifier {list(features.shape[1:])}, no list of features",)
    return ()


class TimmNet(nn.Module):
    """A classifier of timm, cut before its last linear layer: images [N, 3, H, W] -> logits [N, classes].

    name: `timm/NAME` or `timm/NAME.TAG`. drop_path: its stochastic depth's last rate. patch_size: None is the
    network's own. Networks whose positions are of one image size are built for `image_size` pixels.
    BatchNorm, dropout and stochastic depth are ours. The state dict is timm's: `body.NAME`, and `head.weight` and
    `head.bias` for the layer that timm calls `head_path`.
    Raises UserError where the network has no linear classifier, several, or layers that cannot be made ours.
    """

    def __init__(self, name: str, classes: int, image_size: int, drop_path: float = 0.0, patch_size: int | None = None):
        from timm import create_model

        super().__init__()
        takes = _options(name).takes
        # The head's dropout is ours (model.dropout); a few networks would drop a fifth in a function of their own.
        options: dict[str, Any] = {
            "drop_path_rate": drop_path,
            "drop_rate": 0.0,
            "img_size": image_size,
            "patch_size": patch_size,
        }
        options = {key: value for key, value in options.items() if key in takes and value is not None}
        self.name = name
        self.options = {key: value for key, value in options.items() if not key.startswith("drop_")}
        """What timm's constructor was given beside the name and the classes, as far as its outputs depend on it."""
        body = create_model(name.removeprefix(PREFIX), num_classes=classes, in_chans=CHANNELS, **options)
        self.head_path, self.head, self.convolution = _detach_head(body, name, classes)
        try:
            self.body = convert_layers(body)
        except ValueError as error:
            raise UserError(f"model.name: {name}: {error}") from error
        self.feature_dim = self.head.in_features

    def features(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] -> the head's input [N, D]."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] -> logits [N, classes]."""
        return self.head(self.features(images))


def own_state(network: TimmNet) -> dict[str, Tensor]:
    """The network's tensors under timm's own names, as its `load_state_dict` takes them."""
    state, found = network.state_dict(), {}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        if part == "head" and network.convolution and rest == "weight":
            value = value[:, :, None, None]
        found[rest if part == "body" else f"{network.head_path}.{rest}"] = value
    return found


def _detach_head(body: Any, name: str, classes: int) -> tuple[str, nn.Linear, bool]:
    """timm's name of the last layer; that layer, which the body no longer contains; whether it is a convolution."""
    head = body.get_classifier() if hasattr(body, "get_classifier") else None
    if not isinstance(head, nn.Module):
        text = "several classifiers" if head is not None else "no classifier"
        raise UserError(f"model.name: {name} has {text}, where one linear layer is needed; choose another network")
    inside = set(head.modules())
    last = [(path, layer) for path, layer in body.named_modules() if layer in inside and _outputs(layer) == classes]
    if len(last) != 1:
        text = f"{len(last)} classifiers" if last else "no linear classifier as its last layer"
        raise UserError(f"model.name: {name} has {text}, where one linear layer is needed; choose another network")
    path, layer = last[0]
    parent, _, attribute = path.rpartition(".")
    setattr(body.get_submodule(parent), attribute, nn.Identity())
    if isinstance(layer, nn.Linear):
        return path, layer, False
    linear = nn.Linear(layer.in_channels, classes, layer.bias is not None, device="meta")
    linear.weight = nn.Parameter(layer.weight.detach().flatten(1))
    linear.bias = layer.bias
    return path, linear, True


def _outputs(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Conv2d):
        return layer.out_channels if layer.kernel_size == (1, 1) and layer.groups == 1 else None
    return layer.out_features if isinstance(layer, nn.Linear) else None
