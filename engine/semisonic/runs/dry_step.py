"""A step and a small evaluation before a run's folder is made, with an algorithm that is thrown away.

Whatever fails in the first batch fails here: a layer that an image is too small for, BatchNorm of a single value, a
network or algorithm of the user's own, memory that is far too small. It is one line then, and nothing was written.

On a GPU this is part of the trial of memory (`memory_fit`). On the CPU it costs as much as one step of the run, and no
network is built for it. Nothing of the run changes: all its generators stand where they stood, and its weights are
drawn afterwards.
"""

import os
import random
import resource
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch

from semisonic.algorithms.base import Algorithm
from semisonic.config.run_config import RunConfig
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.splits import Split
from semisonic.distributed.engine import Accelerator
from semisonic.distributed.variables import local_world_size
from semisonic.models import wrapped
from semisonic.models.wrapped import NetworkFactory
from semisonic.reporting.reporters import reason
from semisonic.runs.memory_fit import Trial, agreed, host_group, step_of
from semisonic.schema import UserError
from semisonic.training.build import build_algorithm
from semisonic.training.memory_advice import advice
from semisonic.training.out_of_memory import out_of_memory, readable_bytes
from semisonic_kernels import fuse

EVALUATED = 2
"""Images of the evaluation."""
LIBRARIES = tuple(
    Path(file).parent for file in (Path(__file__).parent, fuse.__file__, Path(torch.__file__).parent, os.__file__)
)
"""Folders of what is no user's own code: this package, the kernels, installed packages and Python."""
CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")
UNKNOWN = 2**62
"""Bytes where the system does not say how many."""


def dry_steps(
    cfg: RunConfig, built: Algorithm, data: DataSet, split: Split, accelerator: Accelerator,
    network: NetworkFactory | None = None,
) -> None:  # fmt: skip
    """Takes the first step of a run on the CPU, and of its baseline; to be called by all ranks.

    built: the run's algorithm, which is spoiled. network: makes the networks that no configuration can build. Raises
    `UserError` on every rank where one of them fails.
    """
    runs = [(cfg, built)]
    if cfg.baseline:
        baseline = cfg.supervised_baseline()
        runs.append((baseline, build_algorithm(baseline, data, split, fresh=False, factory=network)))
    with host_group() as group:
        for run, algorithm in runs:
            trial = Trial(lambda _, made=algorithm: made, data, split, accelerator.device)  # type: ignore[misc]
            with explained(run, data), generators_kept(), memory_limited() as free:
                shortage = agreed(lambda: step_and_evaluation(trial, run), trial, group)  # noqa: B023
            if shortage:
                raise UserError(
                    f"batch.labeled: a {step_of(run)} does not fit into the memory that is free here, "
                    f"{readable_bytes(free)} a rank; {advice(run)} ({shortage.cause})"
                )


def step_and_evaluation(trial: Trial, cfg: RunConfig) -> None:
    trial.step(cfg, compiled=False)
    few = cfg.eval.model_copy(update={"batch": min(EVALUATED, cfg.eval.batch)})
    trial.evaluation(cfg.model_copy(update={"eval": few}))


@contextmanager
def explained(cfg: RunConfig, data: DataSet) -> Iterator[None]:
    """An error of a run's first step inside, but running out of memory, is a `UserError` in one line."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or out_of_memory(error):
            raise
        own = "network" if cfg.model.name == wrapped.GIVEN else "model.name"
        images = f"{cfg.batch.labeled} labeled" + (f" + {cfg.batch.unlabeled} unlabeled" if cfg.views.unlabeled else "")
        raise UserError(
            f"{own}, data.size, batch.labeled: the first step of {cfg.algorithm.name} fails with {cfg.model.name}, "
            f"images of {data.size}x{data.size} and a batch of {images}: {reason(error)}{_place(error)}; change one of "
            "these (--debug shows where it fails)"
        ) from error


def _place(error: Exception) -> str:
    """Where a user's own code failed: its last line in the traceback that is in no library."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [(file, line) for file, line in frames if file.is_file() and not any(map(file.is_relative_to, LIBRARIES))]
    return f" ({own[-1][0].name}, line {own[-1][1]})" if own else ""


@contextmanager
def generators_kept() -> Iterator[None]:
    """Python's and NumPy's, which a user's own code may draw from; the trial keeps torch's."""
    before = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


@contextmanager
def memory_limited() -> Iterator[int]:
    """Inside, the process gets no more memory than this rank's share of what is free now, whose bytes this gives: it
    is an error then, where otherwise the system would kill the process."""
    free = free_bytes() // local_world_size()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = data_bytes() + free
    lower = limit < UNKNOWN // local_world_size() and (before[0] == resource.RLIM_INFINITY or limit < before[0])
    if lower:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield free
    finally:
        if lower:
            resource.setrlimit(resource.RLIMIT_DATA, before)


def data_bytes() -> int:
    """What the process has of memory that it can write, touched or not."""
    return kilobytes(PROC / "self/status", "VmData:", UNKNOWN)


def free_bytes() -> int:
    """Memory that this process and others may still take before the system kills one."""
    meminfo = PROC / "meminfo"
    free = kilobytes(meminfo, "MemAvailable:", UNKNOWN) + kilobytes(meminfo, "SwapFree:", 0)
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        cached = next(
            line.split()[1] for line in (CGROUP / "memory.stat").read_text().splitlines() if "inactive_file" in line
        )
    except (OSError, StopIteration, ValueError):  # no container, or one of another kind
        return free
    return free if limit == "max" else min(free, max(0, int(limit) - int(used) + int(cached)))


def kilobytes(file: Path, name: str, otherwise: int) -> int:
    """The bytes of a line of /proc; `otherwise` where it is not there, as under a kernel of another kind."""
    with suppress(OSError, ValueError, IndexError, StopIteration):
        line = next(line for line in file.read_text().splitlines() if line.startswith(name))
        return 1024 * int(line.split()[1])
    return otherwise
