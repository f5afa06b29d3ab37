"""Weight gradients of their own come between messages and those who wait; what a message needs stays before it."""

import random

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from semisonic_kernels.overlapped_messages import (
    LONG,
    SEND,
    WAIT,
    Step,
    fill_windows,
    split_weight_gradients,
)
from tests.support.ranks import fake_ranks

ops, aten = torch.ops._c10d_functional, torch.ops.aten
X, W = (2, 3, 5, 5), (4, 3, 3, 3)


def backward(grad: Tensor, x: Tensor, w: Tensor, mask: tuple[bool, bool, bool]) -> tuple[Tensor | None, ...]:
    return aten.convolution_backward(grad, x, w, [4], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask)


def sent(x: Tensor) -> Tensor:
    return ops.wait_tensor(ops.all_reduce(x, "sum", "0"))


def traced(function: object) -> tuple[GraphModule, list[Tensor]]:
    torch.manual_seed(0)
    inputs = [torch.randn(2, 4, 5, 5, dtype=torch.float64), torch.randn(X).double(), torch.randn(W).double()]
    with fake_ranks(4):
        return make_fx(function, tracing_mode="fake")(*inputs), inputs


def convolutions(module: GraphModule) -> list[Node]:
    return [node for node in module.graph.nodes if node.target == aten.convolution_backward.default]


@pytest.mark.parametrize("bias", [False, True])
def test_a_weight_gradient_is_split_off_where_a_message_depends_on_the_input_gradient(bias: bool):
    def layer(grad: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor | None, ...]:
        grad_x, *rest = backward(grad, x, w, (True, True, bias))
        return sent(grad_x.sum((0, 2, 3))) if torch.is_tensor(grad_x) else grad_x, *rest[: 1 + bias]

    module, inputs = traced(layer)
    expected = [value for value in backward(*inputs, (True, True, bias)) if value is not None]
    assert split_weight_gradients(module.graph) == 1
    module.graph.lint()
    first, second = convolutions(module)
    assert first.args[-1] == [True, False, False] and second.args[-1] == [False, True, bias]
    assert first.meta["val"][0].shape == X and first.meta["val"][1:] == (None, None)
    assert second.meta["val"][0] is None and second.meta["val"][1].shape == W
    assert all(user.args[1] == 0 for user in first.users) and all(user.args[1] > 0 for user in second.users)
    ours = backward(*inputs, (True, False, False))[0], *backward(*inputs, (False, True, bias))[1 : 2 + bias]
    assert all(torch.equal(one, other) for one, other in zip(expected, ours, strict=True))


@pytest.mark.parametrize("fault", ["no message", "the weight's message", "no weight", "no input"])
def test_no_weight_gradient_is_split_off_without_need(fault: str):
    mask = (fault != "no input", fault != "no weight", False)

    def layer(grad: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor | None, ...]:
        grad_x, grad_w, _ = backward(grad, x, w, mask)
        if fault == "no message":
            return grad_x, grad_w
        if fault == "the weight's message":  # one that needs both
            return sent(grad_x.sum() + grad_w.sum()), grad_w
        return (sent(grad_x.sum()), None) if grad_x is not None else (sent(grad_w.sum()), grad_w)

    module, _ = traced(layer)
    before = str(module.graph)
    assert split_weight_gradients(module.graph) == 0 and str(module.graph) == before


# The order.


def steps(*rows: str) -> tuple[list[str], list[Step]]:
    """Rows "NAME KIND: NEEDS"; a name with its kind's first letter, as s1, w1, l1, or anything else for none."""
    kinds = {"s": SEND, "w": WAIT, "l": LONG}
    names = [row.partition(":")[0] for row in rows]
    made = [
        Step(frozenset(names.index(need) for need in row.partition(":")[2].split()), kinds.get(name[0], ""))
        for name, row in zip(names, rows, strict=True)
    ]
    return names, made


def ordered(*rows: str) -> str:
    names, made = steps(*rows)
    return " ".join(names[number] for number in fill_windows(made))


def test_a_long_step_before_a_message_comes_behind_it_with_what_needs_it():
    assert ordered("d", "l1:d", "c:l1", "x:d", "s1:x", "w1:s1", "y:w1") == "d x s1 l1 c w1 y"


def test_what_the_message_needs_stays_before_it():
    assert ordered("l1", "s1:l1", "w1:s1") == "l1 s1 w1"
    assert ordered("l1", "c:l1", "s1:c", "w1:s1") == "l1 c s1 w1"


def test_a_long_step_behind_the_wait_comes_before_it_with_what_it_needs():
    assert ordered("x", "s1:x", "w1:s1", "y:w1", "a:x", "l1:a", "z:y l1") == "x s1 a l1 w1 y z"
    assert ordered("x", "s1:x", "w1:s1", "y:w1", "l1:y") == "x s1 w1 y l1"  # it needs what was waited for


def test_messages_keep_their_order():
    """A long step with which a message would have to move stays where it is."""
    assert ordered("l1", "s1", "w1:s1", "y:w1") == "s1 l1 w1 y"
    assert ordered("x", "s1:x", "w1:s1", "s2:x", "w2:s2", "l1:w2", "z:l1 w1") == "x s1 w1 s2 w2 l1 z"


def test_each_window_takes_what_became_possible_since_the_last():
    """As in a backward: input gradient, weight gradient, message, wait, layer after layer."""
    rows = ["g0"]
    for layer in range(1, 5):
        rows += [f"d{layer}:g{layer - 1}", f"l{layer}:g{layer - 1}", f"s{layer}:d{layer}", f"w{layer}:s{layer}",
                 f"g{layer}:w{layer} d{layer}"]  # fmt: skip
    assert ordered(*rows) == "g0 " + " ".join(f"d{k} s{k} l{k} w{k} g{k}" for k in range(1, 5))


def test_what_lies_in_a_window_already_is_not_taken_out_of_it():
    assert ordered("s1", "l1", "w1:s1", "x:w1", "s2:x", "w2:s2") == "s1 l1 w1 x s2 w2"


def test_an_impossible_order_is_refused():
    with pytest.raises(ValueError, match="step 0 comes before one that it needs"):
        fill_windows([Step(frozenset([1])), Step(frozenset())])


def test_any_order_stays_possible():
    draw = random.Random(0)
    for _ in range(200):
        made: list[Step] = []
        last: int | None = None  # the last message, which the next one follows
        for number in range(draw.randint(1, 30)):
            needs = set(draw.sample(range(number), min(number, draw.randint(0, 2))))
            kind = draw.choice([SEND, WAIT, LONG, "", ""])
            unwaited = [n for n, step in enumerate(made) if step.kind == SEND and not any(n in s.needs for s in made)]
            if kind == WAIT and not unwaited:
                kind = ""
            if kind == WAIT:
                needs.add(unwaited[0])
            if kind == SEND:
                needs |= {last} if last is not None else set()
                last = number
            made.append(Step(frozenset(needs), kind))
        order = fill_windows(made)
        assert sorted(order) == list(range(len(made)))
        at = {number: place for place, number in enumerate(order)}
        assert all(at[need] < at[number] for number, step in enumerate(made) for need in step.needs)
        messages = [number for number in order if made[number].kind == SEND]
        assert messages == sorted(messages)
