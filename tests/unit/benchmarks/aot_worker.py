"""Run by tests of what is known without a GPU: makes rows of parts, some with a fault planted, in a process of its own.

    aot_worker.py JOBS      JOBS: JSON, [[PART, FAULT or "", [CASE, ...]], ...]

Prints JSON, one table for each job.
"""

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest import mock

import without_gpu


def spill() -> AbstractContextManager[Any]:
    """Kernels must do with 32 registers."""
    from aot import triton_kernels

    return mock.patch.object(triton_kernels, "compiled", partial(triton_kernels.compiled, maxnreg=32))


def after_each_step(action: Callable[[int], object]) -> AbstractContextManager[Any]:
    """FixMatch does something more, which is told how many steps there have been."""
    from semisonic.algorithms.fixmatch import FixMatch

    commit, calls = FixMatch.commit, []

    def more(self: FixMatch, observed: Any) -> None:
        calls.append(True)
        commit(self, observed)
        action(len(calls))

    return mock.patch.object(FixMatch, "commit", more)


def compiles() -> AbstractContextManager[Any]:
    """The step that is recorded compiles what none before it did."""
    import torch

    from semisonic.training.cuda_graph import WARM_UP

    def late(calls: int) -> None:
        if calls == WARM_UP + 1:
            torch.compile(lambda x: x + 1)(torch.ones(3))

    return after_each_step(late)


def waits() -> AbstractContextManager[Any]:
    import torch

    return after_each_step(lambda calls: torch.ones(3).sum().item())


def misspelt() -> AbstractContextManager[Any]:
    """An argument of DALI's that does not exist."""
    from nvidia.dali import fn

    from semisonic.data.views import dali_operators

    return mock.patch.object(dali_operators, "flip", lambda image, mirror: fn.flip(image, horizonal=mirror))


def talks() -> AbstractContextManager[Any]:
    """One message more in every step."""
    import torch
    import torch.distributed as dist

    return after_each_step(lambda calls: dist.all_reduce(torch.ones(3)))


@contextmanager
def planted(fault: str) -> Iterator[None]:
    faults = {"": nullcontext, **{f.__name__: f for f in (spill, compiles, waits, misspelt, talks)}}
    with faults[fault]():
        yield


def main() -> None:
    warnings.simplefilter("ignore")
    tables = []
    for part, fault, cases in json.loads(sys.argv[1]):
        with planted(fault):
            tables.append(without_gpu.make_table(part, cases))
    print(json.dumps(tables), flush=True)


if __name__ == "__main__":
    main()
