"""`--plan`: a few real steps, and from them what the whole run takes. Nothing of a run is written."""

import math
import os
import statistics
import tempfile
import time
from collections.abc import Sized
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from semisonic import start_up
from semisonic.checkpoint import format as checkpoints
from semisonic.config.command_line import Invocation
from semisonic.config.help import table
from semisonic.config.run_config import RunConfig
from semisonic.data.loading.calls import PREFETCH
from semisonic.data.loading.loader import Loader
from semisonic.data.sets.splits import split_notes
from semisonic.models.starting_weights import line as weights_line
from semisonic.reporting.console import Console
from semisonic.runs.dry_step import explained as explained_step
from semisonic.runs.first_step import try_first_step
from semisonic.runs.memory_fit import optimizer_bytes
from semisonic.runs.plan_memory import foresee, predicted_row, refuse_what_would_kill, remedies_shown
from semisonic.runs.precision import with_precision
from semisonic.runs.run_folder import continued, saved_micro
from semisonic.schema import UserError
from semisonic.training.build import build_algorithm, build_trainer, draw_split, load
from semisonic.training.cuda_graph import WARM_UP, WARM_UP_DDP
from semisonic.training.given import NOTHING, check_given
from semisonic.training.layer_rates import about_training
from semisonic.training.out_of_memory import explained, readable_bytes, total_memory
from semisonic.training.process import on_main, peak_memory_bytes, start
from semisonic.training.short_runs import short_run_notes
from semisonic.training.trainer import WEIGHTS, Trainer

STEPS = 5
"""Real steps that are measured, at least; all steps of a DALI call belong together."""
SLICES = 3
"""Slices of an evaluation that are measured, one of them beforehand, by itself."""
WRITTEN = 2**28
"""Bytes of a checkpoint that are written, into an unnamed file, to see how fast that is."""


@dataclass(frozen=True)
class Measured:
    """What the steps showed; of several ranks the slowest's time and the largest memory. Seconds and bytes."""

    phases: dict[str, float]
    """Of the start, from the process's to the first batch."""
    first_step: float
    """With its batch and, where the run compiles, the compilation."""
    first_steps: float
    """From there to the first step that was measured: tuning, recording of a CUDA graph, what DALI has made ahead."""
    steps: list[float]
    data_wait: float
    """Share of the measured steps' time."""
    allocated: int
    """On a GPU by torch; on the CPU resident."""
    reserved: int
    """On a GPU: what torch took from it."""
    in_use: int
    """On a GPU: all that is taken of the card at the end, by torch, DALI, NCCL and other processes."""
    memory: int
    """Of the card or the host in all."""
    evaluation: float
    """The time of the evaluation of one network on an empty set of images."""
    per_slice: float
    """And what each slice adds."""
    checkpoint: int
    """Size."""
    copy: float
    """From the device to the host."""
    write: float
    """To the file system of the run's folder, synced."""

    @property
    def start_up(self) -> float:
        return sum(self.phases.values())


def plan(invocation: Invocation) -> int:
    """Prints what the run that the command line describes would take; returns the process's exit code.

    Built as the run would be; a folder in use is left as it is. To be called by all ranks.
    """
    asked = invocation.cfg
    start_up.begin(invocation.clock)
    check_given(asked)
    accelerator = start(asked)
    start_up.mark(start_up.RANKS)
    console = Console(accelerator.is_main_process)
    data = load(asked, accelerator, invocation.verify_data)
    split = draw_split(asked, data)
    cfg = on_main(accelerator, lambda: continued(asked)) if invocation.resume else asked
    cfg, precision = with_precision(cfg, asked.precision)
    main_run = cfg.model_copy(update={"baseline": False})
    started = invocation.resume and on_main(accelerator, lambda: saved_micro(cfg.run_folder) is not None)
    build = partial(build_algorithm, data=data, split=split, fresh=False)
    start_up.mark(start_up.DATA)
    foreseen = on_main(accelerator, lambda: foresee(main_run, data, split, build, accelerator.device))
    with remedies_shown(console, foreseen), explained_step(cfg, data):
        refuse_what_would_kill(foreseen, main_run, accelerator.device)
        start_up.clock().leave_out()  # what a run does not do
        tried = try_first_step(main_run, asked, started, data, split, accelerator, console, NOTHING, keep=False)
        cfg = tried.cfg
        start_up.mark(start_up.TRIAL)
    # The steps that are measured are as large as the run's largest.
    trainer = build_trainer(cfg.largest_steps, data, split, accelerator, fresh=not started, say=console.print)
    drawn = split_notes(split, data.train.labels, data.classes)
    for note in (*data.notes, *drawn, *cfg.composition.notes, *short_run_notes(cfg, trainer.algorithm)):
        console.print(note)
    console.start_up(
        cfg, data, split, trainer.rank, trainer.device, cfg.execution.threads,
        {"precision": precision.text, **about_training(trainer.training_step.engines)},
    )  # fmt: skip
    if trainer.weights:
        console.print(weights_line(trainer.weights))
    with explained_step(cfg, data), explained(trainer.cfg, trainer.rank, trainer.device, lambda: trainer.step):
        measured = measure(trainer)
    lines = [predicted_row(foreseen), *rows(cfg, trainer, measured, tried.answer)]
    console.rich.print(table("Plan: nothing was written", lines, ("", "")), highlight=False)
    if asked.baseline:
        console.print("The supervised baseline, which the run would train first, is not included")
    if dist.is_initialized():
        dist.destroy_process_group()
    return 0


