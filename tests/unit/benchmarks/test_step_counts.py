"""Generated code is counted by rules: what is launched, what is tiny, and what lies between a message and its wait."""

from typing import Any

import pytest

from aot import step_counts
from aot.step_code import Graph, Launch

CAST = "prims.convert_element_type.default"


def launch(kernel: str = "triton_poi_fused_0", size: int = 1024, **given: Any) -> Launch:
    own: dict[str, Any] = {
        "operations": ("aten.mul.Tensor",), "reductions": frozenset(), "from_inputs": False, "to_outputs": False,
        "dtypes": frozenset({"float32"}),
    }  # fmt: skip
    return Launch(kernel, size, **(own | given))


def source(name: str, body: str = "xnumel = 4") -> str:
    return f"{name} = async_compile.triton('{name}', '''\nimport triton\n{body}\nextern_kernels.mm(a, b)\n''', device_str='cuda')\n"


CODE = (
    source("triton_poi_fused_0")
    + source("triton_poi_fused_1", "ynumel = 8")
    + """
def call(args):
    primals_1, primals_2 = args
    triton_poi_fused_0.run(primals_1, buf0, 4, stream=stream0)
    buf1 = extern_kernels.convolution(buf0, primals_2, stride=(1, 1), bias=None)
    triton_poi_fused_1.run(primals_1, buf2, 8, 4, stream=stream0)
    triton_poi_fused_0.run(primals_1, buf3, 4, stream=stream0)
    extern_kernels.mm(buf3, buf2, out=buf4)
    buf5 = torch.ops.aten.convolution_backward.default(buf1, buf0, primals_2, [0], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False])
    buf6 = torch.ops.aten.randint.low_out(0, 5, [4], out=buf7)
    primals_1.copy_(buf3)
    return (buf4, )
"""
)
LAUNCHES = [launch(), launch("triton_poi_fused_1"), launch()]


def test_a_graph_is_counted():
    found = step_counts.count(Graph("network", "", "forward", CODE, LAUNCHES))
    assert found == {
        "launches": 3,
        "kernels": 2,
        "convolutions": 1,
        "convolution backwards": 1,
        "matrix products": 1,
        "other calls": {"randint": 1},
        "casts": 0,
        "copies": 1,
        "transposes": 1,
        "by kind": {kind: 3 if kind == "others" else 0 for kind in step_counts.KINDS},
        "tiny": {kind: 3 if kind == "others" else 0 for kind in step_counts.KINDS},
        "messages": {},
        "messages overlapped": 0,
    }
    both = step_counts.total([Graph("network", "", kind, CODE, LAUNCHES) for kind in ("forward", "backward")])
    assert both["launches"] == 6 and both["tiny together"] == 6 and both["other calls"] == {"randint": 2}
    assert both["kernels of a step"] == 14


def test_one_more_launch_or_copy_is_counted():
    more = CODE.replace("    primals_1.copy_(buf3)\n", "    primals_1.copy_(buf3)\n" * 2)
    assert step_counts.count(Graph("network", "", "forward", more, LAUNCHES))["copies"] == 2
    copying = launch(operations=("aten.clone.default", "aten.permute.default"))
    more = CODE.replace("    return", "    triton_poi_fused_0.run(buf3, buf8, 4, stream=stream0)\n    return")
    found = step_counts.count(Graph("network", "", "forward", more, [*LAUNCHES, copying]))
    assert found["launches"] == 4 and found["copies"] == 2


def test_launches_that_nobody_told_of_are_an_error():
    with pytest.raises(RuntimeError, match="network forward: the code has 3 launches, the scheduler wrote 2"):
        step_counts.count(Graph("network", "", "forward", CODE, LAUNCHES[:2]))


def test_tiny_launches_are_told_apart():
    first = launch(size=2**20, reductions=frozenset({"var_mean_1"}))
    cases = {
        "casts of weights": launch(operations=(CAST,), from_inputs=True),
        "counter additions": launch(operations=("aten.add.Tensor",), dtypes=frozenset({"int64"}), from_inputs=True),
        "second stages of reductions": launch(operations=("aten.var_mean.correction",), reductions=first.reductions),
        "others": launch(operations=("aten.sum.default",), reductions=frozenset({"sum_1"})),
    }
    large = launch(size=step_counts.TINY, operations=(CAST,), from_inputs=True)
    graph = Graph("network", "", "forward", "", [first, *cases.values(), large])
    assert step_counts.tiny(graph) == list(cases.items())
    assert step_counts.kinds(graph) == [("others", first), *cases.items(), ("casts of weights", large)]
    gradient = launch(operations=(CAST,), to_outputs=True)
    activation = launch(operations=(CAST,))
    found = step_counts.tiny(Graph("network", "", "backward", "", [gradient, activation]))
    assert found == [("casts of weight gradients", gradient), ("others", activation)]


SERIAL = """
    buf2 = torch.ops._c10d_functional.all_gather_into_tensor.default(buf1, 4, '0')
    buf3 = torch.ops._c10d_functional.wait_tensor.default(buf2)
    buf4 = extern_kernels.convolution(buf3, primals_2, stride=(1, 1))
    torch.ops._c10d_functional.all_reduce_.default(buf5, 'sum', '0')
    torch.ops._c10d_functional.wait_tensor.default(buf5)
"""
BACKWARD = (
    "    buf{0} = torch.ops.aten.convolution_backward.default(buf6, buf7, [0], [1, 1], False, 1, [{1}, {2}, False])\n"
)


def test_messages_in_a_row_overlap_nothing():
    found = step_counts.messages(SERIAL)
    assert [message.operation for message in found] == ["all_gather_into_tensor", "all_reduce"]
    assert step_counts.overlapped(SERIAL) == 0 and found[0].convolutions == 0


def test_a_weight_gradient_between_send_and_wait_hides_a_message():
    send, wait = (line + "\n" for line in SERIAL.strip("\n").splitlines()[3:])
    weight, images = BACKWARD.format(8, False, True), BACKWARD.format(9, True, False)
    assert step_counts.overlapped(send + weight + wait) == 1
    assert step_counts.overlapped(images + send + wait + weight) == 0
    found = step_counts.messages(send + images + wait)
    assert found[0].input_gradients == 1 and not found[0].overlapped, "the images' gradient needs the message"
    assert step_counts.messages(send + BACKWARD.format(8, True, True) + wait)[0].weight_gradients == 1


def test_messages_without_a_wait_and_waits_without_a_message_are_errors():
    lines = SERIAL.strip("\n").splitlines()
    with pytest.raises(ValueError, match="never waited for"):
        step_counts.messages("\n".join(lines[:1]))
    with pytest.raises(ValueError, match="a wait for nothing"):
        step_counts.messages("\n".join(lines[1:]))
