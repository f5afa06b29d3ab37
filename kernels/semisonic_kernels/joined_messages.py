"""Small messages of one compiled graph that are ready together travel as one.

A message's level is the length of the longest chain of messages that ends with it. Messages of one level do not depend
on each other, and whatever a step does, it waits for as many messages, one after the other, as there are levels. So
those of a level that have one kind and one group of ranks are sent together: a residual block's norm and that of its
shortcut, or the norms of two forwards side by side. Nothing waits for more levels than before.
Each number is the sum, or a copy, of the same numbers as before.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

ops, aten = torch.ops._c10d_functional, torch.ops.aten
SENDS = (ops.all_reduce.default, ops.all_gather_into_tensor.default)
LARGEST = 1 << 20
"""Bytes of a message from which on it is sent alone: its time is then that of its bytes."""


def has_messages(graph: Graph) -> bool:
    return any(node.target in SENDS for node in graph.nodes)


def join_messages(graph: Graph, largest: int = LARGEST) -> int:
    """Joins messages of equal level, kind, group and dtype, in place; returns how many fewer there are.

    graph: of aten's functional operations, as the compiler has it after autograd. largest: bytes of the messages that
    are joined, each.
    """
    groups: dict[Any, list[Node]] = {}
    for node, level in _levels(graph):
        if _joinable(node, largest):
            value = node.args[0].meta["val"]  # type: ignore[union-attr]
            key = (level, node.target, *map(str, node.args[1:]), value.dtype, value.device)
            groups.setdefault(key, []).append(node)
    saved = 0
    for sends in groups.values():
        if len(sends) > 1:
            _join(graph, sends)
            saved += len(sends) - 1
    if saved:
        _sort(graph)
    return saved


def _levels(graph: Graph) -> Iterator[tuple[Node, int]]:
    """Every message and its level, in the order of the graph."""
    levels: dict[Node, int] = {}
    for node in graph.nodes:
        level = max((levels[source] for source in node.all_input_nodes), default=0)
        levels[node] = level + (node.target in SENDS)
        if node.target in SENDS:
            yield node, levels[node]


def _joinable(send: Node, largest: int) -> bool:
    source = send.args[0]
    if not isinstance(source, Node) or not isinstance(source.meta.get("val"), Tensor):
        return False
    value = source.meta["val"]
    known = all(isinstance(size, int) for size in value.shape)
    waited = len(send.users) == 1 and next(iter(send.users)).target == ops.wait_tensor.default
    # Compilers write the parts of a concatenation into it, and reduce it in place: then nothing else may read a part.
    own = send.target != ops.all_reduce.default or len(source.users) == 1
    return known and waited and own and value.numel() * value.element_size() <= largest


def _join(graph: Graph, sends: list[Node]) -> None:
    """Replaces the messages by one; the order of the graph is left to `_sort`."""
    first, waits = sends[0], [next(iter(send.users)) for send in sends]
    with graph.inserting_after(sends[-1]):
        add = _adder(graph)
        values = [send.args[0].meta["val"] for send in sends]  # type: ignore[union-attr]
        counts = [value.numel() for value in values]
        flat = [add(aten.reshape.default, send.args[0], [-1]) for send in sends]
        # all_reduce: [n]; all_gather: [R * n], a row a rank
        received = add(ops.wait_tensor.default, add(first.target, add(aten.cat.default, flat), *first.args[1:]))
        rows = add(aten.reshape.default, received, [-1, sum(counts)])
        begin = 0
        for wait, count in zip(waits, counts, strict=True):
            part = add(aten.slice.Tensor, rows, 1, begin, begin + count)
            part = add(aten.clone.default, part, memory_format=torch.contiguous_format)
            part = add(aten.reshape.default, part, list(wait.meta["val"].shape))
            wait.replace_all_uses_with(part)
            begin += count
    for node in (*waits, *sends):
        graph.erase_node(node)


def _adder(graph: Graph) -> Callable[..., Node]:
    """Adds one node after the other where the graph inserts, each with the value that compilers look at."""
    last: list[Node] = []

    def add(target: Any, *args: Any, **kwargs: Any) -> Node:
        if last:
            with graph.inserting_after(last[-1]):
                node = graph.call_function(target, args, kwargs)
        else:
            node = graph.call_function(target, args, kwargs)
        values = torch.fx.node.map_arg((args, kwargs), lambda source: source.meta["val"])
        node.meta["val"] = target(*values[0], **values[1])
        last.append(node)
        return node

    return add


def _sort(graph: Graph) -> None:
    """Every node after its inputs, else as it was; what is written back into inputs of the graph comes last."""
    placed: set[Node] = set()
    waiting: dict[Node, list[Node]] = {}
    order: list[Node] = []
    *nodes, output = graph.nodes
    pending = nodes[::-1]
    while pending:
        node = pending.pop()
        missing = next((source for source in node.all_input_nodes if source not in placed), None)
        if missing is not None:
            waiting.setdefault(missing, []).append(node)
            continue
        placed.add(node)
        order.append(node)
        pending.extend(reversed(waiting.pop(node, [])))
    if waiting:
        raise RuntimeError("joined messages depend on each other")
    order.sort(key=_writes_an_input)  # stable
    for before, node in zip(order, [*order[1:], output], strict=True):
        if before.next is not node:
            before.append(node)


def _writes_an_input(node: Node) -> bool:
    if node.target != aten.copy_.default:
        return False
    target = node.args[0]
    return isinstance(target, Node) and target.op == "placeholder" and all(user.op == "output" for user in node.users)
