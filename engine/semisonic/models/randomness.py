"""Layers that draw random numbers, where those come from, and a context in which they draw none.

In a step of training they come from a counter: each is a hash of its row's key, of the layer's number, of how often
this forward has called the layer before, and of its position in the row. A row's key is that of an image's place in the
step's global batch (`algorithms/row_keys.py`), so the numbers are the same on any number of ranks, for any
micro-batches, compiled or not, and when a block is computed again. Everywhere else, as in a training loop of the user's
own, they come from torch's generator.
Shape suffixes: N rows.
"""

import hashlib
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.schema import UserError
from semisonic_kernels.noise import mixed, positions, uniform

AGAIN = (
    "network: it computes a part that draws random numbers (as nn.Dropout) again in the backward, where it would draw "
    "others; leave out torch.utils.checkpoint there (--recompute does it for blocks that are known)"
)

_drawing = True
_keys: Tensor | None = None
_calls: dict[nn.Module, int] = {}
"""How often each layer has drawn from these keys."""


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


class drawn_by:
    """Inside `with drawn_by(keys):`, layers draw from the keys of their rows (int64 [N]); None: from torch's generator.
    Traces into one compiled graph."""

    def __init__(self, keys: Tensor | None) -> None:
        self.keys = keys
        self.outside: list[tuple[Tensor | None, dict[nn.Module, int]]] = []

    def __enter__(self) -> None:
        global _keys, _calls
        self.outside.append((_keys, _calls))
        _keys, _calls = self.keys, {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _keys, _calls
        _keys, _calls = self.outside.pop()


def counted_anew() -> drawn_by:
    """Around a part of a forward that is called once in it: what its layers draw does not change, and the part can be
    compiled, or computed again, by itself."""
    return drawn_by(_keys)


class drawn_again(drawn_by):
    """Around a forward that autograd runs once more in the backward (torch.utils.checkpoint). Made at the first
    forward, whose numbers it draws again."""

    def __init__(self) -> None:
        super().__init__(_keys)
        self.drew = _drawing
        self.outside_drew: list[bool] = []

    def __enter__(self) -> None:
        global _drawing
        super().__enter__()
        self.outside_drew.append(_drawing)
        _drawing = self.drew

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _drawing
        super().__exit__(kind, error, trace)
        _drawing = self.outside_drew.pop()


def may_draw() -> bool:
    """Whether this is outside of `without_draws`."""
    return _drawing


def draws_now(module: nn.Module) -> bool:
    """Whether a layer that draws random numbers in training is to draw them in this forward."""
    return module.training and _drawing


class RandomLayer(nn.Module):
    """A layer that draws random numbers in training. Its `__init__` calls `add_number`."""

    layer: Tensor
    """The layer's number, 0-d int64: a tensor, so that layers of one structure share compiled code. Not in the state
    dict."""
    by_place: bool = False
    """Whether it has drawn from keys, uncompiled."""

    def add_number(self) -> None:
        self.register_buffer("layer", torch.zeros((), dtype=torch.int64), persistent=False)

    @property
    def draws(self) -> bool:
        """Whether it draws numbers in training at all."""
        return True

    def keys(self, x: Tensor) -> Tensor | None:
        """This layer's own key of each row of its input [N, ...]: int64 [N]. None: draw from torch's generator.

        That is outside of a step, and in a network of the user's own for an input that does not begin with the images.
        Raises UserError in a forward that is computed again without the keys of its first time.
        """
        if _keys is None:
            if self.by_place and not torch.compiler.is_compiling() and torch._C._current_graph_task_id() >= 0:
                raise UserError(AGAIN)
            return None
        each, rest = divmod(len(x), max(1, len(_keys)))
        if rest:
            return None
        if not torch.compiler.is_compiling():
            self.by_place = True
        before = _calls.get(self, 0)
        _calls[self] = before + 1
        keys_N = _keys ^ self.layer
        if before:  # as where one layer drops both branches of a block
            keys_N = keys_N ^ salt(f"call {before}")
        if each == 1:
            return keys_N
        # Rows that follow one another are parts of an image, as windows or patches are.
        return mixed(keys_N[:, None], positions(keys_N[:, None], (each,))).flatten()

    def uniforms(self, x: Tensor, count: int) -> Tensor:
        """So many numbers in [0, 1] for each row of the input [N, ...]: float32 [count, N]."""
        keys_N = self.keys(x)
        if keys_N is None:
            return torch.rand(count, len(x), device=x.device)
        return uniform(keys_N[:, None], positions(keys_N[:, None], (count,))).T

    def dropout(self, x: Tensor, rate: float, inplace: bool = False) -> Tensor:
        """x [N, ...] with each element set to zero with probability `rate`, and the others divided by 1 - rate."""
        keys_N = self.keys(x) if rate and draws_now(self) else None
        if keys_N is None:
            return F.dropout(x, rate, draws_now(self), inplace)
        shape = tuple(x.shape[1:])
        keys = keys_N.view(-1, *[1] * len(shape))
        kept = uniform(keys, positions(keys, shape)) >= rate
        return x * kept * (1 / (1 - rate) if rate < 1 else 0.0)  # by a number: half precision would round it


class Dropout(RandomLayer, nn.Dropout):
    """`nn.Dropout` that draws from its rows' keys where it has them, and nothing inside `without_draws`."""

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__(p, inplace)
        self.add_number()

    @property
    def draws(self) -> bool:
        return self.p > 0

    def forward(self, input: Tensor) -> Tensor:
        return self.dropout(input, self.p, self.inplace)


def convert_dropout(module: nn.Module) -> nn.Module:
    """Replaces every nn.Dropout inside by ours, in place. Returns the module."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p, child.inplace))
    return module


def random_layers(module: nn.Module) -> list[RandomLayer]:
    """Those inside a module that draw numbers in training."""
    return [layer for layer in module.modules() if isinstance(layer, RandomLayer) and layer.draws]


def number_layers(algorithm: nn.Module) -> None:
    """Gives every layer that draws the number of its place in the network, which is the same in networks of one make.

    An EMA has its network's numbers, as it has all its integer buffers; forwards tell the two apart.
    """
    for name, layer in algorithm.named_modules():
        if isinstance(layer, RandomLayer):
            layer.layer.fill_(salt(name.partition(".")[2]))


def salt(name: str) -> int:
    """A 63-bit number for a name; a constant inside a compiled graph."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


# What torch.compiler.assume_constant_result does, without the compiler, whose import takes longer than torch's.
salt._dynamo_marked_constant = True  # type: ignore[attr-defined]
