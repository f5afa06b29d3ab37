"""Small reductions of a compiled step in fewer launches.

Where a reduction has few results and much to reduce, as BatchNorm's over all pixels, torch's compiler makes it in
stages: a large kernel leaves partial results, which a tiny one finishes. Two of its habits make more tiny ones:

* It splits the finishing of a mean and variance once more, though one kernel reads it all as fast as two are launched.
* It joins two kernels only where they read something in common, which the finishing of two sums does not.

Here small reductions are not split, and tiny ones of one shape that follow each other are joined. Whatever else the
compiler asks of kernels that are joined is asked. Results differ from the compiler's own by the order of additions in
the finishing, on a GPU alone: on a CPU nothing is split.
"""

from collections import defaultdict
from collections.abc import Hashable
from functools import cache
from typing import Any

from torch.fx import Graph

SMALL = 2**17
"""Numbers that a reduction reads, up to which it is not split."""
TINY = 2**20
"""Bytes that a kernel reads and writes, below which it may be joined: its launch takes about as long as its work."""


def possible() -> bool:
    """Whether this version of torch's compiler has the places that these changes are made in."""
    from torch._inductor import choices, config, custom_graph_pass
    from torch._inductor.scheduler import Scheduler

    hooks = hasattr(config, "_post_fusion_custom_pass") and hasattr(custom_graph_pass, "CustomSchedulerPass")
    steps = ("can_fuse", "will_fusion_create_cycle", "fuse_two_nodes", "are_long_distant_nodes")
    return (
        hooks
        and hasattr(choices.InductorChoices, "reduction_split_factor")
        and all(hasattr(Scheduler, step) for step in (*steps, "topological_sort_schedule"))
    )


def leave_small_reductions_whole(graph: Graph) -> None:
    """Has the compiler not split small reductions of the graph that it is about to lower; changes no graph.

    It is a pass over graphs because that is what runs on the compiler's thread at the right time. What it leaves there
    does nothing while other functions are compiled.
    """
    from torch._inductor.choices import InductorChoices
    from torch._inductor.virtualized import V

    if type(V.choices) is InductorChoices:  # those of a user are left alone
        V.set_choices_handler(_whole())


def join_tiny_reductions(nodes: list[Any]) -> list[Any]:
    """The compiler's kernels (nodes of Inductor's scheduler) in the order in which they are launched, some joined.

    A kernel is joined with the next one of its shape in the order of the graph, if neither needs the other's result.
    """
    from torch._inductor.virtualized import V
    from torch.utils._ordered_set import OrderedSet

    if not nodes:
        return nodes
    scheduler, kept = nodes[0].scheduler, OrderedSet(nodes)
    alike: dict[Hashable, list[Any]] = defaultdict(list)
    for node in nodes:
        if _is_tiny_reduction(node):
            alike[node.group].append(node)
    with V.set_choices_handler(_regardless()):
        for group in alike.values():
            last, *others = sorted(group, key=lambda node: node.min_order)
            for node in others:
                if scheduler.can_fuse(last, node) and not scheduler.will_fusion_create_cycle(last, node):
                    last = scheduler.fuse_two_nodes(last, node, kept)
                else:
                    last = node
    return scheduler.topological_sort_schedule(list(kept))


def _is_tiny_reduction(node: Any) -> bool:
    """Whether a kernel is a small reduction on a GPU, of the compiler's own making."""
    from torch._inductor.scheduler import FusedSchedulerNode, SchedulerNode

    device = node.get_device()
    plain = type(node) in (SchedulerNode, FusedSchedulerNode) and not node.is_template()
    on_gpu = device is not None and device.type != "cpu"
    return plain and on_gpu and node.is_reduction() and node.get_read_write_buffers_sizes() < TINY


@cache
def _whole() -> Any:
    """The compiler's own choices; where its options are this step's, small reductions are left whole."""
    from torch._inductor import config
    from torch._inductor.choices import InductorChoices

    class Whole(InductorChoices):
        def reduction_split_factor(
            self, device: Any, reduction_numel_hint: int, numel_hint: int, inner_reduction: bool
        ) -> int:
            ours = leave_small_reductions_whole in getattr(config.post_grad_custom_post_pass, "passes", ())
            if ours and reduction_numel_hint * numel_hint <= SMALL:
                return 1
            return super().reduction_split_factor(device, reduction_numel_hint, numel_hint, inner_reduction)

    return Whole()


@cache
def _regardless() -> Any:
    """The compiler's own choices, but none of its guesses of what a fusion is worth, which are made for large kernels.

    What is joined is tiny, so it is kept for longer at no cost, if the kernels are no long way apart.
    """
    from torch._inductor.choices import InductorChoices

    class Regardless(InductorChoices):
        @staticmethod
        def can_fuse(scheduler: Any, node1: Any, node2: Any, shared_data_score: int) -> bool:
            return True

        @staticmethod
        def can_fuse_horizontal(scheduler: Any, node1: Any, node2: Any, shared_data_score: int) -> bool:
            return not scheduler.are_long_distant_nodes(node1, node2)

    return Regardless()
