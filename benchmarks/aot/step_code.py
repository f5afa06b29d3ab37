"""The CUDA code that Inductor generates for a training step, without a GPU.

The engine's own modules are compiled as the engine compiles them (`compile_modules`), for a card that `fake_cuda`
mocks. Dynamo, AOTAutograd and Inductor go all their way to the generated code, which is kept and never run. So a change
of how the engine compiles, or of what it compiles, is seen in the code. What is decided by a measurement on the card is
not: here matrix products are never padded, and no kernel is chosen by its time. Autocast has the CPU's list of
operations, which is the card's for convolutions and linear layers, but not for LayerNorm.

    from aot import step_code                                # in a process of its own
    graphs = step_code.generate(["--algorithm", "fixmatch", "--model", "wrn-28-2", "--precision", "bf16"])
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import nn

from aot import fake_cuda
from synthetic import synthetic

IMAGES, CLASSES, LABELS = 1000, 10, 40
"""Of the data set, which is made up; its numbers of images are no part of the code."""
FIXED = ("--device", "cuda", "--no-baseline", "--log.trackers", "none", "--data.labels", str(LABELS))


@dataclass(frozen=True)
class Launch:
    """One launch of a Triton kernel."""

    kernel: str
    bytes: int
    """What the kernel reads and writes together, by Inductor's own estimate: each buffer once for reading and once for
    writing, of a slice only the slice, of what it makes and uses itself nothing."""
    operations: tuple[str, ...]
    """The aten operations of the graph that it computes, sorted, each once."""
    reductions: frozenset[str]
    """The nodes of the graph that are reductions among these."""
    from_inputs: bool
    """Whether all that it reads are inputs of the graph."""
    to_outputs: bool
    """Whether all that it writes are outputs of the graph."""
    dtypes: frozenset[str]
    """Of all that it reads and writes."""


@dataclass
class Graph:
    """One compiled graph: forward, backward, or a forward without gradients (inference)."""

    role: str
    call: str
    """Which of a role's methods it is, where there are several."""
    kind: str
    code: str = ""
    """Inductor's: the kernels' sources, then the function `call`."""
    launches: list[Launch] = field(default_factory=list)

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.role, self.call, self.kind)))


class Generated(Exception):
    """Raised in place of running generated code."""


class Recorder:
    """What Inductor generates while it is watched."""

    def __init__(self) -> None:
        self.graphs: list[Graph] = []
        self.role, self.call = "", ""
        self.launches: list[Launch] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, Inductor's code is kept; running it raises `Generated`. Raises `fake_cuda.Missing`."""
        from torch._inductor.codegen.triton import TritonScheduling
        from torch._inductor.graph import GraphLowering

        for owner, name in ((TritonScheduling, "define_kernel"), (GraphLowering, "compile_to_module")):
            if not hasattr(owner, name):
                raise fake_cuda.Missing(f"torch {torch.__version__}: {owner.__name__} has no {name}")
        define = TritonScheduling.define_kernel

        def define_kernel(scheduling: Any, source: str, schedule: Any, kernel: Any) -> str:
            name = define(scheduling, source, schedule, kernel)
            self.launches.append(launch(name, schedule, kernel))
            return name

        def compile_to_module(lowering: Any) -> Any:
            self.launches = []
            code = lowering.codegen()[0].value
            kind = "backward" if lowering.is_backward else "inference" if lowering.is_inference else "forward"
            self.graphs.append(Graph(self.role, self.call, kind, code, self.launches))
            return SimpleNamespace(call=refuse, __file__="generated")

        with (
            mock.patch.object(TritonScheduling, "define_kernel", define_kernel),
            mock.patch.object(GraphLowering, "compile_to_module", compile_to_module),
        ):
            yield


def refuse(*args: Any) -> Any:
    raise Generated


