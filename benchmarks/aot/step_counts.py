"""What a step's generated code launches and sends, counted by rules that are said here.

* launches: of Triton kernels; kernels: different ones of them.
* convolutions, convolution backwards, matrix products, other calls: of cuDNN, cuBLAS and ATen from the generated code.
  A convolution's backward counts once, whether it gives one gradient or two.
* casts: launches that do nothing but convert a dtype. copies: launches that do nothing but copy, and ATen's `copy_`.
  transposes: launches over a grid with a y dimension, by which Inductor reads in one order and writes in another.
* by kind: what a launch is, the first that fits: casts of weights (read inputs of a forward), casts of weight gradients
  (write outputs of a backward), counter additions (of int64 alone), second stages of reductions (reduce what another
  launch has reduced in part; a third stage, too), others.
* tiny: launches that read and write less than 256 KiB together (`Launch.bytes`), by the same kinds.
* messages: collectives that are sent, by operation. One is overlapped if a convolution, or a convolution's backward, is
  called between its send and its wait.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aot.step_code import Graph, Launch

TINY = 256 * 1024
"""Bytes."""
CONVERSIONS = {"prims.convert_element_type.default", "aten._to_copy.default"}
COPIES = {"aten.clone.default", "aten.copy.default", "aten.copy_.default"}
VIEWS = {
    f"aten.{name}"
    for name in (
        "permute.default", "view.default", "reshape.default", "_unsafe_view.default", "expand.default", "t.default",
        "transpose.int", "unsqueeze.default", "squeeze.dim", "squeeze.dims", "slice.Tensor", "select.int",
        "alias.default", "split.Tensor", "split_with_sizes.default", "as_strided.default",
    )
}  # fmt: skip
"""Operations that move nothing."""
ADDITIONS = {"aten.add.Tensor", "aten.add_.Tensor", *COPIES}
KINDS = ("casts of weights", "casts of weight gradients", "counter additions", "second stages of reductions", "others")

KERNEL = re.compile(
    r"^(?P<name>triton_\w+) = async_compile\.triton\('\w+', '''(?P<source>.*?)''', device_str", re.M | re.S
)
RUN = re.compile(r"^\s+(triton_\w+)\.run\(", re.M)
CALL = re.compile(r"\b(?:extern_kernels\.(?P<extern>\w+)|torch\.ops\.(?P<space>\w+)\.(?P<name>\w+)\.\w+)\(")
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "_scaled_mm", "_mm_plus_mm", "bias_addmm", "mm_plus_mm"}
COLLECTIVES = {"_c10d_functional", "c10d_functional", "_c10d_functional_autograd"}
WAIT = "wait_tensor"
WEIGHT_GRADIENT = re.compile(r"\[(?:True|False), (True|False), (?:True|False)\]\)")


@dataclass
class Message:
    """A collective in the generated code, and what is called between its send and its wait."""

    operation: str
    convolutions: int = 0
    weight_gradients: int = 0
    """Convolution backwards that give the weight's gradient, alone or with the images'."""
    input_gradients: int = 0
    """Those that give the images' alone."""

    @property
    def overlapped(self) -> bool:
        return self.convolutions + self.weight_gradients > 0


def sources(code: str) -> dict[str, str]:
    """The source of every Triton kernel in generated code, by its name."""
    return {found["name"]: found["source"] for found in KERNEL.finditer(code)}


def called(code: str) -> str:
    """The part of generated code that runs: without the kernels' sources."""
    return KERNEL.sub("", code)


def messages(code: str) -> list[Message]:
    """The messages of generated code, in the order in which they are sent.

    Raises ValueError where one is never waited for, or a wait belongs to none.
    """
    sent: list[Message] = []
    pending: dict[str, Message] = {}
    for line in called(code).splitlines():
        found = CALL.search(line)
        if found is None:
            continue
        name = found["extern"] or found["name"]
        if found["space"] not in COLLECTIVES:
            for message in {id(one): one for one in pending.values()}.values():
                note(message, name, line)
            continue
        argument = re.match(r"\s*\[?(\w+)", line[found.end() :])
        names = {part for part in (argument and argument[1], assigned(line)) if part}
        if name == WAIT:
            if not argument or argument[1] not in pending:
                raise ValueError(f"a wait for nothing that was sent: {line.strip()}")
            done = pending[argument[1]]
            pending = {key: one for key, one in pending.items() if one is not done}
            continue
        sent.append(Message(name.removesuffix("_")))
        pending |= dict.fromkeys(names, sent[-1])
    if pending:
        raise ValueError(f"{len(pending)} messages are sent and never waited for: {', '.join(sorted(pending))}")
    return sent


