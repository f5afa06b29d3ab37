"""Before a run begins: does its largest step fit into memory, on every rank? If not, it is cut into micro-batches.

Every rank tries a step by itself, without collectives, since a rank that runs out of memory inside one leaves the
others waiting in it. Then all tell each other how it went, over the host, and do the same thing next.

What a trial covers: weights, EMA and the algorithm's state, gradients, the optimizer's state (a rank's share under
ZeRO), forward and backward on the rank's real shapes, resident images, DALI's queue of finished views, and an
evaluation's forward. What it does not: decoders of image files, NCCL's and DeepSpeed's buffers, CUDA graphs, and the
float32 copy of one layer that synchronized BatchNorm makes. A run that fails for these says so
(`training/out_of_memory.py`).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from semisonic.algorithms.base import Algorithm
from semisonic.config.run_config import RunConfig
from semisonic.contract import BareEngine, Runner
from semisonic.data.loading.calls import PREFETCH, steps_per_call
from semisonic.data.loading.resident import GPU_SHARE
from semisonic.data.loading.synthetic import synthetic_batch
from semisonic.data.sets.base import DataSet, Images
from semisonic.data.sets.splits import Split
from semisonic.distributed.engine import Accelerator
from semisonic.models.norm import BatchNorm2d
from semisonic.models.wrapped import NetworkFactory
from semisonic.optim.optimizer import OptimConfig
from semisonic.reporting.console import Console
from semisonic.runs.run_folder import saved_micro
from semisonic.schema import UserError
from semisonic.training.build import build_algorithm
from semisonic.training.memory_advice import advice, larger_counts, with_micro
from semisonic.training.metrics import evaluation_mode
from semisonic.training.out_of_memory import (
    first_line,
    free_memory,
    out_of_memory,
    readable_bytes,
    total_memory,
)
from semisonic.training.process import on_main, optimizer_share
from semisonic.training.step import compile_modules, kernels_for, place
from semisonic_kernels.fuse import use_kernels

ONE_VALUE = "Expected more than 1 value per channel"
"""What BatchNorm says of a batch with a single value."""


class Trial:
    """Tries what a run will do, on this rank, with an algorithm that is thrown away: nothing of the run changes.

    build: makes the run's algorithm on the CPU. optimizer_share: the part of the optimizer's state that this rank's
    device will hold. Both methods raise whatever torch raises where memory runs out.
    """

    def __init__(
        self,
        build: Callable[[RunConfig], Algorithm],
        data: DataSet,
        split: Split,
        device: torch.device,
        optimizer_share: float = 1.0,
    ):
        self.build, self.data, self.split, self.device = build, data, split, device
        self.optimizer_share = optimizer_share
        self.rank, self.world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)

    def step(self, cfg: RunConfig, compiled: bool) -> None:
        """Forward and backward of a whole step of this rank, eagerly or as the compiler makes it."""
        with self.random_numbers_kept(), use_kernels(kernels_for(cfg, compiled)):
            algorithm, aside = self.prepared(cfg)
            compile_modules(algorithm, cfg.graphs if compiled else "off", cfg.recompute, cfg.parallel.overlap)
            labeled, unlabeled = cfg.batch.labeled // self.world_size, cfg.batch.unlabeled // self.world_size
            views = cfg.views
            batch = synthetic_batch(self.data, self.split, views, cfg.loading, labeled, unlabeled, self.device)
            engines = {role: BareEngine(algorithm.role_module(role)) for role in algorithm.roles}
            try:
                algorithm.train().train_step(batch, Runner(engines, cfg.batch.micro))
                self.wait()
            except ValueError as error:
                if self.world_size == 1 or ONE_VALUE not in str(error):  # which other ranks add to in the run
                    raise
            finally:
                if compiled:
                    torch.compiler.reset()  # the compiled step holds memory, and counts towards recompilations
        del aside

    @torch.no_grad()
    def evaluation(self, cfg: RunConfig) -> None:
        """The forward of one slice of the test images, beside what training keeps."""
        with self.random_numbers_kept():
            algorithm, aside = self.prepared(cfg)
            size = self.data.size
            images = torch.zeros(cfg.eval.batch, 3, size, size, dtype=torch.uint8, device=self.device)
            with evaluation_mode(algorithm):
                algorithm.predict(images.to(memory_format=torch.channels_last), "ema")
            self.wait()
        del aside

    def wait(self) -> None:
        """Until the device is done: it reports some errors only then."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def prepared(self, cfg: RunConfig) -> tuple[Algorithm, list[Tensor]]:
        """The algorithm on the device, with gradients and without collectives, and blocks of memory set aside."""
        algorithm = place(self.build(cfg), cfg, self.device)
        for module in algorithm.modules():
            if isinstance(module, BatchNorm2d):
                module.sync = False
        for parameter in algorithm.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)  # as DDP's buckets, they are there throughout the step
        sizes = [int(optimizer_bytes(algorithm, cfg.optim) * self.optimizer_share), *self.of_the_data(cfg)]
        return algorithm, [torch.empty(size, dtype=torch.uint8, device=self.device) for size in sizes]

    def of_the_data(self, cfg: RunConfig) -> list[int]:
        """Bytes on the GPU of resident images and of the calls in DALI's queue, in use, and being finished."""
        if self.device.type != "cuda":
            return []
        sizes, images, side = [], self.data.train, self.data.size
        if isinstance(images, Images):
            _, height, width, channels = images.pixels.shape
            resident = len(images) * (height + 2 * self.data.pad) * (width + 2 * self.data.pad) * channels
            if resident <= GPU_SHARE * torch.cuda.mem_get_info(self.device)[0]:
                sizes.append(resident)
        return [*sizes, queue_bytes(cfg, side, self.world_size, self.device)]

    def random_numbers_kept(self) -> AbstractContextManager[None]:
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])