def launch(name: str, schedule: Sequence[Any], kernel: Any) -> Launch:
    """What Inductor's scheduler knows of a kernel as it writes it."""
    from torch._inductor.virtualized import V

    nodes = [part for node in schedule if hasattr(node, "get_nodes") for part in node.get_nodes()]
    reads = {dependency.name for node in nodes for dependency in node.read_writes.reads}
    writes = {dependency.name for node in nodes for dependency in node.read_writes.writes}
    origins = {origin for node in nodes for origin in node.node.get_origins()}
    parts = getattr(kernel, "sub_kernels", [kernel])
    outside = reads - writes
    outputs = set(V.graph.get_output_names())
    return Launch(
        kernel=name,
        bytes=int(sum(part.estimate_kernel_num_bytes() for part in parts)),
        operations=tuple(sorted({operation(origin) for origin in origins if origin.op == "call_function"})),
        reductions=frozenset(origin.name for origin in origins if reduces(origin)),
        from_inputs=all(read in V.graph.graph_inputs for read in outside),
        to_outputs=writes <= outputs,
        dtypes=frozenset(str(V.graph.get_dtype(buffer)).removeprefix("torch.") for buffer in outside | writes),
    )


REDUCTIONS = {
    "sum", "mean", "var_mean", "var", "amax", "amin", "max", "min", "argmax", "argmin", "logsumexp", "prod", "any",
    "all", "_softmax", "_log_softmax", "prepare_softmax_online",
}  # fmt: skip
"""Names of operations of aten and prims."""


def operation(node: Any) -> str:
    """As aten.sum.dim_IntList; of what is no operation of aten's or prims', the function's name."""
    return str(node.target) if isinstance(node.target, torch._ops.OpOverload) else node.target.__name__


def reduces(node: Any) -> bool:
    """Whether a node of the graph is a reduction."""
    return node.op == "call_function" and not REDUCTIONS.isdisjoint(operation(node).split("."))