def measure(trainer: Trainer) -> Measured:
    """Takes the first steps of the run, evaluates a few slices and tries how fast a checkpoint is written."""
    start_up.mark(start_up.NETWORK)
    with trainer.loader() as loader:
        start_up.mark(start_up.PIPELINES, last=True)
        times, first_step, first_steps, data_wait = timed_steps(trainer, loader)
    evaluation, per_slice = timed_slices(trainer)
    size, copy, write = timed_checkpoint(trainer)
    gpu = trainer.device.type == "cuda"
    total = total_memory(trainer.device)
    in_use = total - torch.cuda.mem_get_info(trainer.device)[0] if gpu else 0
    reserved = torch.cuda.max_memory_reserved(trainer.device) if gpu else 0
    taken = [took.seconds for took in start_up.clock().phases.values()]
    own = [
        first_step, first_steps, data_wait, evaluation, per_slice, copy, write,
        peak_memory_bytes(trainer.device), reserved, in_use, *times, *taken,
    ]  # fmt: skip
    first_step, first_steps, data_wait, evaluation, per_slice, copy, write, *sizes = worst(trainer, own)
    allocated, reserved, in_use = map(int, sizes[:3])
    steps, taken = sizes[3 : -len(taken)], sizes[-len(taken) :]
    return Measured(
        phases=dict(zip(start_up.clock().phases, taken, strict=True)), first_step=first_step,
        first_steps=first_steps, steps=steps, data_wait=data_wait, allocated=allocated,
        reserved=reserved, in_use=in_use, memory=total, evaluation=evaluation, per_slice=per_slice,
        checkpoint=size, copy=copy, write=write,
    )  # fmt: skip


def worst(trainer: Trainer, values: list[float]) -> list[float]:
    """The largest of all ranks, number by number."""
    tensor = torch.tensor(values, dtype=torch.float64)
    if trainer.host_group is not None:
        dist.all_reduce(tensor, dist.ReduceOp.MAX, group=trainer.host_group)
    return tensor.tolist()


def timed_steps(trainer: Trainer, loader: Loader) -> tuple[list[float], float, float, float]:
    """Seconds of each measured step, of the first step, of those between, and the share of the measured time spent on
    waiting for data. On a GPU by the device's clock, so that the host runs ahead as in a run."""
    a_call = loader.steps_per_call
    recorded = {"off": WARM_UP, "step": WARM_UP + 1, "backward": WARM_UP_DDP + 1}[trainer.cfg.replayed]
    # Long enough that nothing of what DALI made during the compilation is left.
    before = math.ceil((recorded + (PREFETCH + 2) * a_call) / a_call) * a_call
    count = math.ceil(STEPS / a_call) * a_call
    clock = Clock(trainer.device)
    begin = time.perf_counter()
    trainer.training_step(next(loader))
    clock.synchronize()
    first_step = time.perf_counter() - begin
    for _ in range(before - 1):
        trainer.training_step(next(loader))
    clock.synchronize()
    first_steps = time.perf_counter() - begin - first_step
    waited = loader.wait_seconds
    clock.mark()
    for _ in range(count):
        trainer.training_step(next(loader))
        clock.mark()
    times = clock.seconds()
    return times, first_step, first_steps, (loader.wait_seconds - waited) / sum(times)


