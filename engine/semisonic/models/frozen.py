"""Parts of a network that are not trained: which they are, and what keeps every tensor of them as it is.

A frozen parameter has no gradient. A frozen module stays in evaluation mode while the network trains: its BatchNorm
normalizes by its running statistics and moves none, and it drops nothing. So images whose gradient nobody asks for
leave no activation behind in frozen layers. The mark is on the modules themselves, and goes with their copies.
"""

from collections.abc import Iterator
from typing import Literal

from torch import Tensor, nn

from semisonic.schema import UserError

MARK = "kept_in_evaluation_mode"
STEMS = frozenset({"stem", "patch_embed", "conv_stem", "conv_proj", "conv1"})
"""What first layers are called that are one convolution or several."""
TOKENS = frozenset({
    "cls_token", "class_token", "reg_token", "dist_token", "mask_token", "pos_embed", "pos_embedding", "pos_embed_win",
})  # fmt: skip
"""What positions are called, and the tokens beside the patches."""
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)

Part = Literal["stem", "backbone"]


def freeze(network: nn.Module, part: Part) -> None:
    """Freezes the backbone of a network, which is all but its `head`, or its stem: the first convolution or the patch
    embedding, the normalization that follows it at once, tokens and positions. In place.

    Raises `UserError` where a network without convolutions has no stem.
    """
    head = network.get_submodule("head")
    if part == "backbone":
        trained = set(head.parameters())
        parameters = [parameter for parameter in network.parameters() if parameter not in trained]
        modules = [module for module in network.modules() if module not in set(head.modules())]
    else:
        modules = [inner for module in _stem(network, head) for inner in module.modules()]
        tokens = [value for name, value in network.named_parameters() if TOKENS.intersection(name.split("."))]
        parameters = [*tokens, *(value for module in modules for value in module.parameters())]
    for parameter in parameters:
        parameter.requires_grad_(False)
    mark(modules)


def mark(modules: list[nn.Module]) -> None:
    """Has `keep` hold these modules in evaluation mode."""
    for module in modules:
        setattr(module, MARK, True)
        module.training = False


def is_frozen(module: nn.Module) -> bool:
    return MARK in module.__dict__


def frozen_modules(module: nn.Module) -> list[nn.Module]:
    """Those inside a module that stay in evaluation mode."""
    return [inner for inner in module.modules() if is_frozen(inner)]


def frozen_tensors(module: nn.Module) -> Iterator[tuple[str, str, Tensor]]:
    """(path of a module inside, name of its own tensor, the tensor) of parameters that are not trained, and of buffers
    of frozen modules."""
    for path, inner in module.named_modules():
        for name, parameter in inner._parameters.items():
            if parameter is not None and not parameter.requires_grad:
                yield path, name, parameter
        for name, buffer in inner._buffers.items() if is_frozen(inner) else ():
            if buffer is not None:
                yield path, name, buffer


def _stem(network: nn.Module, head: nn.Module) -> list[nn.Module]:
    """The first layers: one module, or two where a normalization of its own follows."""
    others = set(head.modules())
    leaves = [
        (path, module)
        for path, module in network.named_modules()
        # One of timm's normalizations holds the activation that follows it.
        if module not in others and (next(module.children(), None) is None or isinstance(module, NORMS))
    ]
    first = next((place for place, (_, module) in enumerate(leaves) if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise UserError("model.freeze: the network has no convolution or patch embedding for a stem; use backbone")
    parts = leaves[first][0].split(".")
    named = next((place for place, part in enumerate(parts) if part in STEMS), len(parts) - 1)
    stem, parent = ".".join(parts[: named + 1]), ".".join(parts[:named])
    after = next((leaf for leaf in leaves[first:] if not f"{leaf[0]}.".startswith(f"{stem}.")), None)
    found = [network.get_submodule(stem)]
    if after and isinstance(after[1], NORMS) and after[0].rpartition(".")[0] == parent:
        found.append(after[1])
    return found
