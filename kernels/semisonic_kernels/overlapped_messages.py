"""Messages of a compiled graph travel while convolutions are computed that neither make nor wait for them.

In a backward, a norm's message follows from the input gradient of the convolution behind the norm. That convolution's
weight gradient is wanted at the end alone, so it is a node of its own here (`split_weight_gradients`), and comes after
the message was sent and before anything waits for it (`fill_windows`). In a forward, a shortcut's convolution comes
there. Only the order changes: every number is computed as before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, Node

from semisonic_kernels.joined_messages import SENDS

aten = torch.ops.aten
INPUT = 0
"""Number of the input gradient among the outputs of a convolution's backward."""
WORTH_IT = (
    aten.convolution_backward.default,
    aten.convolution.default,
    aten.mm.default,
    aten.addmm.default,
    aten.bmm.default,
    aten.baddbmm.default,
)
"""Operations that take as long as a message."""
SEND, WAIT, LONG = "send", "wait", "long"


def split_weight_gradients(graph: Graph) -> int:
    """Gives convolutions' weight gradients (and those of biases) a node of their own, in place, wherever a message
    depends on the input gradient and none on them; returns how many.
    """
    awaited = _awaited(graph)
    found = 0
    for node in list(graph.nodes):
        if node.target != aten.convolution_backward.default:
            continue
        parts = {user.args[1]: user for user in node.users}
        others = [part for number, part in parts.items() if number != INPUT]
        used = any(part.users for part in others)
        if used and parts.get(INPUT) in awaited and not any(part in awaited for part in others):
            _split(graph, node, others)
            found += 1
    return found


def _awaited(graph: Graph) -> set[Node]:
    """What messages depend on."""
    found: set[Node] = set()
    for node in reversed(graph.nodes):
        if node in found or node.target in SENDS:
            found.update(node.all_input_nodes)
    return found


def _split(graph: Graph, node: Node, others: Sequence[Node]) -> None:
    mask: Any = node.args[-1]
    value = node.meta["val"]
    with graph.inserting_after(node):
        second = graph.call_function(aten.convolution_backward.default, (*node.args[:-1], [False, *mask[1:]]))
    second.meta = {**node.meta, "val": (None, *value[1:])}
    node.args = (*node.args[:-1], [True, False, False])
    node.meta["val"] = (value[INPUT], None, None)
    after = second
    for part in others:
        part.replace_input_with(node, second)
        after.append(part)
        after = part


# The order.


@dataclass(frozen=True)
class Step:
    """One step of generated code."""

    needs: frozenset[int]
    """Numbers of the steps that must come before it."""
    kind: str = ""
    """SEND, WAIT, LONG (worth a message's time) or nothing."""


def fill_windows(steps: Sequence[Step]) -> list[int]:
    """An order of the steps, which are in a possible one, such that between a message and what waits for it come those
    long ones that are possible there: of those before it, back to the message before, and of those behind.

    Whatever must come before something still does, and messages keep their order. Raises ValueError where a step comes
    before one that it needs.
    """
    before = _ancestors(steps)
    order = list(range(len(steps)))
    used: set[int] = set()
    begin = 0
    for wait in [number for number in order if steps[number].kind == WAIT]:
        sends = [need for need in steps[wait].needs if steps[need].kind == SEND]
        if not sends:
            continue
        send = max(sends, key=order.index)
        _delay(steps, before, order, begin, send, used)
        _advance(steps, before, order, wait, used)
        begin = order.index(send) + 1
        used.update(number for number in order[begin : order.index(wait)] if steps[number].kind == LONG)
    return order


def _ancestors(steps: Sequence[Step]) -> list[int]:
    """Of each step, all that must come before it, as bits."""
    found: list[int] = []
    for number, step in enumerate(steps):
        if any(need >= number for need in step.needs):
            raise ValueError(f"fill_windows: step {number} comes before one that it needs")
        bits = 0
        for need in step.needs:
            bits |= found[need] | 1 << need
        found.append(bits)
    return found


def _delay(steps: Sequence[Step], before: list[int], order: list[int], begin: int, send: int, used: set[int]) -> None:
    """Puts long steps from `begin` up to a message behind it, with what needs them, where it needs none of them."""
    end = order.index(send)
    region = order[begin:end]
    moved: set[int] = set()
    for number in region:
        if steps[number].kind == LONG and number not in used and not before[send] >> number & 1:
            along = {other for other in region if other == number or before[other] >> number & 1}
            if not any(steps[other].kind in (SEND, WAIT) for other in along):
                moved |= along
    order[begin : end + 1] = [n for n in region if n not in moved] + [send] + [n for n in region if n in moved]


def _advance(steps: Sequence[Step], before: list[int], order: list[int], wait: int, used: set[int]) -> None:
    """Puts long steps behind a wait before it, with what they need, where that is neither it nor a later message."""
    at = order.index(wait)
    later = order[at + 1 :]
    blocked = 1 << wait
    for number in later:
        if steps[number].kind in (SEND, WAIT) or before[number] & blocked:
            blocked |= 1 << number
    bits = 0
    for number in later:
        if steps[number].kind == LONG and number not in used and not blocked >> number & 1:
            bits |= before[number] | 1 << number
    order[at:] = [n for n in later if bits >> n & 1] + [wait] + [n for n in later if not bits >> n & 1]


# Inductor's scheduler.


def in_overlapping_order(nodes: list[Any]) -> list[Any]:
    """Steps of Inductor's scheduler, after fusion, in the order of `fill_windows`.

    A pass for its option reorder_for_compute_comm_overlap_passes: the last word but one on the order. What newer
    versions of torch do afterwards (simple_overlap) moves messages further ahead and waits further back only.
    """
    # Not at the top: it takes as long as torch itself, and who trains without a compiler does not need it.
    from torch._inductor.utils import contains_collective, contains_wait

    makers = {buffer.get_name(): number for number, node in enumerate(nodes) for buffer in node.get_outputs()}
    steps = [
        Step(
            frozenset(makers[dep.name] for dep in node.unmet_dependencies if dep.name in makers) - {number},
            SEND if contains_collective(node) else WAIT if contains_wait(node) else LONG if _is_long(node) else "",
        )
        for number, node in enumerate(nodes)
    ]
    return [nodes[number] for number in fill_windows(steps)]


def _is_long(node: Any) -> bool:
    """Whether it runs one of `WORTH_IT`: by a library, or by a template."""
    from torch._inductor import ir

    return any(
        isinstance(part.node, (ir.ExternKernel, ir.TemplateBuffer))
        and not isinstance(part.node, ir.MultiOutput)
        and any(origin.target in WORTH_IT for origin in part.node.origins)
        for part in node.get_nodes()
    )
