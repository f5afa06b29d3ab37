"""Does a run's first step work? It is tried before the run's folder is made.

On the CPU that is a step and a small evaluation (`dry_step`), on a GPU the search for the number of micro-batches that
fit (`memory_fit`). `trial` says whether: a trial that an equal run has passed (`passed_trials`) is not taken again.
"""

import resource
from collections.abc import Callable
from dataclasses import dataclass

import torch

from semisonic.config.run_config import RunConfig
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.splits import Split
from semisonic.distributed.engine import Accelerator
from semisonic.distributed.variables import local_world_size
from semisonic.models.starting_weights import fetch
from semisonic.reporting.console import Console
from semisonic.runs.dry_step import PROC, dry_steps, explained, free_bytes, kilobytes
from semisonic.runs.memory_fit import Trial, fit_steps
from semisonic.runs.passed_trials import PassedTrial, device_in_words, enough, place_of
from semisonic.training.build import build_algorithm, initialize
from semisonic.training.given import Given
from semisonic.training.process import of_ranks, on_main


@dataclass(frozen=True)
class Tried:
    """What came of it, the same on every rank."""

    cfg: RunConfig
    """With as many micro-batches as the largest step needs."""
    baseline: RunConfig | None
    answer: str
    """How it is known that the first step works: "taken", "passed before" or "off"."""


def try_first_step(
    cfg: RunConfig, asked: RunConfig, begun: bool, data: DataSet, split: Split, accelerator: Accelerator,
    console: Console, given: Given, trial: type[Trial] | None = None, keep: bool = True,
) -> Tried:  # fmt: skip
    """To be called by all ranks. `UserError` on all of them where the first step does not work.

    asked: the configuration before the run in the folder was looked at, which gives the baseline's. begun: the run goes
    on. trial: what is tried in place of a step. keep: a trial that has passed is kept for later runs.
    """
    device, place = accelerator.device, None
    if cfg.trial == "auto" and not begun and trial is None:
        devices = of_ranks(device_in_words(device))
        place = on_main(accelerator, lambda: place_of(cfg, data, split, devices, given))
    free = free_for_a_rank(device)
    passed = place is not None and passed_before(place, accelerator, free)
    answer = "passed before" if passed else "off" if cfg.trial == "off" and trial is None else "taken"
    before = _resident()
    if not begun and not passed:
        on_main(accelerator, lambda: fetch(cfg.model))
        dry = answer == "taken" and device.type == "cpu" and trial is None
        _try_out(cfg, data, split, accelerator, given, dry)
    with explained(cfg, data):
        fitted, baseline = fit_steps(
            cfg, asked, begun, data, split, accelerator, console, trial, given.network, known=answer != "taken"
        )
    unchanged = fitted is cfg and (baseline is None or baseline.batch.micro == asked.batch.micro)
    if keep and place is not None and not passed and unchanged:
        took = 0 if device.type == "cuda" else max(1, _peak() - before)
        keep_for_others(place, accelerator, free, took, console.print)
    return Tried(fitted, baseline, answer)


def _try_out(cfg: RunConfig, data: DataSet, split: Split, accelerator: Accelerator, given: Given, dry: bool) -> None:
    """Builds the run's algorithm, which is thrown away. dry: and takes a step with it."""
    built = build_algorithm(cfg, data, split, factory=given.network)
    if cfg.init:
        initialize(built, cfg.init, data.classes)
    if dry:
        dry_steps(cfg, built, data, split, accelerator, given.network)


def passed_before(place: PassedTrial, accelerator: Accelerator, free: int) -> bool:
    """Whether the trial has passed, and every rank has the memory for it now. By all ranks."""
    entry = on_main(accelerator, place.read)
    return all(of_ranks(entry is not None and enough(entry, free)))


def keep_for_others(
    place: PassedTrial, accelerator: Accelerator, free: int, took: int, say: Callable[[str], None]
) -> None:
    """Notes that the trial has passed; `say` is told where that cannot be written. By all ranks."""
    ranks = of_ranks((free, took))
    problem = on_main(accelerator, lambda: place.keep(*map(max, zip(*ranks, strict=True))))
    if problem:
        say(f"note: {problem}")


def free_for_a_rank(device: torch.device) -> int:
    """Bytes that a trial may take now: of the GPU, or this rank's share of the host's."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_bytes() // local_world_size()


def _resident() -> int:
    """Bytes of this process in the host's memory; 0 where the system does not say, which makes a trial look larger."""
    return kilobytes(PROC / "self/status", "VmRSS:", 0)


def _peak() -> int:
    """The most that it has had there so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
