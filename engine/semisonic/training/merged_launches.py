"""Tiny operations of a compiled step, merged into operations over many tensors, each of which the compiler lowers to
one launch: casts of weights to half precision, casts of their gradients to float32, and BatchNorm's counters.

It is a pass over the graphs that the compiler makes of forward and backward, after it has split them. It changes no
number: only what is computed as a kernel of its own anyway is merged, each element as before.
"""

import operator
from collections.abc import Callable, Iterable
from math import prod

import torch
from torch import Tensor
from torch.fx import Graph, Node
from torch.fx.node import Argument

aten, prims = torch.ops.aten, torch.ops.prims

LARGEST = 2**20
"""Elements of a tensor from which on its cast stays a kernel of its own: it is not tiny, and shares no launch well."""
PRODUCTS: dict[Callable[..., object], tuple[int, ...]] = {
    aten.convolution.default: (1,),
    aten.convolution_backward.default: (1, 2),
    aten.mm.default: (0, 1),
    aten.addmm.default: (0, 1, 2),
}
"""Operations of libraries, which read tensors from memory, and their arguments that are weights. Not a convolution's
bias, which the compiler adds by itself, in a kernel that casts it without rounding it."""
TRANSPOSES = (aten.permute.default, aten.t.default, aten.transpose.int)
"""What makes no kernel of its own."""


def merge_tiny_launches(graph: Graph) -> None:
    """Merges what there are at least two of, in place; `graph` is functional, with its copies to inputs at the end."""
    nodes = list(graph.nodes)
    weights, counts, gradients = ([n for n in nodes if kind(n)] for kind in (_casts_weight, _counts, _casts_gradient))
    _merge_casts(graph, weights, at_end=False)
    _merge_counts(graph, counts)
    _merge_casts(graph, gradients, at_end=True)
    graph.lint()


def _place(graph: Graph, at_end: bool) -> Node:
    """Before which all inputs are known, or all results; anew each time, since merging erases nodes."""
    return graph.output_node() if at_end else next(node for node in graph.nodes if node.op != "placeholder")


def _merge_casts(graph: Graph, casts: list[Node], at_end: bool) -> None:
    """Casts from one dtype to another by one operation."""
    for group in _groups(casts, lambda node: (_value(node).dtype, _value(node.args[0]).dtype, _value(node).device)):
        with graph.inserting_before(_place(graph, at_end)):
            targets = []
            for node in group:
                value = _value(node)
                like: dict[str, Argument] = {"dtype": value.dtype, "device": value.device}
                empty = graph.call_function(aten.empty_strided.default, (value.shape, value.stride()), like)
                empty.meta["val"] = value
                targets.append(empty)  # its shape and dtype alone are read: no memory is taken for it
            merged = graph.call_function(aten._foreach_copy.default, (targets, [node.args[0] for node in group]))
        _take_over(graph, group, merged)


def _merge_counts(graph: Graph, counts: list[Node]) -> None:
    for group in _groups(counts, lambda node: (node.args[1], _value(node).dtype, _value(node).device)):
        with graph.inserting_before(_place(graph, at_end=False)):
            merged = graph.call_function(
                aten._foreach_add.Scalar, ([node.args[0] for node in group], group[0].args[1])
            )  # fmt: skip
        _take_over(graph, group, merged)


def _take_over(graph: Graph, group: list[Node], merged: Node) -> None:
    """Has the results of an operation over many tensors take the place of single ones."""
    merged.meta["val"] = [_value(node) for node in group]
    after = merged
    for position, node in enumerate(group):
        with graph.inserting_after(after):
            after = graph.call_function(operator.getitem, (merged, position))
        after.meta.update(node.meta)
        node.replace_all_uses_with(after)
        graph.erase_node(node)


def _groups(nodes: Iterable[Node], key: Callable[[Node], object]) -> list[list[Node]]:
    """Nodes of equal keys, at least two of each, in order."""
    found: dict[object, list[Node]] = {}
    for node in nodes:
        found.setdefault(key(node), []).append(node)
    return [group for group in found.values() if len(group) > 1]


def _is_cast(node: Node) -> bool:
    """Whether it casts a floating tensor, not a large one, to another floating type."""
    if node.target is not prims.convert_element_type.default:
        return False
    value, source = node.meta.get("val"), getattr(node.args[0], "meta", {}).get("val")
    if not isinstance(value, Tensor) or not isinstance(source, Tensor):
        return False
    return value.is_floating_point() and source.is_floating_point() and prod(value.shape) <= LARGEST


def _casts_weight(node: Node) -> bool:
    """Whether it casts an input of the graph for nothing but products, and maybe to be kept for the backward."""
    if not _is_cast(node) or not node.users:
        return False
    source = node.args[0]
    return isinstance(source, Node) and source.op == "placeholder" and _read_from_memory(node)


def _read_from_memory(node: Node) -> bool:
    for user in node.users:
        if user.target in TRANSPOSES:
            if not _read_from_memory(user):
                return False
        elif user.op != "output" and not (
            user.target in PRODUCTS
            and all(position in PRODUCTS[user.target] for position, arg in enumerate(user.args) if arg is node)
        ):
            return False
    return True


def _casts_gradient(node: Node) -> bool:
    """Whether it casts what a product has left in memory, and is a result of the graph, read by nothing in it."""
    if not _is_cast(node) or any(user.op != "output" for user in node.users):
        return False
    source = node.args[0]
    while isinstance(source, Node) and (source.target in TRANSPOSES or source.target is operator.getitem):
        source = source.args[0]
    return isinstance(source, Node) and source.target in PRODUCTS


def _counts(node: Node) -> bool:
    """Whether it adds a number to an input of the graph that is one integer, and is copied there."""
    if node.target is not aten.add.Tensor or node.kwargs or len(node.args) != 2:
        return False
    source, number = node.args
    if not isinstance(source, Node) or source.op != "placeholder" or not isinstance(number, int):
        return False
    value = _value(source)
    written = [user for user in node.users if user.target is aten.copy_.default and user.args[0] is source]
    whole = value.ndim == 0 and not value.is_floating_point() and value.dtype == _value(node).dtype
    return whole and len(written) == len(node.users) == 1 and value.dtype != torch.bool


def _value(node: object) -> Tensor:
    """What a node is on the compiler's stand-ins for tensors."""
    assert isinstance(node, Node)
    value = node.meta["val"]
    assert isinstance(value, Tensor)
    return value