class Clock:
    """Moments between steps, on the device's stream or the host."""

    def __init__(self, device: torch.device):
        self.device = device
        self.marks: list[Any] = []

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def mark(self) -> None:
        if self.device.type != "cuda":
            self.marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        self.marks.append(event)

    def seconds(self) -> list[float]:
        """Between neighboring moments; waits for the device."""
        self.synchronize()
        pairs = zip(self.marks, self.marks[1:], strict=False)
        if self.device.type == "cuda":
            return [first.elapsed_time(second) / 1000 for first, second in pairs]
        return [second - first for first, second in pairs]


def slice_count(images: int, cfg: RunConfig, world_size: int) -> int:
    """Slices of each rank in an evaluation of so many images."""
    return math.ceil(images / (cfg.eval.batch * world_size))


def timed_slices(trainer: Trainer) -> tuple[float, float]:
    """Seconds of an evaluation of one network: without its slices, and for each of them."""
    a_slice = trainer.cfg.eval.batch * trainer.rank.world_size
    seconds = []
    which = "test" if trainer.data.test else "held_out"
    images = trainer.data.test_count or len(trainer.split.held_out)
    if not images:
        return 0.0, 0.0
    most = min(SLICES, slice_count(images, trainer.cfg, trainer.rank.world_size))
    for slices in (1, 1, most):  # the first tunes and allocates
        begin = time.perf_counter()
        trainer.evaluate("ema", which, slices * a_slice)
        seconds.append(time.perf_counter() - begin)
    _, one, several = seconds
    per_slice = max(0.0, several - one) / (most - 1) if most > 1 else one
    return max(0.0, one - per_slice), per_slice


def timed_checkpoint(trainer: Trainer) -> tuple[int, float, float]:
    """Size of a checkpoint, and the seconds to copy it to the host and to write it where the run's folder will be.

    The main process writes, into a file without a name, of which nothing remains.
    """
    cfg, begin = trainer.cfg, time.perf_counter()
    with trainer.training_step.whole_parameters():
        model = checkpoints.without_shared(trainer.algorithm.state_dict())[0]
        tensors = [value.detach().cpu() for value in model.values()]
        optimizer = optimizer_bytes(trainer.algorithm, cfg.optim)
    seconds = time.perf_counter() - begin
    copied = sum(tensor.nbytes for tensor in tensors)
    size = copied + optimizer
    copy = seconds * size / copied
    written = [0.0]

    def write() -> None:
        written[0] = write_seconds(cfg.run_folder, size)

    on_main(trainer.accelerator, write)
    return size, copy, written[0]


def write_seconds(folder: Path, size: int) -> float:
    """How long it takes to write so many bytes beside a folder, from a few of them."""
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    part = min(size, WRITTEN)
    chunk = os.urandom(min(part, 2**24))  # random: some file systems compress
    try:
        with tempfile.TemporaryFile(dir=parent) as file:
            begin = time.perf_counter()
            for first in range(0, part, len(chunk)):
                file.write(chunk[: part - first])
            file.flush()
            os.fsync(file.fileno())
            return (time.perf_counter() - begin) * size / part
    except OSError as error:
        raise UserError(f"out: a checkpoint cannot be written into {parent}: {error.strerror}") from error


# What follows from it.


@dataclass(frozen=True)
class Estimate:
    """The whole run: seconds, and counts."""

    steps: float
    evaluations: float
    checkpoints: float
    evaluation_count: int
    checkpoint_count: int
    kept: int
    """Checkpoints that stay on disk."""
    total: float
    """With start-up and compilation."""


