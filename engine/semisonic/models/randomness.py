"""Layers that draw random numbers in training, and a context in which they draw none."""

from types import TracebackType

from torch import Tensor, nn
from torch.nn import functional as F

_drawing = True


class without_draws:
    """Inside `with without_draws():`, layers in training mode that would draw random numbers (dropout, stochastic
    depth, Shake-Shake) do what they do in evaluation. Traces into one compiled graph.

    BatchNorm has contexts of its own; see `models/norm.py`.
    """

    def __init__(self) -> None:
        self.outside: list[bool] = []

    def __enter__(self) -> None:
        global _drawing
        self.outside.append(_drawing)
        _drawing = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _drawing
        _drawing = self.outside.pop()


def draws_now(module: nn.Module) -> bool:
    """Whether a layer that draws random numbers in training is to draw them in this forward."""
    return module.training and _drawing


class Dropout(nn.Dropout):
    """`nn.Dropout` that draws nothing inside `without_draws`."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, draws_now(self), self.inplace)


def convert_dropout(module: nn.Module) -> nn.Module:
    """Replaces every nn.Dropout inside by ours, in place. Returns the module."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p, child.inplace))
    return module
