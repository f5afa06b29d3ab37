"""The repeated blocks of a network: computed again in the backward to save memory, or compiled one by one.

Both replace a block's `forward` on the instance, so names of modules and keys of state dicts stay as they are, and
wrappers of the whole network (DDP, DeepSpeed) see nothing of it. Do it last: a copy of a module made later would call
the blocks of the original.
"""

import types
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map
from torch.utils.checkpoint import checkpoint

from semisonic.models import shake_shake, timm_nets, torchvision_nets, wide_resnet
from semisonic.models.networks import NETWORKS
from semisonic.models.norm import computed_again
from semisonic.models.randomness import RandomLayer, counted_anew, drawn_again

BLOCKS = {
    "resnet": ("BasicBlock", "Bottleneck"),
    "resnext": ("Bottleneck",),
    "wide_resnet": ("Bottleneck",),
    "efficientnet": ("MBConv", "FusedMBConv"),
    "convnext": ("CNBlock",),
    "densenet": ("_DenseLayer",),
    "mnasnet": ("_InvertedResidual",),
    "mobilenet": ("InvertedResidual",),
    "regnet": ("ResBottleneckBlock",),
    "shufflenet": ("InvertedResidual",),
    "swin": ("SwinTransformerBlock", "SwinTransformerBlockV2"),
    "vit": ("EncoderBlock",),
}
"""How torchvision's names begin -> the classes of its blocks."""
TIMM = (
    "Block", "BlockPostNorm", "Bottleneck", "InvertedResidual", "EdgeResidual", "DepthwiseSeparableConv", "ConvBnAct",
    "MobileAttention", "PreActBasic", "SelectiveKernelBasic", "TransformerLayer",
)  # fmt: skip
"""How the names of timm's classes of blocks end."""
OWN = (wide_resnet, shake_shake)
"""Networks of this package that are made of blocks: modules with `parse` and `Block`."""

Forward = Callable[..., Any]


def has_blocks(name: str) -> bool:
    """Whether the network of `model.name` is made of blocks that are known here."""
    if name in NETWORKS and NETWORKS[name].blocks:
        return True
    if timm_nets.is_timm(name):
        return timm_nets.unknown(name) is None and _timm_has_blocks(name)
    own = any(kind.parse(name) is not None for kind in OWN)
    return own or (name not in NETWORKS and name.startswith(tuple(BLOCKS)) and name in torchvision_nets.names())


@cache
def _timm_has_blocks(name: str) -> bool:
    return bool(blocks_of(timm_nets.created(name)))


def draws(name: str) -> bool:
    """Whether the blocks of the network of `model.name` draw random numbers of torch's generator in training."""
    return name in NETWORKS and NETWORKS[name].blocks_draw


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """The known blocks inside a module, outermost ones only, in order."""
    if _is_block(module):
        return [module]
    return [block for child in module.children() for block in blocks_of(child)]


def use_blocks(module: nn.Module, recompute: bool, compiled: bool, options: dict[str, Any] | None = None) -> int:
    """Has the blocks inside a module computed again in the backward (recompute), each compiled as a graph of its own
    (compiled), or both; in training mode only. Returns how many blocks there are; raises ValueError for none.

    recompute: a block keeps its input alone for the backward, which runs its forward once more: same arithmetic, same
    random numbers, running statistics untouched. Inside a compiled graph the compiler does it. Where BatchNorm is
    synchronized, its all-reduces run again as well, in the backward's order, which is the same on every rank.
    compiled: blocks of one structure share one compiled graph. More graphs for one structure than torch's
    `recompile_limit` are an error. options: those of `torch.compile`.
    """
    blocks = blocks_of(module)
    if not blocks:
        raise ValueError("use_blocks: none of the module's parts is a block that is known here")
    shared: dict[Hashable, Forward] = {}
    for block in blocks:
        again = recompute and any(parameter.requires_grad for parameter in block.parameters())
        run: Forward = partial(recomputed, _draws(block)) if again else forward
        if compiled:
            key = again, structure(block)
            if key not in shared:
                shared[key] = counting(_compiled(run, len(shared), options), again)
            run = shared[key]
        block.forward = _bound(block, run)
    return len(blocks)


def structure(block: nn.Module) -> Hashable:
    """What two blocks must share to share compiled code; where it says too little, torch's guards know better."""
    tensors = [*block.named_parameters(), *block.named_buffers()]
    shapes = tuple((name, tuple(value.shape), value.dtype, value.requires_grad) for name, value in tensors)
    return type(block), repr(block), shapes


def forward(block: nn.Module, *args: Any, **named: Any) -> Any:
    """The block's own forward; a network calls each of its blocks once."""
    with counted_anew():
        return type(block).forward(block, *args, **named)


def recomputed(random: bool, block: nn.Module, *args: Any, **named: Any) -> Any:
    """The block's own forward, of which the backward keeps the arguments only. random: whether it draws numbers."""
    if not torch.is_grad_enabled():
        return forward(block, *args, **named)
    # A dense block appends to the list of features that its layers were given.
    args = tree_map(lambda value: value, args)
    if torch.compiler.is_compiling():
        # The compiler leaves running statistics out of what it computes again, and repeats random numbers.
        return checkpoint(lambda *own: forward(block, *own, **named), *args, use_reentrant=False)
    return checkpoint(
        forward, block, *args, use_reentrant=False, preserve_rng_state=random, context_fn=_contexts, **named
    )  # fmt: skip


def _contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around the block's forward, and around its second one; made at the first."""
    return nullcontext(), _both(computed_again(), drawn_again())


@contextmanager
def _both(one: computed_again, two: drawn_again) -> Iterator[None]:
    with one, two:
        yield


def _bound(block: nn.Module, run: Forward) -> Forward:
    def call(*args: Any, **named: Any) -> Any:
        return run(block, *args, **named) if block.training else forward(block, *args, **named)

    return call


def _compiled(run: Forward, number: int, options: dict[str, Any] | None) -> Forward:
    """A compiled copy. Dynamo counts recompilations by code object, so structures must not share one."""

    def block_forward(block: nn.Module, *args: Any, **named: Any) -> Any:
        return run(block, *args, **named)

    code = block_forward.__code__.replace(co_name=f"block_forward_{number}")
    copy = types.FunctionType(code, globals(), code.co_name, None, block_forward.__closure__)
    return torch.compile(copy, fullgraph=True, dynamic=False, options=options)


def counting(compiled: Forward, recompute: bool) -> Forward:
    """A compiled forward whose layers may count their calls in blocks that the compiler computes again, too."""
    if not recompute:
        return compiled
    return torch._dynamo.config.patch(skip_fwd_side_effects_in_bwd_under_checkpoint=True)(compiled)


def _is_block(module: nn.Module) -> bool:
    kind = type(module)
    if kind.__module__.startswith("torchvision.models."):
        return any(kind.__name__ in names for names in BLOCKS.values())
    if kind.__module__.startswith("timm.models."):
        return kind.__name__.endswith(TIMM)
    known = tuple(kind for network in NETWORKS.values() for kind in network.blocks)
    return any(isinstance(module, own.Block) for own in OWN) or isinstance(module, known)


def _draws(block: nn.Module) -> bool:
    """Whether the block draws random numbers of torch's generator in training."""
    parts = [part for part in block.modules() if not isinstance(part, RandomLayer)]
    rates = [getattr(part, name, 0) for part in parts for name in ("p", "dropout", "drop_rate")]
    return any(isinstance(rate, float) and rate > 0 for rate in rates)
