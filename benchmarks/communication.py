"""What the ranks of a step say to each other: every collective operation counted as it is dispatched, by purpose.

A dispatch mode sees the calls of eager code, of compiled graphs, of DDP's reducer (C++, in the backward) and of
DeepSpeed alike. What a CUDA graph replays is not dispatched: count steps that are not replayed.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

REDUCE, GATHER, SCATTER, SEND, BARRIER = "all_reduce", "all_gather", "reduce_scatter", "send", "barrier"

OPERATIONS: dict[str, tuple[str, int]] = {
    "c10d::allreduce_": (REDUCE, 0),
    "c10d::allreduce_coalesced_": (REDUCE, 0),
    "c10d::_allgather_base_": (GATHER, 0),
    "c10d::allgather_": (GATHER, 0),
    "c10d::allgather_coalesced_": (GATHER, 0),
    "c10d::allgather_into_tensor_coalesced_": (GATHER, 0),
    "c10d::_reduce_scatter_base_": (SCATTER, 1),
    "c10d::reduce_scatter_": (SCATTER, 1),
    "c10d::reduce_scatter_tensor_coalesced_": (SCATTER, 1),
    "c10d::broadcast_": (SEND, 0),
    "c10d::reduce_": (SEND, 0),
    "c10d::gather_": (SEND, 1),
    "c10d::scatter_": (SEND, 0),
    "c10d::alltoall_": (SEND, 1),
    "c10d::alltoall_base_": (SEND, 1),
    "c10d::send": (SEND, 0),
    "c10d::barrier": (BARRIER, 0),
    "c10d::monitored_barrier_": (BARRIER, 0),
    "_c10d_functional::all_reduce": (REDUCE, 0),
    "_c10d_functional::all_reduce_": (REDUCE, 0),
    "_c10d_functional::all_reduce_coalesced": (REDUCE, 0),
    "_c10d_functional::all_reduce_coalesced_": (REDUCE, 0),
    "_c10d_functional::all_gather_into_tensor": (GATHER, 0),
    "_c10d_functional::reduce_scatter_tensor": (SCATTER, 0),
    "_c10d_functional::broadcast": (SEND, 0),
    "_c10d_functional::broadcast_": (SEND, 0),
}
"""Operation -> its kind, and the argument that holds its whole message: the tensors reduced, the outputs of a gather,
the inputs of a scatter. (The functional gather has its input; its group's size multiplies it.)"""

SILENT = ("wait_tensor", "_wrap_tensor_autograd", "recv", "recv_any_source_")
"""What ends or accompanies a call that is counted."""


@dataclass(frozen=True)
class Call:
    """One collective operation of one rank."""

    phase: str
    operation: str
    kind: str
    shapes: tuple[tuple[int, ...], ...]
    bytes: int
    """Of the whole message: what is reduced, what all ranks together gather or scatter."""

    @property
    def functional(self) -> bool:
        return self.operation.startswith("_c10d_functional")


def wire_bytes(kind: str, size: int, ranks: int) -> float:
    """Bytes that a rank sends for a message of `size` bytes by the ring algorithm."""
    share = (ranks - 1) / ranks
    return {REDUCE: 2 * share, GATHER: share, SCATTER: share, SEND: 1.0, BARRIER: 0.0}[kind] * size


class Counter(TorchDispatchMode):
    """`with Counter() as counter:` notes every collective operation of this rank, with the phase it came in.

    Raises NotImplementedError on an operation that it does not know, rather than leave it out.
    """

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True  # compiled code runs as it is, and its collectives are dispatched like others

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.phases: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name.partition("::")[0] in ("c10d", "_c10d_functional") and name.partition("::")[2] not in SILENT:
            self.calls.append(self.call(name, args))
        return func(*args, **(kwargs or {}))

    def call(self, name: str, args: Sequence[Any]) -> Call:
        if name not in OPERATIONS:
            raise NotImplementedError(f"the counter does not know the operation {name}; add it to OPERATIONS")
        kind, position = OPERATIONS[name]
        tensors = [] if kind == BARRIER else [leaf for leaf in tree_leaves(args[position]) if isinstance(leaf, Tensor)]
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        if name == "_c10d_functional::all_gather_into_tensor":
            size *= args[1]
        shapes = tuple(tuple(tensor.shape) for tensor in tensors)
        return Call(self.phases[-1] if self.phases else "", name, kind, shapes, size)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What happens inside belongs to this part of a step."""
        self.phases.append(name)
        try:
            yield
        finally:
            self.phases.pop()


# A step of the engine.

MOST_JOINED = 4
"""Messages of norms that compiled steps send as one: of a shortcut, or of several forwards."""
PURPOSES = (
    "gradients", "parameters", "BatchNorm forward", "BatchNorm backward", "algorithm state", "optimizer checks",
    "meter", "vote", "other",
)  # fmt: skip


def purpose(call: Call, channels: Iterable[int]) -> str:
    """What a call was for; `channels`: the widths of the network's synchronized BatchNorm layers."""
    if call.phase in ("meter", "vote"):
        return call.phase
    if call.phase == "state":
        return "algorithm state"
    if call.functional and len(call.shapes) == 1:
        # Told apart wherever they run: an inner gradient or a checkpoint moves them between phases.
        (shape,) = call.shapes
        if len(shape) == 1 and shape[0] // 2 in sums(channels) and call.kind in (GATHER, REDUCE):
            return "BatchNorm forward" if call.kind == GATHER else "BatchNorm backward"
    if call.phase not in ("forward", "backward", "optimizer") or call.functional:
        return "other"
    if call.kind in (REDUCE, BARRIER) and sum(map(math.prod, call.shapes)) <= 1:
        return "optimizer checks"
    if call.kind == GATHER or call.operation == "c10d::broadcast_":
        return "parameters"
    if call.phase == "forward":
        return "other"
    return "gradients" if call.phase == "backward" else "optimizer checks"


@cache
def _sums(widths: frozenset[int]) -> frozenset[int]:
    found = {0}
    for _ in range(MOST_JOINED):
        found |= {total + width for total in found for width in widths}
    return frozenset(found - {0})


def sums(channels: Iterable[int]) -> frozenset[int]:
    """Widths of norms, and what up to `MOST_JOINED` of them have together: messages that are ready together are one."""
    return _sums(frozenset(channels))


def summary(calls: Sequence[Call], ranks: int, channels: Iterable[int]) -> dict[str, dict[str, Any]]:
    """Purpose -> calls, bytes of the messages, bytes that a rank sends (ring), and each message's bytes in order."""
    widths = set(channels)
    found: dict[str, dict[str, Any]] = {}
    for call in calls:
        row = found.setdefault(purpose(call, widths), {"calls": 0, "bytes": 0, "wire_bytes": 0.0, "messages": []})
        row["calls"] += 1
        row["bytes"] += call.bytes
        row["wire_bytes"] += wire_bytes(call.kind, call.bytes, ranks)
        row["messages"].append(call.bytes)
    return {name: found[name] for name in PURPOSES if name in found}


def norm_channels(module: torch.nn.Module) -> list[int]:
    """Channels of each synchronized BatchNorm layer inside."""
    from semisonic.models.norm import BatchNorm2d

    return [layer.num_features for layer in module.modules() if isinstance(layer, BatchNorm2d) and layer.sync]


@contextmanager
def observed(trainer: Any, counter: Counter) -> Iterator[None]:
    """Inside, what the trainer's step does is counted in phases: forward, backward, optimizer and state."""
    step = trainer.training_step
    methods = [(step, "gather", "state")]
    for engine in step.engines.values():
        methods += [
            (engine.wrapped, "forward", "forward"),
            (engine, "backward", "backward"),
            (engine, "step", "optimizer"),
        ]

    def marked(method: Callable[..., Any], phase: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with counter.phase(phase):
                return method(*args, **kwargs)

        return call

    with ExitStack() as stack:
        for owner, name, phase in methods:
            stack.enter_context(mock.patch.object(owner, name, marked(getattr(owner, name), phase)))
        yield


def count_step(trainer: Any, batch: Any) -> dict[str, Any]:
    """What one more step of a warmed-up trainer communicates, and what reading its metrics and one vote do.

    "step": summary of the step; "reading": of the moments that come every log.every steps and about every second.
    Every rank must call it. Raises ValueError where steps are replayed.
    """
    if trainer.cfg.replayed != "off":
        raise ValueError("a replayed step dispatches nothing: count with replay off")
    with Counter() as counter, observed(trainer, counter):
        trainer.training_step(batch)
    step, counter.calls = counter.calls, []
    with counter:
        with counter.phase("meter"):
            trainer.read()
        with counter.phase("vote"):
            trainer.vote.next = 0
            trainer.agree(None)
    channels, ranks = norm_channels(trainer.algorithm.network), trainer.rank.world_size
    parameters = [p for role in trainer.algorithm.roles for p in trainer.algorithm.role_module(role).parameters()]
    return {
        "ranks": ranks,
        "norm_layers": len(channels),
        "norm_channels": sum(channels),
        "parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "parameter_bytes": sum(p.numel() * p.element_size() for p in parameters if p.requires_grad),
        "step": summary(step, ranks, channels),
        "reading": summary(counter.calls, ranks, channels),
        "log_every": trainer.cfg.log.every,
    }
