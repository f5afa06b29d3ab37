"""A run from its configuration to its summary: checks, folder, trainer, baseline, comparison."""

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint.atomic_files import write_text, writing
from semisonic.config.command_line import Invocation
from semisonic.config.migrations import read_saved
from semisonic.config.run_config import RunConfig
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.registry import load_data_set
from semisonic.data.sets.splits import Split
from semisonic.distributed import elastic
from semisonic.distributed.engine import Accelerator
from semisonic.distributed.preemption import Preemption
from semisonic.distributed.watchdog import StatusWriter, Watchdog
from semisonic.reporting.console import Console
from semisonic.runs.continuing import extensions, lengthen
from semisonic.runs.memory_fit import Trial, fit_steps
from semisonic.runs.run_folder import (
    check_resumable,
    check_split,
    continued,
    create,
    read_status,
    read_step,
    write_status,
)
from semisonic.runs.summary import summarize
from semisonic.schema import ExitCode, UserError, exit_code
from semisonic.training.build import build_algorithm, build_trainer, draw_split, initialize
from semisonic.training.out_of_memory import explained
from semisonic.training.process import on_main, start


@dataclass
class Session:
    """What the baseline and the main run of one process share."""

    accelerator: Accelerator
    console: Console
    data: DataSet
    split: Split
    stop: Callable[[], str | None]
    """Why to stop now: a signal's name, "max_hours", or None."""
    watchdog: Watchdog
    baseline: RunConfig | None = None
    """The supervised baseline's configuration, where there is to be one."""
    extend: bool = False
    """Whether a run of another length is planned anew."""

    @property
    def main(self) -> bool:
        return self.accelerator.is_main_process


def execute(invocation: Invocation, trial: type[Trial] | None = None) -> int:
    """Trains what the command line asked for; returns the process's exit code.

    trial: what is tried before the run's folder is made; by default a real step on a GPU, and nothing on the CPU, where
    the kernel kills a process that takes too much memory.
    """
    accelerator = start(invocation.cfg)
    with Watchdog(invocation.cfg.health, exit_code, invocation.debug) as watchdog:
        code = _execute(invocation, accelerator, watchdog, trial)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return code


def _execute(invocation: Invocation, accelerator: Accelerator, watchdog: Watchdog, trial: type[Trial] | None) -> int:
    asked, begin = invocation.cfg, time.monotonic()
    console = Console(accelerator.is_main_process)
    resume = invocation.resume or on_main(accelerator, lambda: elastic.was_begun(asked.run_folder))
    cfg = on_main(accelerator, lambda: continued(asked)) if resume else asked
    if cfg != asked:
        console.print(f"batch.micro: the run goes on with its {cfg.batch.micro} micro-batches a step")
    started = on_main(accelerator, lambda: check_resumable(cfg, resume, invocation.extend))
    data = load_data_set(cfg.data)  # the ranks share the manifest of a folder through a lock: one of them scans
    split = draw_split(cfg, data)
    if not started:  # refuses what does not fit, before anything is written
        built = build_algorithm(cfg, data, split)
        if cfg.init:
            initialize(built, cfg.init)
        del built
    if started:
        on_main(accelerator, lambda: check_split(cfg, split))
    cfg, baseline = fit_steps(cfg, asked, started, data, split, accelerator, console, trial)
    notes = on_main(accelerator, lambda: begin_run(cfg, split, invocation.extend))
    for note in (*data.notes, *cfg.composition.notes, *notes):
        console.print(note)
    # The main run records its own failures; this is for the baseline's, and for what goes wrong around both.
    with Preemption() as preemption, watchdog.recording(status_writer(cfg)):

        def stop() -> str | None:
            late = cfg.max_hours is not None and time.monotonic() - begin > 3600 * cfg.max_hours
            return preemption.received or ("max_hours" if late else None)

        session = Session(accelerator, console, data, split, stop, watchdog, baseline, invocation.extend)
        code, summary = train_with_baseline(cfg, session)
    if summary:
        console.result(summary, cfg.run_folder)
    return code


def status_writer(cfg: RunConfig) -> StatusWriter:
    """What writes into the run's status.json why it failed, unless that has been written already.

    Where it cannot be written, the error itself stays the one to report.
    """

    def write(step: int, reason: str, code: int) -> bool:
        if read_status(cfg.run_folder) == "failed":
            return False
        try:
            write_status(cfg.run_folder, "failed", step, cfg.steps, reason, code)
        except UserError as error:
            print(f"{error}", file=sys.stderr)
        return True

    return write


