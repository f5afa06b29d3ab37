"""Layers of timm inside any network made ours: BatchNorm with an activation, stochastic depth, and what draws numbers.

They are told by the names of their classes, so that networks without them import no timm.
"""

import inspect
from itertools import repeat
from typing import Any

from torch import Tensor, nn

from semisonic.models.norm import BatchNorm2d, convert_batch_norm, taken_over
from semisonic.models.randomness import RandomLayer, convert_dropout, draws_now
from semisonic.models.stochastic_depth import StochasticDepth

DRAWING = {
    "DropBlock2d": "drop_prob", "PatchDropout": "prob", "PatchDropoutWithIndices": "prob", "ResidualDrop": "drop"
}  # fmt: skip
"""timm's layers that draw numbers in a way of their own -> what they call their rate."""
FORWARDS = ("forward", "forward_head", "forward_features", "_forward_head")


class BatchNormAct2d(BatchNorm2d):
    """BatchNorm, a layer that drops or nothing, and an activation, with the state dict of timm's layer of this name."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(input)))


class Dropout2d(RandomLayer):
    """`nn.Dropout2d` that draws from its rows' keys: whole channels of [N, C, H, W] are dropped."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.add_number()

    @property
    def draws(self) -> bool:
        return self.p > 0

    def extra_repr(self) -> str:
        return f"p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        if not self.p or not draws_now(self):
            return x
        drawn_NC = self.uniforms(x, x.shape[1]).T
        kept_NC = drawn_NC >= self.p
        return x * (kept_NC / (1 - self.p)).to(x.dtype)[:, :, None, None]


def convert_layers(module: nn.Module) -> nn.Module:
    """Replaces BatchNorm2d, dropout, and timm's layers of these kinds and its stochastic depth by ours, as
    `convert_timm_layers` does. Returns the module.

    Raises ValueError as that does, and for layers with running statistics that cannot be ours.
    """
    convert_dropout(convert_batch_norm(convert_timm_layers(module)))
    for path, layer in module.named_modules():
        normal = isinstance(layer, nn.modules.batchnorm._NormBase) or _timm_kind(layer) is not None
        if normal and not isinstance(layer, BatchNorm2d) and getattr(layer, "running_var", None) is not None:
            raise ValueError(
                f"{_named(path, layer)} has running statistics that would not be kept equal over ranks and forwards; "
                "use BatchNorm2d, GroupNorm or LayerNorm"
            )
    return module


def convert_timm_layers(module: nn.Module) -> nn.Module:
    """Replaces timm's BatchNorm with an activation and its stochastic depth inside by ours, in place, with the same
    tensors and state_dict keys; and torch's dropout of channels. Returns the module.

    Raises ValueError for an active layer of timm that draws random numbers in a way of its own.
    """
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            kind = _timm_kind(child)
            if kind == "BatchNormAct2d":
                setattr(parent, name, _norm_act(child))
            elif kind == "DropPath":
                setattr(parent, name, _drop_path(child))
            elif type(child) is nn.Dropout2d:
                setattr(parent, name, Dropout2d(child.p))
    for path, layer in module.named_modules():
        if _timm_kind(layer) is None:
            continue
        _unfuse(layer)
        if rate := _own_rate(layer):
            raise ValueError(
                f"{_named(path, layer)} drops a share of {rate:g} by numbers that would depend on the number of ranks; "
                "set it to 0"
            )
    return module


def _named(path: str, layer: nn.Module) -> str:
    return type(layer).__name__ + (f" ({path})" if path else "")


def _timm_kind(module: nn.Module) -> str | None:
    kind = type(module)
    return kind.__name__ if kind.__module__.startswith("timm.") else None


def _norm_act(layer: Any) -> BatchNormAct2d:
    made = taken_over(layer, BatchNormAct2d)
    made.drop, made.act = layer.drop, layer.act
    return made


def _drop_path(layer: nn.Module) -> nn.Module:
    rate = float(layer.drop_prob or 0)  # type: ignore[arg-type]
    return StochasticDepth(rate, bool(layer.scale_by_keep)) if rate else nn.Identity()


def _own_rate(layer: nn.Module) -> float:
    """What share a layer of timm drops by numbers that are drawn in a way of its own."""
    if (own := DRAWING.get(type(layer).__name__)) is not None:
        return float(getattr(layer, own) or 0)
    by_function = any("dropout" in names and "drop_rate" in names for names in map(_read_by, repeat(layer), FORWARDS))
    return float(getattr(layer, "drop_rate", 0) or 0) if by_function else 0.0


def _read_by(layer: nn.Module, forward: str) -> tuple[str, ...]:
    """The names that a method of a layer's class reads."""
    method = inspect.unwrap(getattr(type(layer), forward, lambda: None))
    return method.__code__.co_names


def _unfuse(layer: nn.Module) -> None:
    """Attention whose fused kernel would drop weights by torch's numbers is to have them dropped by its own layer."""
    dropped = getattr(layer, "attn_drop", None)
    if isinstance(dropped, nn.Dropout) and dropped.p > 0 and getattr(layer, "fused_attn", False):
        layer.fused_attn = False  # type: ignore[assignment]
