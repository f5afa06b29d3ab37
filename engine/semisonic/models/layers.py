"""How deep in a network a parameter stands, for learning rates that fall from the head to the stem; and which
parameters a network keeps from weight decay.

    id 0            stem: patch embedding, class token, positions
    id i + 1        block i of the network; what stands between two blocks has the id of the second
    the last id     final normalization and head

(BEiT, arXiv 2106.08254; He et al. 2022, arXiv 2111.06377.) A 12-block vision transformer has ids 0 to 13.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from types import SimpleNamespace
from typing import Any

from torch import nn

from semisonic.models.blocks import blocks_of

FINAL_NORM = "norm"
"""How timm's names of a normalization after all blocks begin, which timm itself counts as part of the last block."""


BETWEEN = 2
"""Weights at most between two blocks and after the last. Where there are more, as the attention of MaxViT beside its
convolutional blocks, the known blocks are not all of the network's."""


@dataclass(frozen=True)
class LayerIds:
    """Depths in a network."""

    ids: dict[str, int]
    """Of every parameter, by its name in the network."""
    count: int
    """How many ids there are; the head has the last."""


def is_network(module: nn.Module) -> bool:
    """Whether a module is a network as `models.networks` describes it, and no part of one."""
    whole = isinstance(getattr(module, "head", None), nn.Linear) and callable(getattr(module, "features", None))
    return whole and isinstance(getattr(module, "feature_dim", None), int)


def networks_in(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The networks inside a module, itself included, by their paths."""
    if is_network(module):
        yield path, module
        return
    for name, child in module.named_children():
        yield from networks_in(child, f"{path}.{name}" if path else name)


def layer_ids(network: nn.Module) -> LayerIds | None:
    """The depth of every parameter of a network; None where nothing is known of its layers.

    They are known of networks with timm's `group_matcher`, and of those that are made of blocks (`models.blocks`).
    """
    body = _body(network)
    return _matched(network, body) if callable(getattr(body, "group_matcher", None)) else _by_blocks(network)


def no_decay(network: nn.Module) -> frozenset[str]:
    """Names of the parameters that the network itself keeps from weight decay, by a method `no_weight_decay()` as
    timm's have it: position embeddings, class and register tokens."""
    body = _body(network)
    declared = getattr(body, "no_weight_decay", None)
    if not callable(declared):
        return frozenset()
    prefix = "" if body is network else "body."
    own = {name for name, _ in network.named_parameters()}
    return frozenset(f"{prefix}{name}" for name in declared()) & own


def _body(network: nn.Module) -> Any:
    """What is inside the wrappers of other libraries' networks, or the network itself."""
    body = getattr(network, "body", None)
    return body if isinstance(body, nn.Module) else network


def _matched(network: nn.Module, body: Any) -> LayerIds:
    """By timm's own grouping, one layer a residual or transformer block."""
    from timm.models import group_parameters

    # The classifier, which the wrapper has taken out, belongs to the grouping: what no pattern matches is as deep.
    head = f"{getattr(network, 'head_path', None) or 'head'}.weight"
    whole: Any = SimpleNamespace(named_parameters=lambda: chain(body.named_parameters(), [(head, None)]))
    depths: dict[str, int] = group_parameters(whole, body.group_matcher(coarse=False), reverse=True)
    last = depths.setdefault(head, max(depths.values()))
    for name in depths:
        if name.startswith(FINAL_NORM) and depths[name] == last - 1:
            depths[name] = last
    prefix = "" if body is network else "body."
    ids = {f"{prefix}{name}": depths.get(name, last) for name, _ in body.named_parameters()}
    return LayerIds({name: ids.get(name, last) for name, _ in network.named_parameters()}, last + 1)


def _by_blocks(network: nn.Module) -> LayerIds | None:
    """By the order in which the network registers its blocks and what stands around them."""
    blocks = blocks_of(network)
    if not blocks:
        return None
    block_of = {id(p): number for number, block in enumerate(blocks, start=1) for p in block.parameters()}
    last, reached, ids = len(blocks) + 1, 0, dict[str, int]()
    between = Counter[int]()
    for name, parameter in network.named_parameters():
        if name.startswith("head."):
            ids[name] = last
        elif id(parameter) in block_of:
            ids[name] = reached = block_of[id(parameter)]
        else:
            ids[name] = reached + 1 if reached else 0
            between[reached] += reached > 0 and parameter.ndim > 1
    return LayerIds(ids, last + 1) if max(between.values(), default=0) <= BETWEEN else None