def begin_run(cfg: RunConfig, split: Split, extend: bool = False) -> list[str]:
    """Makes the run's folder, or marks the run in it as running again: what it failed with before is over.

    extend: a run that is continued at another length is planned anew. Returns what to tell about it.
    """
    elastic.record_run(cfg.run_folder)
    create(cfg, split)
    notes = [*read_saved(cfg.run_folder).notes, *lengthen(cfg, extend)]
    write_status(cfg.run_folder, "running", read_step(cfg.run_folder), cfg.steps)
    return notes


def train_with_baseline(cfg: RunConfig, session: Session) -> tuple[int, dict[str, Any] | None]:
    """The main run, after its supervised baseline where one is asked for."""
    baseline_cfg = session.baseline
    if baseline_cfg is None:
        return train(cfg, session)
    session.console.print("Supervised baseline: the same labels, without the unlabeled images")
    if session.main:
        write_status(cfg.run_folder, "running", 0, cfg.steps, "supervised baseline")
    on_main(session.accelerator, lambda: begin_baseline(baseline_cfg, session))
    code, baseline = train(baseline_cfg, session)
    if baseline is None:
        if session.main:
            write_status(cfg.run_folder, "stopped", 0, cfg.steps, "during the supervised baseline", code)
        return code, None
    # The baseline's weights and pipelines must not stay on the device beside the main run's.
    session.accelerator.free_memory()
    gc.collect()
    if session.accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    session.console.print(f"\n{cfg.algorithm.name}: the same labels and the unlabeled images")
    return train(cfg, session, baseline)


def begin_baseline(cfg: RunConfig, session: Session) -> None:
    """Makes the baseline's folder, or has the baseline in it become as long as the main run is by now."""
    create(cfg, session.split)
    lengthen(cfg, session.extend)


def train(
    cfg: RunConfig, session: Session, baseline: dict[str, Any] | None = None
) -> tuple[int, dict[str, Any] | None]:
    """One training run in `cfg.run_folder`: (exit code, summary, or None where it ended early)."""
    folder, console = cfg.run_folder, session.console
    finished = folder / "summary.json"
    summary: dict[str, Any]

    def status(name: str, step: int, reason: str | None = None, code: int | None = None) -> None:
        on_main(session.accelerator, lambda: write_status(folder, name, step, cfg.steps, reason, code))

    def write_summary() -> None:
        with writing(finished):
            write_text(finished, json.dumps(summary, indent=1) + "\n")

    def found() -> tuple[bool, Path | None]:
        checkpoints.tidy(folder / "checkpoints")
        return finished.exists(), checkpoints.latest(folder / "checkpoints")

    done, latest = on_main(session.accelerator, found)
    if done:
        status("finished", cfg.steps, code=ExitCode.OK)
        console.print(f"{folder} is finished")
        summary = on_main(session.accelerator, lambda: json.loads(finished.read_text()))
        if baseline and "baseline" not in summary:
            summary["baseline"] = baseline
            on_main(session.accelerator, write_summary)
        return ExitCode.OK, summary
    reports: list[str] = []
    trainer = build_trainer(
        cfg, session.data, session.split, session.accelerator,
        fresh=not latest, say=reports.append, activity=session.watchdog.activity,
    )  # fmt: skip
    session.watchdog.wait_for_checkpoint = trainer.checkpoint_writer.rest
    console.start_up(cfg, session.data, session.split, trainer.rank, trainer.device, cfg.execution.threads)
    if latest:
        trainer.restore(checkpoints.load_checkpoint(latest))
        console.print(f"Resumed from {latest}")
    for report in reports:
        console.print(report)
        trainer.save()  # so that a resumed run starts from these weights too
    status("running", trainer.step)
    memory_explained = explained(cfg.batch, trainer.rank, trainer.device, lambda: trainer.step)
    with session.watchdog.recording(status_writer(cfg)), memory_explained:
        try:
            reason = trainer.train(console, session.stop)
        except BaseException:
            trainer.checkpoint_writer.settle()  # the write in flight may be the last good checkpoint
            if trainer.checkpoint_writer.failed:
                console.print(f"{trainer.checkpoint_writer.error}")
            raise
    if reason:
        code = ExitCode.OK if reason == "max_hours" else ExitCode.STOPPED
        status("stopped", trainer.step, reason, code)
        console.print(f"Stopped at step {trainer.step:,} ({reason}) with a checkpoint; --resume continues")
        return code, None
    summary = {}
    if session.main:
        extended = extensions(folder)
        summary = summarize(trainer) | ({"extended": extended} if extended else {})
        summary |= {"baseline": baseline} if baseline else {}
    on_main(session.accelerator, write_summary)
    status("finished", trainer.step, code=ExitCode.OK)
    return ExitCode.OK, summary