def queue_bytes(cfg: RunConfig, side: int, world_size: int, device: torch.device) -> int:
    """Bytes of the finished views in DALI's queue, in use, and being finished; side: of an image, in pixels."""
    views = cfg.views
    labeled, unlabeled = cfg.batch.labeled // world_size, cfg.batch.unlabeled // world_size
    largest = max(labeled if views.labeled else 0, unlabeled if views.unlabeled else 0)
    made = len(views.labeled) * labeled + len(views.unlabeled) * unlabeled
    for stream in views.streams.values():
        own = stream.size(cfg.batch.labeled) // world_size
        largest, made = max(largest, own), made + len(stream.views) * own
    steps = steps_per_call(cfg.data.steps_per_call, largest, side, device)
    return (PREFETCH + 2) * steps * made * 3 * side**2


def optimizer_bytes(algorithm: Algorithm, optim: OptimConfig) -> int:
    """Bytes of the state of all roles' optimizers."""
    return sum(
        algorithm.role_optim(role, optim).states * parameter.nbytes
        for role in algorithm.roles
        for parameter in algorithm.role_module(role).parameters()
        if parameter.requires_grad
    )


class Shortage(NamedTuple):
    """Where memory ran out: the first of the ranks that it ran out on."""

    rank: int
    memory: int
    """Bytes of that rank's device."""
    cause: str

    def __str__(self) -> str:
        return f"{readable_bytes(self.memory)} (rank {self.rank})"


def fit_steps(
    cfg: RunConfig,
    asked: RunConfig,
    started: bool,
    data: DataSet,
    split: Split,
    accelerator: Accelerator,
    console: Console,
    kind: type[Trial] | None = None,
    network: NetworkFactory | None = None,
    known: bool = False,
) -> tuple[RunConfig, RunConfig | None]:
    """The main run's and the baseline's configurations, with as many micro-batches as their steps need to fit.

    The baseline's step is smaller: it has the number of micro-batches that was asked for, unless that does not fit by
    itself. What a folder says of either is kept. known: nothing is tried, and both are as they are.
    """
    baseline, kept = asked.supervised_baseline() if cfg.baseline else None, None
    if baseline:
        place = baseline.run_folder
        kept = on_main(accelerator, lambda: saved_micro(place))
    if baseline and kept:
        baseline = with_micro(baseline, kept)
    device = accelerator.device
    kind = kind or (Trial if device.type == "cuda" else None)
    if kind is None or known:
        return cfg, baseline
    build = partial(build_algorithm, data=data, split=split, fresh=False, factory=network)
    trial = kind(build, data, split, device, optimizer_share(accelerator))
    folders = [run.run_folder for run in (cfg, baseline) if run]
    finished = on_main(accelerator, lambda: [folder for folder in folders if (folder / "summary.json").exists()])
    if not (started and cfg.run_folder in finished):
        cfg, change = fitted(cfg, trial, started)
        if change:
            console.print(change)
    if baseline and baseline.run_folder not in finished:
        baseline, change = fitted(baseline, trial, kept is not None)
        if change:
            console.print(f"Supervised baseline: {change}")
    return cfg, baseline