class Traced:
    """An engine of a role whose forward is compiled for what it is given, and takes its step on fakes without it."""

    def __init__(self, role: str, module: nn.Module, eager: Any, mode: Any, recorder: Recorder, bucket: int | None):
        self.role, self.module, self.eager, self.mode, self.recorder = role, module, eager, mode, recorder
        self.bucket = bucket
        """Bytes of DDP's buckets, where it wraps the module."""
        self.done: set[tuple[str, bool]] = set()

    def __call__(self, *args: Any) -> Any:
        from semisonic_kernels.fuse import use_kernels

        call = args[0] if args and isinstance(args[0], str) else ""
        if (call, torch.is_grad_enabled()) not in self.done:
            self.done.add((call, torch.is_grad_enabled()))
            self.compile(call, *args)
        with use_kernels("reference"):  # outside of a graph, others would be compiled
            return self.eager(*args)

    def compile(self, call: str, *args: Any) -> None:
        from torch.utils._python_dispatch import _disable_current_modes

        self.recorder.role, self.recorder.call = self.role, call
        with _disable_current_modes(), inside_ddp(self.bucket if torch.is_grad_enabled() else None):
            try:
                self.module(*args)
            except Generated:
                return
        raise RuntimeError(f"{self.role}: the forward ran without any generated code")

    def accumulate(self, last: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def backward(self, loss: Any) -> None:
        """Its code is there since the forward was compiled."""

    def step(self) -> None:
        """No parameter moves."""


@contextmanager
def inside_ddp(bucket: int | None) -> Iterator[None]:
    """As inside the forward of DDP, by whose buckets Dynamo cuts the graph; None: without it."""
    from torch.nn.parallel import DistributedDataParallel

    from semisonic.distributed.buckets import cut_at

    if bucket is None:
        yield
        return
    if not hasattr(DistributedDataParallel, "_active_ddp_module"):
        raise fake_cuda.Missing(f"torch {torch.__version__}: DDP has no _active_ddp_module")
    active = SimpleNamespace(bucket_bytes_cap=bucket)
    with mock.patch.object(DistributedDataParallel, "_active_ddp_module", active), cut_at(bucket):
        yield


def bucket_of(cfg: Any, module: nn.Module, ranks: int) -> int | None:
    """Bytes of DDP's buckets around a role's module, as the engine has them; None without DDP."""
    from semisonic.distributed.buckets import bucket_cap

    if ranks == 1 or cfg.execution.zero_stage:
        return None
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    sizes = [parameter.numel() * parameter.element_size() for parameter in trained]
    return bucket_cap(sizes, cfg.parallel.bucket_mb * 2**20)


def join(ranks: int) -> None:
    """Makes this process rank 0 of so many, whose messages go nowhere."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    own = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": min(ranks, 8), "MASTER_PORT": 29999}
    os.environ.update({name: str(value) for name, value in own.items()} | {"MASTER_ADDR": "127.0.0.1"})
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=ranks)


def configuration(fields: Sequence[str]) -> Any:
    """As the command line of `train` resolves it, on a machine that has the card."""
    from semisonic.config.command_line import resolve

    return resolve([*FIXED, *fields])[1]


def generate(fields: Sequence[str], size: int = 32, ranks: int = 1) -> list[Graph]:
    """The graphs of every role of a step, for the mocked card, in the order in which they are compiled.

    fields: of the training command. size: pixels of the images' side. ranks: of a process group whose other ranks are
    not there. CUDA is mocked for the rest of this process, with the first call; all calls in a process have the same
    number of ranks. Raises `UserError` for fields that are wrong, `fake_cuda.Missing` for a version of torch that is
    not known, and what Dynamo raises at a graph break.
    """
    if not fake_cuda.installed():
        fake_cuda.install()
    if ranks > 1 and not torch.distributed.is_initialized():
        join(ranks)
    cfg = configuration(fields)
    torch._dynamo.reset()
    recorder, mode = Recorder(), torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True)
    algorithm, batch = made(cfg, size, ranks, mode)
    run_step(cfg, algorithm, batch, recorder, mode, ranks)
    return recorder.graphs


def made(cfg: Any, size: int, ranks: int, mode: Any) -> tuple[Any, Any]:
    """The algorithm as the engine places it, and a rank's batch; both are fakes."""
    from torch.utils._pytree import tree_map

    from semisonic.contract import Rank
    from semisonic.data.loading.synthetic import synthetic_batch
    from semisonic.data.sets.splits import make_split
    from semisonic.training.build import begun
    from semisonic.training.process import set_arithmetic
    from semisonic.training.step import place

    data = synthetic(IMAGES, size, CLASSES)
    split = make_split(cfg.data, data.train.labels, CLASSES, cfg.seed)
    host = torch.device("cpu")
    set_arithmetic(on_gpu=True, deterministic=cfg.deterministic)
    algorithm = place(begun(cfg, data, split), cfg, host)
    algorithm.draw_from(1, Rank(0, ranks))
    sizes = cfg.batch.labeled // ranks, cfg.batch.unlabeled // ranks
    batch = synthetic_batch(data, split, cfg.views, cfg.loading, *sizes, host)
    fake_cuda.hollow(algorithm, mode)
    return algorithm, tree_map(lambda value: fake_cuda.on_host(value, mode), batch)


def run_step(cfg: Any, algorithm: Any, batch: Any, recorder: Recorder, mode: Any, ranks: int) -> None:
    """Has the algorithm take its step with engines that only compile."""
    from torch._functorch import config as functorch
    from torch._inductor import config as inductor

    from semisonic.contract import Runner
    from semisonic.training.step import compile_modules, kernels_for
    from semisonic_kernels.fuse import use_kernels

    eager = {role: algorithm.role_module(role).forward for role in algorithm.roles}
    compile_modules(algorithm, cfg.graphs, cfg.recompute, cfg.parallel.overlap)
    modules = {role: algorithm.role_module(role) for role in algorithm.roles}
    engines = {
        role: Traced(role, module, eager[role], mode, recorder, bucket_of(cfg, module, ranks))
        for role, module in modules.items()
    }
    with ExitStack() as stack:
        stack.enter_context(use_kernels(kernels_for(cfg, cfg.compiled)))
        stack.enter_context(functorch.patch(force_non_lazy_backward_lowering=True))
        stack.enter_context(inductor.patch(shape_padding=False))  # whether products are padded is measured on the card
        stack.enter_context(fake_cuda.compiling_for_card())
        stack.enter_context(recorder.watching())
        stack.enter_context(mode)
        algorithm.ready_to_train().train_step(batch, Runner(engines, cfg.batch.micro))