def assigned(line: str) -> str | None:
    """The variable that a line sets."""
    found = re.match(r"\s*(\w+) = ", line)
    return found[1] if found else None


def note(message: Message, name: str, line: str) -> None:
    if name == "convolution":
        message.convolutions += 1
    elif name == "convolution_backward":
        mask = WEIGHT_GRADIENT.search(line)
        if mask is None:
            raise ValueError(f"which gradients does it give: {line.strip()}")
        if mask[1] == "True":
            message.weight_gradients += 1
        else:
            message.input_gradients += 1


def overlapped(code: str) -> int:
    """Messages of generated code between whose send and wait a convolution or a weight gradient is called."""
    return sum(message.overlapped for message in messages(code))


def only(launch: Launch, operations: Iterable[str]) -> bool:
    """Whether a launch does nothing but these operations, and at least one of them."""
    own = {operation for operation in launch.operations if operation not in VIEWS}
    return bool(own) and own <= set(operations)


def kind_of(launch: Launch, backward: bool, reduced: set[str]) -> str:
    """What a launch is; reduced: the nodes that earlier launches have reduced."""
    if only(launch, CONVERSIONS) and not backward and launch.from_inputs:
        return "casts of weights"
    if only(launch, CONVERSIONS) and backward and launch.to_outputs:
        return "casts of weight gradients"
    if launch.dtypes == {"int64"} and only(launch, ADDITIONS):
        return "counter additions"
    return "second stages of reductions" if launch.reductions & reduced else "others"


def kinds(graph: Graph) -> list[tuple[str, Launch]]:
    """The launches of a graph in order, each with what it is."""
    found, reduced = list[tuple[str, Launch]](), set[str]()
    for launch in graph.launches:
        found.append((kind_of(launch, graph.kind == "backward", reduced), launch))
        reduced |= launch.reductions
    return found


def tiny(graph: Graph) -> list[tuple[str, Launch]]:
    """Those that are tiny."""
    return [(kind, launch) for kind, launch in kinds(graph) if launch.bytes < TINY]


def count(graph: Graph) -> dict[str, Any]:
    """The counts of one graph. Raises RuntimeError where the code launches what the scheduler has not told of."""
    code, kernels = called(graph.code), sources(graph.code)
    runs = RUN.findall(code)
    if sorted(runs) != sorted(launch.kernel for launch in graph.launches) or not set(runs) <= kernels.keys():
        raise RuntimeError(
            f"{graph.name}: the code has {len(runs)} launches, the scheduler wrote {len(graph.launches)}"
        )
    calls = Counter(
        found["extern"] or found["name"] for found in CALL.finditer(code) if found["space"] not in COLLECTIVES
    )
    products = sum(calls.pop(name, 0) for name in PRODUCTS)
    copies = len(re.findall(r"\.copy_\(", code)) + sum(only(launch, COPIES) for launch in graph.launches)
    every, small = (Counter(kind for kind, _ in own) for own in (kinds(graph), tiny(graph)))
    sent = messages(graph.code)
    return {
        "launches": len(runs),
        "kernels": len(set(runs)),
        "convolutions": calls.pop("convolution", 0),
        "convolution backwards": calls.pop("convolution_backward", 0),
        "matrix products": products,
        "other calls": dict(sorted(calls.items())),
        "casts": sum(only(launch, CONVERSIONS) for launch in graph.launches),
        "copies": copies,
        "transposes": sum("ynumel" in kernels[name] for name in runs),
        "by kind": {kind: every[kind] for kind in KINDS},
        "tiny": {kind: small[kind] for kind in KINDS},
        "messages": dict(sorted(Counter(message.operation for message in sent).items())),
        "messages overlapped": sum(message.overlapped for message in sent),
    }


def total(graphs: Sequence[Graph]) -> dict[str, Any]:
    """The counts of all graphs together."""
    counts = [count(graph) for graph in graphs]
    summed: dict[str, Any] = {}
    for one in counts:
        for name, value in one.items():
            if isinstance(value, dict):
                own = summed.setdefault(name, {})
                for key, number in value.items():
                    own[key] = own.get(key, 0) + number
            else:
                summed[name] = summed.get(name, 0) + value
    summed["tiny together"] = sum(summed["tiny"].values())
    kernels = summed["launches"] + sum(
        summed[name] for name in ("convolutions", "convolution backwards", "matrix products")
    )
    return {"kernels of a step": kernels + sum(summed["other calls"].values()), **summed}