def fitted(cfg: RunConfig, trial: Trial, resumed: bool = False) -> tuple[RunConfig, str]:
    """The configuration with as many micro-batches as every rank needs, and a line on what changed ("": nothing).

    To be called by all ranks together. An eager step that fits is enough, as a compiled one needs no more; one that
    does not is tried compiled, where the run compiles. `resumed`: the number of micro-batches is the run's and stays.
    Raises `UserError` on every rank, naming fields, where nothing fits or nothing may be cut.
    """
    first: Shortage | None = None
    with host_group() as group:
        for micro in (cfg.batch.micro, *larger_counts(cfg, trial.world_size)):
            candidate = with_micro(cfg, micro)
            shortage = agreed(lambda: trial.step(candidate, False), trial, group)  # noqa: B023
            if shortage and cfg.compiled:
                shortage = agreed(lambda: trial.step(candidate, True), trial, group)  # noqa: B023
            if shortage is None:
                break
            first, last = first or shortage, shortage
            if resumed or not cfg.batch.fit:
                raise UserError(_refusal(cfg, shortage, resumed))
        else:
            raise UserError(_impossible(candidate, last))
        if shortage := agreed(lambda: trial.evaluation(candidate), trial, group):
            raise UserError(
                f"eval.batch: an evaluation of {cfg.eval.batch} images a rank does not fit into {shortage}; use "
                f"--eval.batch {max(1, cfg.eval.batch // 4)} or less, which changes no metric ({shortage.cause})"
            )
    if trial.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(trial.device)
    return candidate, _change(cfg, candidate, first) if first else ""


@contextmanager
def host_group() -> Iterator[Any]:
    """A process group over the host, on which ranks can talk that have just run out of the device's memory."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        yield None
        return
    group = dist.new_group(backend="gloo")
    yield group
    dist.destroy_process_group(group)


def agreed(action: Callable[[], None], trial: Trial, group: Any) -> Shortage | None:
    """Does the action on every rank and says, on all of them alike, on which memory ran out.

    Any other error is raised: as it is on its own rank, as a RuntimeError that names it on the others.
    """
    shortage: Shortage | None = None
    failure: Exception | None = None
    try:
        action()
    except Exception as error:
        if out_of_memory(error):
            shortage = Shortage(trial.rank, total_memory(trial.device), first_line(error))
        else:
            failure = error
    free_memory(trial.device)  # here, where the error and the tensors in its frames are gone
    mine = (shortage, None if failure is None else f"{type(failure).__name__}: {failure}")
    outcomes: list[Any] = [mine]
    if group is not None:
        outcomes = [None] * trial.world_size
        dist.all_gather_object(outcomes, mine, group=group)
    if failure is not None:
        raise failure
    if failures := [
        f"rank {rank} failed in the trial of a step: {text}" for rank, (_, text) in enumerate(outcomes) if text
    ]:
        raise RuntimeError(failures[0])
    return next((found for found, _ in outcomes if found), None)


def _images(cfg: RunConfig, share: int = 1) -> str:
    """Images of a step, or of one of `share` parts of it: 64 + 448 images."""
    unlabeled = cfg.views.unlabeled
    rest = f" + {cfg.batch.unlabeled // share}" if unlabeled else ""
    return f"{cfg.batch.labeled // share}{rest} images"


def step_of(cfg: RunConfig) -> str:
    micro = f" in {cfg.batch.micro} micro-batches" if cfg.batch.micro > 1 else ""
    return f"step of {_images(cfg)}{micro}"


def _change(cfg: RunConfig, candidate: RunConfig, shortage: Shortage) -> str:
    k = candidate.batch.micro
    return (
        f"A {step_of(cfg)} did not fit into {shortage}: it is cut into {k} micro-batches; BatchNorm statistics are "
        f"then those of each micro-batch, running momentum 1-(1-m)^(1/{k})"
    )


def _refusal(cfg: RunConfig, shortage: Shortage, resumed: bool) -> str:
    """Why a step that does not fit is not cut."""
    if resumed:
        return (
            f"batch.micro: a {step_of(cfg)}, as this run has taken them so far, does not fit into {shortage}, and "
            f"another number would change the run; to continue it, {advice(cfg, begun=True)} ({shortage.cause})"
        )
    return (
        f"batch.fit: a {step_of(cfg)} does not fit into {shortage}, and --no-batch.fit forbids to cut it; "
        f"{advice(cfg)} ({shortage.cause})"
    )


def _impossible(cfg: RunConfig, shortage: Shortage) -> str:
    """Why the last candidate was the last."""
    if cfg.composition.couplings():
        return (
            f"batch.labeled: a {step_of(cfg)} does not fit into {shortage}, and {cfg.algorithm.name} couples all "
            f"samples of a batch, so that it cannot be cut; {advice(cfg)} ({shortage.cause})"
        )
    return (
        f"batch.labeled: a {step_of(cfg)} does not fit into {shortage} and cannot be cut further; {advice(cfg)} "
        f"({shortage.cause})"
    )
