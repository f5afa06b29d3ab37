"""No step reads the device on the host: what a GPU would have to wait for shows as operators on the CPU as well."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from semisonic.check.properties import Failed
from semisonic.check.tiny import Runner, Subject, batch_for
from semisonic.contract import Batch

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "_unique2", "unique_dim", "repeat_interleave",
         "equal", "lift_fresh")  # fmt: skip
"""Operators by name whose result or size the host reads, or (lift_fresh: torch.tensor) whose input it copies over."""


class NoWaiting(TorchDispatchMode):
    """Raises `Failed` where an operator would make the host wait for a GPU."""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__  # type: ignore[attr-defined]
        indexed = name in ("index", "index_put", "index_put_", "_index_put_impl_")
        if name in WAITS or (indexed and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])):
            raise Failed(f"{func} makes the host wait for the GPU in every step")
        return func(*args, **(kwargs or {}))


def never_waits(subject: Subject, micro: int = 1) -> None:
    """A step is queued without a look at its results; the first makes what the later ones keep."""
    algorithm = subject.make(block=1)
    run, batch = Runner(algorithm, micro=micro), batch_for(algorithm)
    run.step(batch)
    step(run, batch)


def step(run: Runner, batch: Batch) -> None:
    """`Runner.step` without its seed, which belongs to the host."""
    with NoWaiting():
        run.on_device(batch)
