"""What `--plan` says of memory before it takes a step: the predicted peak, and what would help where it is too much.

A step on the CPU that does not fit would be ended by the system, and this process with it: it is not taken then.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from semisonic.algorithms.base import Algorithm
from semisonic.config.help import table
from semisonic.config.run_config import RunConfig
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.splits import Split
from semisonic.distributed.variables import local_world_size
from semisonic.reporting.console import Console
from semisonic.reporting.reporters import reason
from semisonic.runs.dry_step import free_bytes
from semisonic.runs.live_bytes import Kind
from semisonic.runs.memory_fit import queue_bytes, step_of
from semisonic.runs.predicted_memory import Predicted, predict
from semisonic.schema import UserError
from semisonic.training.memory_advice import Remedy, advice, fewer_evaluated, remedies, together
from semisonic.training.out_of_memory import readable_bytes

NAMES: dict[Kind, str] = {
    "parameters": "parameters", "gradients": "gradients", "optimizer": "optimizer", "ema": "EMA and state",
    "images": "images", "activations": "activations",
}  # fmt: skip


CPU_SHARE = 0.75
"""Part of the host's free memory that tensors can take: the system's allocator keeps gaps, and a step's peak is not the
only moment at which a process grows (`benchmarks/memory.py` shows the resident peaks beside)."""


@dataclass(frozen=True)
class Help:
    """What makes a run need less."""

    remedy: Remedy
    needed: int
    """Bytes that it then takes, as predicted."""


@dataclass(frozen=True)
class Foreseen:
    """A run's memory on one rank, in bytes."""

    free: int
    """What the device, or the host for each of its ranks, has to give now, beside DALI's queue."""
    queue: int
    """Finished views in DALI's queue, beside torch's allocator."""
    own: Predicted | None
    problem: str = ""
    """Why nothing is predicted."""
    helps: tuple[Help, ...] = ()
    """Where the run needs too much."""

    @property
    def refused(self) -> bool:
        """Whether the run is predicted not to fit."""
        return self.own is not None and self.own.most > self.free


def foresee(
    cfg: RunConfig, data: DataSet, split: Split, build: Callable[[RunConfig], Algorithm], device: torch.device
) -> Foreseen:
    """Predicts the memory of a run, and where it is too much, of the run with each remedy and with all of them.

    build: makes the run's algorithm on the CPU.
    """
    queue = queue_bytes(cfg, data.size, cfg.execution.world_size, device)
    free = free_memory_of(device) - queue
    try:
        own = predict(cfg, data, split, build)
    except UserError:
        raise
    except Exception as error:  # where the step itself fails, it will say so
        return Foreseen(free, queue, None, reason(error))
    helps: list[Help] = []
    if own.peak > free:
        found = remedies(cfg)
        helps += [Help(remedy, predict(remedy.cfg, data, split, build).peak) for remedy in found]
        all_of_them = together(cfg, found) if len(found) > 1 else None
        if all_of_them is not None and all(one.needed > free for one in helps):
            helps.append(Help(all_of_them, predict(all_of_them.cfg, data, split, build).peak))
    if own.evaluation > free:
        fewer = fewer_evaluated(cfg, fitting_slice(cfg.eval.batch, own, free))
        helps.append(Help(fewer, predict(fewer.cfg, data, split, build).evaluation))
    return Foreseen(free, queue, own, "", tuple(helps))


def fitting_slice(images: int, own: Predicted, free: int) -> int:
    """Images of an evaluation that fit: what it takes beside the network grows with their number."""
    fixed = own.step["parameters"] + own.step["ema"]
    return max(1, min(images // 2, int(images * (free - fixed) / (own.evaluation - fixed))))


def free_memory_of(device: torch.device) -> int:
    """Bytes of tensors that a rank may still take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(CPU_SHARE * free_bytes()) // local_world_size()


def predicted_row(foreseen: Foreseen) -> tuple[str, str]:
    """The line of the plan's table."""
    own = foreseen.own
    if own is None:
        return "predicted peak", f"not predicted: {foreseen.problem}"
    parts = sorted(((size, NAMES[kind]) for kind, size in own.step.items() if size), reverse=True)
    listed = ", ".join(f"{readable_bytes(size)} {name}" for size, name in parts)
    return "predicted peak", (
        f"{readable_bytes(own.peak)} in an uncompiled step, as torch's allocator counts: {listed}; "
        f"{readable_bytes(own.evaluation)} in an evaluation; and {readable_bytes(foreseen.queue)} of finished views"
    )


def remedy_rows(foreseen: Foreseen) -> list[tuple[str, str]]:
    """What makes the run fit and what does not, for a table."""

    def verdict(needed: int) -> str:
        return f"{readable_bytes(needed)} predicted: {'fits' if needed <= foreseen.free else 'does not fit'}"

    return [(one.remedy.fields, verdict(one.needed)) for one in foreseen.helps]


@contextmanager
def remedies_shown(console: Console, foreseen: Foreseen) -> Iterator[None]:
    """Around what ends with a `UserError` where memory is too small: shows what would help, before the error."""
    try:
        yield
    except UserError:
        if foreseen.refused:
            rows = [predicted_row(foreseen), *remedy_rows(foreseen)]
            console.rich.print(table("Memory: nothing was written", rows, ("", "")), highlight=False)
        raise


def refuse_what_would_kill(foreseen: Foreseen, cfg: RunConfig, device: torch.device) -> None:
    """Raises `UserError` on the CPU for a run that is predicted not to fit; a GPU is tried."""
    if device.type == "cuda" or foreseen.own is None or not foreseen.refused:
        return
    own, helps = foreseen.own, [one.remedy.fields for one in foreseen.helps if one.needed <= foreseen.free]
    if own.peak > foreseen.free:
        begin = f"batch.labeled: a {step_of(cfg)} takes {readable_bytes(own.peak)}"
    else:
        begin = f"eval.batch: an evaluation of {cfg.eval.batch} images a rank takes {readable_bytes(own.evaluation)}"
    raise UserError(
        f"{begin} as predicted, but {readable_bytes(max(0, foreseen.free))} are free for a rank here, and it was not "
        f"tried; {'it fits with ' + ' or with '.join(helps) if helps else advice(cfg)}"
    )