def estimate(cfg: RunConfig, measured: Measured, test: int, held_out: int, world_size: int) -> Estimate:
    """What a run takes in all; `test` and `held_out` are numbers of images. Smaller steps than those that were measured
    are taken to be faster in proportion."""
    # The mean, not the median: a step that waits for data has its part in the run's time.
    steps = cfg.image_sizes.before(cfg.steps) / cfg.image_sizes.largest * statistics.fmean(measured.steps)
    evaluations = math.ceil(cfg.steps / cfg.eval.every)
    each = sum(
        len(WEIGHTS) * (measured.evaluation + slice_count(images, cfg, world_size) * measured.per_slice)
        for images in (test, held_out)
        if images
    )
    checkpoints = math.ceil(cfg.steps / cfg.checkpoint.every)
    parts = (steps, evaluations * each, checkpoints * (measured.copy + measured.write))
    return Estimate(
        *parts,
        evaluation_count=evaluations if test or held_out else 0,
        checkpoint_count=checkpoints,
        kept=min(cfg.checkpoint.keep, checkpoints) + (1 if held_out else 0),
        total=measured.start_up + measured.first_step + measured.first_steps + sum(parts),
    )


def rows(cfg: RunConfig, trainer: Trainer, measured: Measured, trial: str) -> list[tuple[str, str]]:
    """The lines of the table: what, and how much, of the run that `cfg` is. The trainer took its largest steps. trial:
    how it was known that the first one works."""
    split, views = trainer.split, cfg.views
    whole = estimate(cfg, measured, trainer.data.test_count, len(split.held_out), trainer.rank.world_size)
    mean, median = statistics.fmean(measured.steps), statistics.median(measured.steps)
    worst_rank = " of the worst rank" if trainer.rank.world_size > 1 else ""
    if trainer.device.type == "cuda":
        peak = (
            f"{readable_bytes(measured.allocated)} allocated, {readable_bytes(measured.reserved)} reserved by torch, "
            f"{readable_bytes(measured.in_use)} of the card in use (DALI and other processes included), "
            f"out of {readable_bytes(measured.memory)}{worst_rank}"
        )
    else:
        peak = (
            f"{readable_bytes(measured.allocated)} resident{worst_rank}, "
            f"out of the host's {readable_bytes(measured.memory)}"
        )
    size = measured.checkpoint
    largest = " of the largest batch" if len(cfg.image_sizes.sizes) > 1 else ""
    images = [f"{cfg.steps * cfg.batch.labeled:,} labeled, {epochs(cfg.steps * cfg.batch.labeled, split.labeled)}"]
    if views.unlabeled:
        seen = cfg.unlabeled_sizes.before(cfg.steps)
        images.append(f"{seen:,} unlabeled, {epochs(seen, split.unlabeled)}")
    return [
        ("peak memory", peak),
        ("step", f"{milliseconds(median)}{largest} (median of {len(measured.steps)}: "
                 f"{milliseconds(min(measured.steps))} to {milliseconds(max(measured.steps))}), "
                 f"{cfg.image_sizes.largest / mean:,.0f} images/s"),
        ("waiting for data", f"{measured.data_wait:.0%} of a step"),
        ("start-up", f"{measured.start_up:.1f} s: {phases_shown(measured.phases, trial)}"),
        ("first steps", f"{measured.first_step:.1f} s{' with the compilation' if cfg.compiled else ''}, then "
                        f"{measured.first_steps:.1f} s until they are as the others"),
        ("first checkpoint", f"{measured.copy:.2f} s to the host, {measured.write:.2f} s to the disk"),
        ("all steps", f"{duration(whole.steps)} for {cfg.steps:,}"),
        ("evaluations", f"{duration(whole.evaluations)} for {whole.evaluation_count:,}"),
        ("checkpoints", f"{duration(whole.checkpoints)} for {whole.checkpoint_count:,} of {readable_bytes(size)}; "
                        f"{whole.kept} kept: {readable_bytes(size * whole.kept)}"),
        ("images seen", "; ".join(images)),
        ("whole run", f"{duration(whole.total)}, {whole.total / 3600:,.2f} hours"),
    ]  # fmt: skip


def phases_shown(phases: dict[str, float], trial: str) -> str:
    """What the start went into; trial: what became of the trial of a step."""
    shown = {name: f"{name} {seconds:.2f} s" for name, seconds in phases.items()}
    if trial != "taken" and start_up.TRIAL in shown:
        shown[start_up.TRIAL] += f" ({trial})"
    return ", ".join(shown.values())


def epochs(seen: int, images: Sized) -> str:
    """How often each of some images is seen, in words."""
    return f"{seen / len(images):,.1f} epochs of {len(images):,}"


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def duration(seconds: float) -> str:
    """Days, hours, minutes and seconds as h:mm:ss; short ones with digits."""
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
