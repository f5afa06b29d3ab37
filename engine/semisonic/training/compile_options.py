"""What torch's compiler is told about a step's graphs, beyond what it does by default."""

import inspect
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.fx import Graph

from semisonic.training import small_reductions
from semisonic.training.merged_launches import merge_tiny_launches
from semisonic_kernels.joined_messages import join_messages
from semisonic_kernels.overlapped_messages import in_overlapping_order, split_weight_gradients

GraphPass = Callable[[Graph], Any]

PASSES: tuple[GraphPass, ...] = (merge_tiny_launches,)
"""What is done, in this order, to the graph of a forward and of a backward, once each is known by itself."""
MESSAGES: tuple[GraphPass, ...] = (join_messages, split_weight_gradients)
"""What is done after that to graphs of several ranks."""

CHECK = "aten_distributed_optimizations.spmd_check"
"""Has ranks compare their graphs, by a message, where a graph is compiled whose messages are put in another order. That
waits forever for a rank that finds its code in a cache; torch 2.12 does it by default, versions before it never do."""


def compile_options(overlap: bool = True, passes: tuple[GraphPass, ...] = PASSES, small: bool = True) -> dict[str, Any]:
    """The `options` of `torch.compile` for the modules of a step; they change no number on a CPU.

    overlap: whether several ranks' messages are joined and overlapped, which may round sums of more than two ranks
    otherwise. passes: others in place of `PASSES`. small: whether small reductions are made in fewer launches, where
    this version of torch allows for it.
    """
    options: dict[str, Any] = {}
    if small and small_reductions.possible():
        passes = (small_reductions.leave_small_reductions_whole, *passes)
        options["_post_fusion_custom_pass"] = _joining()
    if overlap and dist.is_initialized() and dist.get_world_size() > 1:
        passes = (*passes, *MESSAGES)
        options["reorder_for_compute_comm_overlap"] = True
        options["reorder_for_compute_comm_overlap_passes"] = [in_overlapping_order]
        if CHECK in inductor_options():
            options[CHECK] = False
    if passes:
        options["post_grad_custom_post_pass"] = in_order(passes)
    return options


def inductor_options() -> Collection[str]:
    """Names of all options of this version of the compiler."""
    from torch._inductor import config

    names: Collection[str] = config.get_config_copy()
    return names


@cache
def in_order(passes: tuple[GraphPass, ...]) -> Any:
    """The passes as one of Inductor's; the same object each time, so that code compiled with it is found again."""
    from torch._inductor.custom_graph_pass import CustomGraphPass

    class InOrder(CustomGraphPass):
        def __init__(self) -> None:
            self.passes = passes

        def __call__(self, graph: Graph) -> None:
            for one in passes:
                one(graph)

        def uuid(self) -> bytes:
            return _name(passes)

    return InOrder()


@cache
def _joining() -> Any:
    from torch._inductor.custom_graph_pass import CustomSchedulerPass

    class Joining(CustomSchedulerPass):
        def __call__(self, nodes: list[Any]) -> list[Any]:
            return small_reductions.join_tiny_reductions(nodes)

        def uuid(self) -> bytes:
            return _name((small_reductions.join_tiny_reductions,))

        def __reduce__(self) -> Any:
            """Caches pickle it for their keys; one that cannot be pickled keeps all code out of them."""
            return _joining, ()

    return Joining()


def _name(functions: tuple[Callable[..., Any], ...]) -> bytes:
    """What code compiled with these functions is kept under in caches: where their sources change, it is made anew."""
    from torch._inductor.custom_graph_pass import get_hash_for_files

    files = sorted({str(Path(inspect.getfile(function)).resolve()) for function in functions})
    return get_hash_for_files((__file__, *files), extra=",".join(function.__qualname__ for function in functions))
