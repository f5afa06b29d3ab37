"""The memory of a training step and of an evaluation, predicted without taking them.

The algorithm goes through its real step, forward, backward, optimizer, commit and EMA, with tensors that have shapes
but no values (`live_bytes`): it takes seconds and little memory for any batch, and knows `recompute`, micro-batches,
half precision and what is trained as the step itself does.

What it counts is what torch's allocator gives out on one rank. What it does not: memory that kernels take for
themselves inside an operation (libraries' scratchpads, cuDNN's and cuBLAS's workspaces), the allocator's rounding and
gaps, NCCL's buffers, and the process itself. The step is taken uncompiled: a compiled one keeps less, so that of a
compiled run this is an upper bound.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.utils._pytree import tree_leaves

from semisonic.algorithms.base import Algorithm
from semisonic.config.run_config import RunConfig
from semisonic.contract import BareEngine, Batch, Runner
from semisonic.data.loading.synthetic import synthetic_batch
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.splits import Split
from semisonic.optim.optimizer import OptimConfig
from semisonic.runs.live_bytes import Kind, LiveBytes, Unwritten, use_stand_ins
from semisonic.training.metrics import evaluation_mode
from semisonic.training.step import compile_modules, kernels_for, place
from semisonic_kernels.fuse import use_kernels

CPU = torch.device("cpu")
STEPS = 2
"""The optimizer makes its state in the first; the second is as all others."""


DEEPSPEED_BUCKET = 500_000_000
"""Numbers of a bucket of gradients where DeepSpeed's configuration does not say it."""


class Unpredictable(Exception):
    """The step decides by the values of tensors, which stand-ins do not have, or by more than this module knows of."""


@dataclass(frozen=True)
class Predicted:
    """Bytes on one rank."""

    step: dict[Kind, int]
    """What is alive at the moment of a step at which the most is, by what it is for."""
    evaluation: int
    """The most that is alive in the forward of one slice of an evaluation."""

    @property
    def peak(self) -> int:
        """Of a step."""
        return sum(self.step.values())

    @property
    def most(self) -> int:
        """Of all that a run does."""
        return max(self.peak, self.evaluation)


class Engine(BareEngine):
    """A role's module, with its optimizer's state and gradients; its step takes the one and drops the other."""

    def __init__(self, module: torch.nn.Module, optim: OptimConfig, live: LiveBytes, kept: bool):
        """kept: gradients stay between steps, as in DDP's buckets and in a CUDA graph."""
        super().__init__(module)
        self.optim, self.live, self.kept = optim, live, kept
        self.trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.state: list[Tensor] = []
        for parameter in self.trained:
            parameter.register_post_accumulate_grad_hook(lambda own: live.count([own.grad], "gradients"))
            if kept:
                parameter.grad = torch.zeros_like(parameter)
                live.count([parameter.grad], "gradients")

    def step(self) -> None:
        if not self.state:
            self.state = [torch.zeros_like(own) for own in self.trained for _ in range(self.optim.states)]
            self.live.count(self.state, "optimizer")
        if not self.kept:
            for parameter in self.trained:
                parameter.grad = None


