"""Tensors without memory, and how many bytes they would take: what a prediction of memory is made of.

A network is built as ever, but its large tensors are never written, so that the system gives them no memory. Stand-ins
of all its tensors (torch's fake tensors: shape, type and storage, no values) then go through a real step, and a mode
counts the bytes of the storages that are alive, as an allocator would: from the operation that makes a storage until
nothing holds it any more, autograd included.
"""

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from semisonic.runs.scratchpads import scratch_bytes

Kind = Literal["parameters", "gradients", "optimizer", "ema", "images", "activations"]
UNWRITTEN = 2**14
"""Elements from which on a tensor is not written while a network is built; smaller ones hold settings, too."""


class Unwritten(TorchDispatchMode):
    """Inside, nothing is written into large tensors: they take addresses, but no memory, and hold no values.

    For building a network whose weights do not matter. Small tensors are as ever, as networks read numbers from them.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is not None and first.numel() > UNWRITTEN:
            if func._schema.is_mutable:
                return first
            if func is torch.ops.aten.clone.default:
                return torch.ops.aten.empty_like.default(*args, **kwargs)
        return func(*args, **kwargs)


def use_stand_ins(module: nn.Module, mode: FakeTensorMode) -> None:
    """Replaces every parameter and buffer of a module by a stand-in, in place; what was shared is shared still."""
    known: dict[Tensor, Tensor] = {}
    for part in module.modules():
        for own in (part._parameters, part._buffers):
            for name, tensor in own.items():
                if tensor is not None:
                    if tensor not in known:
                        known[tensor] = mode.from_tensor(tensor)
                    own[name] = known[tensor]  # type: ignore[assignment]


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that are alive, by what they are for; to be entered inside a `FakeTensorMode`.

    What an operation returns is "activations" until `count` says otherwise. Operations that return nothing, such as
    fused optimizers, only write, and are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, tuple[weakref.ref[Any], int, Kind]] = {}
        """Storage by its id: the storage, its bytes, and what for."""
        self.now: Counter[Kind] = Counter()
        self.peak: Counter[Kind] = Counter()
        """What was alive when the sum was largest, since the beginning or `restart`."""
        self.total = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func._schema.returns:
            return None
        output = func(*args, **(kwargs or {}))
        for value in tree_leaves(output):
            if isinstance(value, Tensor):
                self._see(value, "activations")
        if own := scratch_bytes(func, args):
            self._note(own)
        return output

    def count(self, tensors: Iterable[Tensor | None], kind: Kind) -> None:
        """Says what tensors are for, whether they have been seen before or not."""
        for tensor in tensors:
            if tensor is None:
                continue
            key = id(tensor.untyped_storage())
            if key not in self.live:
                self._see(tensor, kind)
                continue
            storage, size, before = self.live[key]
            self.live[key] = storage, size, kind
            self.now[before] -= size
            self.now[kind] += size

    def restart(self) -> None:
        """Looks for the largest sum anew."""
        self.peak, self.most = Counter(self.now), self.total

    def _see(self, tensor: Tensor, kind: Kind) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self.live:
            return
        size = storage.nbytes()
        self.live[key] = weakref.ref(storage, lambda _: self._forget(key)), size, kind
        self.now[kind] += size
        self.total += size
        self._note()

    def _note(self, scratch: int = 0) -> None:
        """Whether this is the most so far; scratch: what the present operation takes besides."""
        if self.total + scratch > self.most:
            self.peak, self.most = Counter(self.now), self.total + scratch
            self.peak["activations"] += scratch

    def _forget(self, key: int) -> None:
        _, size, kind = self.live.pop(key)
        self.now[kind] -= size
        self.total -= size
