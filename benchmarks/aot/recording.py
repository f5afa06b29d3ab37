"""Does a step that is recorded as a CUDA graph compile anything, or wait for the device? Asked on the CPU.

Compiling inside a capture ends in an error, and so does waiting. The engine's own step runs with a recorder that does
the action in place of recording it, after the engine's own number of warm-up steps, whose batches are slices of larger
tensors as those of a loader are, while the recording works on clones. What torch compiles is traced and differentiated
as ever, but runs operator by operator.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.utils._pytree import tree_map

from aot import Row, larger
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.check.properties import Failed
from semisonic.check.waiting import NoWaiting

ABOUT = "what compiles or waits inside the recording of a step, for every algorithm: nothing may"
VERSIONS = ("torch",)
SECONDS = 1200.0
CASES = tuple(ALGORITHMS)
LABELED, RATIO = 8, 2
"""Labeled images of a step, and unlabeled ones for each."""
FIELDS = (
    "--no-baseline", "--device", "cpu", "--threads", "1", "--model", "small", "--compile", "off", "--kernels", "fused",
    "--precision", "bf16", "--batch.labeled", str(LABELED), "--batch.unlabeled-ratio", str(RATIO),
    "--log.trackers", "none",
)  # fmt: skip
"""What is compiled is said afterwards, as the parts of a step that a GPU would compile."""


class Compiler:
    """A backend of torch.compile that counts its backward graphs and compiles nothing. Dynamo counts its own graphs."""

    def __init__(self) -> None:
        self.backwards = 0

    def __call__(self, graph: Any, inputs: Sequence[Any]) -> Callable[..., Any]:
        from functorch.compile import min_cut_rematerialization_partition
        from torch._dynamo.backends.common import aot_autograd
        from torch._dynamo.backends.debugging import boxed_nop

        def backward(graph: Any, inputs: Sequence[Any]) -> Callable[..., Any]:
            self.backwards += 1
            return boxed_nop(graph, inputs)

        make = aot_autograd(
            fw_compiler=boxed_nop, bw_compiler=backward, partition_fn=min_cut_rematerialization_partition
        )
        return make(graph, inputs)

    @property
    def compiled(self) -> int:
        """Graphs so far, forward and backward."""
        from torch._dynamo.utils import counters

        return counters["stats"]["unique_graphs"] + self.backwards


COMPILER = Compiler()
"""The only one: kernels keep what they have compiled, also for the next algorithm, and compile it anew by the same."""
BY_IT = {"backend": COMPILER}


@contextmanager
def compiling_cheaply() -> Iterator[None]:
    """Inside, nothing is compiled yet, and all that is will be by `COMPILER`, which has no options."""
    compile_ = torch.compile

    def cheaply(function: Callable[..., Any], options: object = None, **given: Any) -> Callable[..., Any]:
        return compile_(function, **given | BY_IT)

    torch._dynamo.reset()
    with mock.patch.object(torch, "compile", cheaply):
        yield


class WatchesWaiting(NoWaiting):
    """Over code that is compiled already, which runs as it is."""

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True


class DoesIt:
    """A recorder (`semisonic.training.cuda_graph.Recorder`) that does the action where it should record it."""

    def __init__(self) -> None:
        self.begun = COMPILER.compiled
        self.before: int | None = None
        """Graphs that were compiled before the recording; None: nothing was recorded."""
        self.inside = 0
        """Graphs that were compiled in it."""
        self.waits = ""
        """What waited for the device in it."""

    def warm_up(self, action: Callable[[], Any]) -> Any:
        return action()

    def capture(self, action: Callable[[], Any]) -> Any:
        before = COMPILER.compiled
        result = action()
        self.before, self.inside = before - self.begun, COMPILER.compiled - before
        # Once more: under the watching mode torch might not compile what it would compile without.
        try:
            with WatchesWaiting():
                action()
        except Failed as error:
            self.waits = str(error)
        return result

    def replay(self) -> None:
        """The action was done."""

    def release(self) -> None:
        """Nothing is held."""


def record(algorithm: str) -> Row:
    """One algorithm's step, warmed up and recorded. Raises RuntimeError where the engine recorded nothing."""
    from semisonic.config.command_line import resolve
    from semisonic.data.loading.synthetic import synthetic_batch
    from semisonic.data.sets.registry import load_data_set
    from semisonic.training.build import begun, draw_split
    from semisonic.training.cuda_graph import WARM_UP
    from semisonic.training.process import started
    from semisonic.training.step import TrainingStep

    with tempfile.TemporaryDirectory() as folder, compiling_cheaply():
        recorder = DoesIt()
        cfg = resolve([*FIELDS, "--algorithm", algorithm, "--out", folder])[1]
        data = load_data_set(cfg.data)
        split = draw_split(cfg, data)
        calls = WARM_UP + 1
        several = synthetic_batch(
            data, split, cfg.views, cfg.loading, calls * LABELED, calls * LABELED * RATIO, torch.device("cpu")
        )
        as_on_gpu = cfg.model_copy(update={"compile": "whole", "replay": "step"})
        with started(cfg) as accelerator, mock.patch("semisonic.training.step.CudaGraph", lambda: recorder):
            step = TrainingStep(as_on_gpu, begun(cfg, data, split), accelerator)
            for number in range(calls):
                step(slice_of(several, number, calls))
    if recorder.before is None:
        raise RuntimeError(f"{algorithm}: nothing was recorded in {calls} steps")
    return {"graphs": recorder.before, "compiled in the recording": recorder.inside, "waits": recorder.waits}


def slice_of(batch: Any, number: int, count: int) -> Any:
    """One of `count` equal parts of a batch, the samples next to each other."""
    return tree_map(lambda value: value[len(value) // count * number : len(value) // count * (number + 1)], batch)


def rows(names: Sequence[str]) -> dict[str, Row]:
    torch.set_num_threads(1)
    return {name: record(name) for name in names}


def broken(name: str, row: Mapping[str, Any]) -> list[str]:
    found = []
    if row["compiled in the recording"]:
        found.append(f"{name}: {row['compiled in the recording']} graphs are compiled in the recording")
    if row["waits"]:
        found.append(f"{name}: in the recording, {row['waits']}")
    return found


def grown(name: str, row: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    return larger(name, row, stored)