class ZeroEngine(Engine):
    """The same under DeepSpeed's ZeRO-1 or -2: a rank has its share of the optimizer's state and of a flat float32 copy
    of the parameters. Gradients pass through buckets into the rank's share (2), or stay whole (1)."""

    def __init__(
        self, module: torch.nn.Module, optim: OptimConfig, live: LiveBytes, section: dict[str, Any], ranks: int
    ):
        super().__init__(module, optim, live, kept=False)
        self.section, self.ranks = section, ranks
        self.copy = self._share()
        live.count([self.copy], "optimizer")
        self.gradients: Tensor | None = None
        if section["stage"] == 2:
            for parameter in self.trained:
                parameter.register_post_accumulate_grad_hook(lambda own: setattr(own, "grad", None))

    def _share(self) -> Tensor:
        """A number for each of this rank's share of the parameters."""
        return torch.empty(-(-sum(own.numel() for own in self.trained) // self.ranks))

    def backward(self, loss: Tensor) -> None:
        size = self.section.get("reduce_bucket_size", DEEPSPEED_BUCKET)
        count = 2 if self.section.get("overlap_comm") else 1
        buckets = [torch.empty(size if isinstance(size, int) else DEEPSPEED_BUCKET) for _ in range(count)]
        if self.gradients is None:
            self.gradients = self._share()
        self.live.count([*buckets, self.gradients], "gradients")
        loss.backward()

    def step(self) -> None:
        flat = self._share()  # DeepSpeed joins the gradients of its part before the optimizer's step
        self.live.count([flat], "gradients")
        if not self.state:
            self.state = [torch.empty_like(self.copy) for _ in range(self.optim.states)]
            self.live.count(self.state, "optimizer")
        self.gradients = None
        for parameter in self.trained:
            parameter.grad = None


def predict(
    cfg: RunConfig, data: DataSet, split: Split, build: Callable[[RunConfig], Algorithm], world_size: int | None = None
) -> Predicted:
    """The memory that one rank's steps and evaluations take.

    build: makes the run's algorithm on the CPU. world_size: ranks; by default those that the launcher started. Raises
    `Unpredictable` for a network or a method that reads values of its tensors on the host.
    """
    ranks = world_size or cfg.execution.world_size
    if cfg.execution.zero_stage == 3:
        raise Unpredictable("ZeRO-3 gathers parameters as it goes")
    with torch.random.fork_rng(devices=[]), use_kernels(kernels_for(cfg, compiled=False)):
        with Unwritten():
            algorithm = place(build(cfg), cfg, CPU)
        with stand_ins() as (mode, live):
            use_stand_ins(algorithm, mode)
            count_state(algorithm, live)
            evaluation = evaluation_peak(cfg, algorithm, data, live)
            return Predicted(step_peak(cfg, algorithm, data, split, live, ranks), evaluation)


@contextmanager
def stand_ins() -> Iterator[tuple[FakeTensorMode, LiveBytes]]:
    """Inside, tensors have no values, and the bytes that they would take are counted."""
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode, LiveBytes() as live:
            yield mode, live
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise Unpredictable(f"it reads values of tensors ({error.func})") from error
    except UnsupportedOperatorException as error:
        raise Unpredictable(f"an operation does not say what it makes ({error.func})") from error


def count_state(algorithm: Algorithm, live: LiveBytes) -> None:
    """Everything that there is between steps: averages are what is kept beside the parameters."""
    live.count(algorithm.buffers(), "ema")
    live.count(algorithm.parameters(), "parameters")
    live.restart()


def step_peak(
    cfg: RunConfig, algorithm: Algorithm, data: DataSet, split: Split, live: LiveBytes, ranks: int
) -> dict[Kind, int]:
    """What is alive at the peak of a step, by what it is for."""
    compile_modules(algorithm, "off", cfg.recompute)
    kept = ranks > 1 or cfg.replayed != "off"
    section = (cfg.zero or {}).get("zero_optimization", {})

    def engine(role: str) -> Engine:
        module, optim = algorithm.role_module(role), algorithm.role_optim(role, cfg.optim)
        return ZeroEngine(module, optim, live, section, ranks) if section else Engine(module, optim, live, kept)

    engines = {role: engine(role) for role in algorithm.roles}
    batch = synthetic_batch(
        data, split, cfg.views, cfg.loading, cfg.batch.labeled // ranks, cfg.batch.unlabeled // ranks, CPU
    )
    live.count((value for value in tree_leaves(batch) if isinstance(value, Tensor)), "images")
    for _ in range(STEPS):
        live.restart()
        take_step(algorithm, batch, Runner(engines, cfg.batch.micro))
    return dict(live.peak)


def take_step(algorithm: Algorithm, batch: Batch, run: Runner) -> None:
    """As `TrainingStep.device_step` does."""
    output = algorithm.train().train_step(batch, run)
    with torch.no_grad():
        algorithm.commit(output.observed)
        algorithm.update_ema()


@torch.no_grad()
def evaluation_peak(cfg: RunConfig, algorithm: Algorithm, data: DataSet, live: LiveBytes) -> int:
    """The forward of one slice of the test images."""
    images = torch.zeros(cfg.eval.batch, 3, data.size, data.size, dtype=torch.uint8)
    with evaluation_mode(algorithm):
        algorithm.predict(images.to(memory_format=torch.channels_last), "ema")
    return live.most
