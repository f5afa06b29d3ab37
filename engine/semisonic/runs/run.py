"""A run from its configuration to its summary: checks, folder, trainer, baseline, comparison."""

import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from semisonic import start_up
from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint import snapshots
from semisonic.checkpoint.atomic_files import write_text, writing
from semisonic.config.command_line import Invocation
from semisonic.config.execution import Precision
from semisonic.config.migrations import read_saved
from semisonic.config.run_config import RunConfig
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.named_places import remember
from semisonic.data.sets.shown import as_shown
from semisonic.data.sets.splits import Split, split_notes
from semisonic.distributed import elastic
from semisonic.distributed.consistency import Diverged
from semisonic.distributed.engine import Accelerator
from semisonic.distributed.launcher import Launcher
from semisonic.distributed.preemption import Preemption
from semisonic.distributed.watchdog import StatusWriter, Watchdog
from semisonic.faults import arm, reach
from semisonic.frozen.features import Halted
from semisonic.models.starting_weights import line as weights_line
from semisonic.records import schemas
from semisonic.reporting.console import Console
from semisonic.runs.continuing import drawn_anew, extensions, lengthen
from semisonic.runs.first_step import try_first_step
from semisonic.runs.frozen_baselines import on_frozen_features
from semisonic.runs.known_data import adopt_data, check_data, check_ranks_alike
from semisonic.runs.memory_fit import Trial
from semisonic.runs.own_page import write_own_page
from semisonic.runs.ownership import RunFolders
from semisonic.runs.precision import with_precision
from semisonic.runs.run_folder import (
    as_begun,
    check_resumable,
    check_split,
    continued,
    create,
    status_replaced,
    write_status,
)
from semisonic.runs.summary import summarize
from semisonic.schema import ExitCode, UserError, exit_code
from semisonic.stopping import raise_if_stopped
from semisonic.text import dump_json
from semisonic.training import replay
from semisonic.training.build import begun, build_trainer, draw_split, load, with_classes
from semisonic.training.given import NOTHING, Given, check_alike, check_given
from semisonic.training.layer_rates import about_training
from semisonic.training.out_of_memory import explained
from semisonic.training.process import of_ranks, on_main, started
from semisonic.training.short_runs import short_run_notes
from semisonic.training.trainer import Trainer


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
    given: Given
    folders: RunFolders
    precision: Precision
    baseline: RunConfig | None = None
    """The supervised baseline's configuration, where there is to be one."""
    extend: bool = False
    """Whether a run of another length is planned anew."""

    @property
    def main(self) -> bool:
        return self.accelerator.is_main_process


@dataclass(frozen=True)
class Outcome:
    """How a run has ended, the same on every rank."""

    code: ExitCode
    summary: dict[str, Any] | None = None
    """That of summary.json; None where the run ended early."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Every evaluation of the main run, in order."""
    reason: str | None = None
    """What has stopped it early: a signal's name, or max_hours."""
    step: int = 0


def execute(invocation: Invocation, trial: type[Trial] | None = None) -> int:
    """Trains what the command line asked for; returns the process's exit code.

    trial: what is tried before the run's folder is made; by default a real step, which on a GPU also finds how many
    micro-batches fit into its memory.
    """
    return run(invocation, trial=trial).code


def run(invocation: Invocation, given: Given = NOTHING, trial: type[Trial] | None = None) -> Outcome:
    """Trains what a command line or a call in Python asked for, and leaves the process as it was."""
    arm()
    start_up.begin(invocation.clock)
    check_given(invocation.cfg, given)
    with (
        Launcher() as launcher,
        started(invocation.cfg) as accelerator,
        # Not around joining the other ranks, where nothing would read its flag: there a signal ends the process.
        Preemption(launcher) as preemption,
        Watchdog(invocation.cfg.health, exit_code, invocation.debug) as watchdog,
        RunFolders() as folders,
    ):
        return _run(invocation, given, accelerator, watchdog, preemption, folders, trial)


def _run(
    invocation: Invocation,
    given: Given,
    accelerator: Accelerator,
    watchdog: Watchdog,
    preemption: Preemption,
    folders: RunFolders,
    trial: type[Trial] | None,
) -> Outcome:
    asked, begin = invocation.cfg, time.monotonic()
    start_up.mark(start_up.RANKS)
    console = Console(accelerator.is_main_process and not given.quiet)
    folders.say = console.print
    check_alike(asked, accelerator)
    resume = invocation.resume or on_main(accelerator, lambda: elastic.was_begun(asked.run_folder))
    on_main(accelerator, lambda: folders.begin(asked, resume))
    if resume:
        asked = on_main(accelerator, lambda: as_begun(asked))
    asked, precision = with_precision(asked, invocation.cfg.precision)
    cfg = on_main(accelerator, lambda: continued(asked)) if resume else asked
    if cfg.batch.micro != asked.batch.micro:
        console.print(f"batch.micro: the run goes on with its {cfg.batch.micro} micro-batches a step")
    begun = on_main(accelerator, lambda: check_resumable(cfg, resume, invocation.extend))
    data = read_data(cfg, invocation, given, accelerator, begun)
    cfg, asked = with_classes(cfg, data), with_classes(asked, data)
    split = draw_split(cfg, data)
    if begun:
        on_main(accelerator, lambda: check_split(cfg, split))
    start_up.mark(start_up.DATA)
    # Refuses what does not fit, before anything is written.
    tried = try_first_step(cfg, asked, begun, data, split, accelerator, console, given, trial)
    cfg, baseline = tried.cfg, tried.baseline
    start_up.mark(start_up.TRIAL)
    reach("begin")
    raise_if_stopped()
    of_ranks(None)  # what one rank alone refuses, or is stopped by, leaves nothing behind either
    if not begun:
        on_main(accelerator, lambda: folders.own_new(cfg))
    notes = on_main(accelerator, lambda: begin_run(cfg, split, data, invocation.extend))
    drawn = split_notes(split, data.train.labels, data.classes)
    for note in (*data.notes, *drawn, *cfg.composition.notes, *notes):
        console.print(note)
    # The main run records its own failures; this is for the baseline's, and for what goes wrong around both.
    with watchdog.recording(status_writer(cfg, folders)):

        def stop() -> str | None:
            late = cfg.max_hours is not None and time.monotonic() - begin > 3600 * cfg.max_hours
            return preemption.received or ("max_hours" if late else None)

        session = Session(
            accelerator, console, data, split, stop, watchdog, given, folders, precision, baseline, invocation.extend
        )
        start_up.mark(start_up.FOLDER)
        outcome = train_with_baseline(cfg, session)
    if outcome.summary:
        console.result(outcome.summary, cfg.run_folder)
    return outcome


def read_data(cfg: RunConfig, invocation: Invocation, given: Given, accelerator: Accelerator, begun: bool) -> DataSet:
    """The images: alike on all ranks, and, where the run has begun, those that it began with."""
    # The ranks share the manifest of a folder through a lock: one of them scans.
    data = as_shown(given.data, cfg.data) if given.data else load(cfg, accelerator, invocation.verify_data)
    check_ranks_alike(data, accelerator)
    if begun:
        on_main(accelerator, lambda: check_data(cfg.run_folder, data))
    return data


def status_writer(cfg: RunConfig, folders: RunFolders) -> StatusWriter:
    """What writes into the run's status.json why it failed, unless that has been written already.

    Nothing is written into a folder that is not the run's any more. Where it cannot be written, the error itself stays
    the one to report.
    """

    def write(step: int, reason: str, code: int) -> bool:
        if problem := folders.problem:
            elastic.record_loss(cfg.run_folder, problem)
            return True
        if status_replaced(cfg.run_folder)[0].get("status") == "failed":
            return False
        try:
            write_status(cfg.run_folder, "failed", step, cfg.steps, reason, code)
        except UserError as error:
            print(f"{error}", file=sys.stderr)
        return True

    return write


def begin_run(cfg: RunConfig, split: Split, data: DataSet, extend: bool = False) -> list[str]:
    """Makes the run's folder, or marks the run in it as running again: what it failed with before is over.

    extend: a run that is continued at another length is planned anew. Returns what to tell about it.
    """
    elastic.record_run(cfg.run_folder)
    remember(cfg.data)
    create(cfg, split, data)
    notes = [*read_saved(cfg.run_folder).notes, *adopt_data(cfg.run_folder, data), *lengthen(cfg, extend)]
    before, damage = status_replaced(cfg.run_folder)
    write_status(cfg.run_folder, "running", before.get("step", 0), cfg.steps)
    return notes + damage


def train_with_baseline(cfg: RunConfig, session: Session) -> Outcome:
    """The main run, after the baselines on frozen features and the supervised one where they are asked for."""
    try:
        frozen = on_frozen_features(
            cfg, session.data, session.split, session.accelerator, activity=session.watchdog.activity,
            stop=session.stop, say=session.console.print, network=session.given.network,
        )  # fmt: skip
    except Halted as error:
        return halted(cfg, session, str(error))
    beside: dict[str, Any] = {"frozen": frozen} if frozen else {}
    baseline_cfg = session.baseline
    if baseline_cfg is None:
        return train(cfg, session, beside)
    session.console.print("Supervised baseline: the same labels, without the unlabeled images")
    if session.main:
        write_status(cfg.run_folder, "running", 0, cfg.steps, "supervised baseline")
    on_main(session.accelerator, lambda: begin_baseline(baseline_cfg, session))
    baseline = train(baseline_cfg, replace(session, given=replace(session.given, evaluated=None)))
    if baseline.summary is None:
        if session.main:
            write_status(cfg.run_folder, "stopped", 0, cfg.steps, "during the supervised baseline", baseline.code)
        return Outcome(baseline.code, reason=baseline.reason)
    # The baseline's weights and pipelines must not stay on the device beside the main run's.
    session.accelerator.free_memory()
    gc.collect()
    if session.accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    session.console.print(f"\n{cfg.algorithm.name}: the same labels and the unlabeled images")
    return train(cfg, session, {"baseline": baseline.summary, **beside})


def halted(cfg: RunConfig, session: Session, reason: str) -> Outcome:
    """The outcome of a run that is to stop before its first step, for baselines on frozen features."""
    code = ExitCode.OK if reason == "max_hours" else ExitCode.STOPPED
    if session.main:
        step = status_replaced(cfg.run_folder)[0].get("step", 0)
        write_status(cfg.run_folder, "stopped", step, cfg.steps, reason, code)
    session.console.print(f"Stopped during the baselines on frozen features ({reason}); --resume continues")
    return Outcome(code, reason=reason)


def begin_baseline(cfg: RunConfig, session: Session) -> None:
    """Makes the baseline's folder, or has the baseline in it become as long as the main run is by now."""
    session.folders.check()
    session.folders.own(cfg.run_folder)
    create(cfg, session.split, session.data)
    adopt_data(cfg.run_folder, session.data)
    lengthen(cfg, session.extend)


def train(cfg: RunConfig, session: Session, beside: dict[str, Any] | None = None) -> Outcome:
    """One training run in `cfg.run_folder`. beside: the summary of its baseline, and of those on frozen features, which
    become part of its own."""
    folder, console = cfg.run_folder, session.console

    def status(name: str, step: int, reason: str | None = None, code: int | None = None) -> None:
        def write() -> None:
            session.folders.check()
            write_status(folder, name, step, cfg.steps, reason, code)

        on_main(session.accelerator, write)

    done, latest = on_main(session.accelerator, lambda: where_it_stands(cfg, session.folders))
    if done:
        status("finished", cfg.steps, code=ExitCode.OK)
        console.print(f"{folder} is finished")
        return on_main(session.accelerator, lambda: finished_before(cfg, latest, beside or {}))
    trainer = prepared(cfg, session, latest)
    status("running", trainer.step)
    reason = take_steps(trainer, session)
    if reason:
        code = ExitCode.OK if reason == "max_hours" else ExitCode.STOPPED
        status("stopped", trainer.step, reason, code)
        console.print(f"Stopped at step {trainer.step:,} ({reason}) with a checkpoint; --resume continues")
        return Outcome(code, None, trainer.history, reason, trainer.step)

    def summary() -> dict[str, Any]:
        session.folders.check()
        extended = extensions(folder)
        own = ({"extended": extended} if extended else {}) | (beside or {})
        return write_summary(folder, summarize(trainer) | own)

    content = on_main(session.accelerator, summary)
    status("finished", trainer.step, code=ExitCode.OK)
    on_main(session.accelerator, lambda: write_own_page(trainer))
    return Outcome(ExitCode.OK, content, trainer.history, None, trainer.step)


def where_it_stands(cfg: RunConfig, folders: RunFolders) -> tuple[bool, Path | None]:
    """Whether the run in `cfg.run_folder` is finished, and its newest checkpoint; what lies beyond that one goes."""
    folders.check()
    folder = cfg.run_folder
    checkpoints.tidy(folder / "checkpoints")
    done, latest = (folder / "summary.json").exists(), checkpoints.latest(folder / "checkpoints")
    if not done:
        step = int(latest.name.removeprefix("step-")) if latest else 0
        snapshots.go_back(folder, step, snapshots.due(cfg.steps, cfg.checkpoint.snapshots))
    return done, latest


def prepared(cfg: RunConfig, session: Session, latest: Path | None) -> Trainer:
    """A trainer at the run's first step or at its newest checkpoint, and what there is to tell about it."""
    console = session.console
    reports: list[str] = []
    trainer = build_trainer(
        cfg, session.data, session.split, session.accelerator,
        fresh=not latest, say=reports.append, activity=session.watchdog.activity, network=session.given.network,
    )  # fmt: skip
    session.watchdog.wait_for_checkpoint = trainer.checkpoint_writer.rest
    trainer.checkpoint_writer.check, session.folders.settle = session.folders.check, trainer.checkpoint_writer.settle
    console.start_up(
        cfg, session.data, session.split, trainer.rank, trainer.device, cfg.execution.threads,
        {"precision": session.precision.text, **about_training(trainer.training_step.engines)},
    )  # fmt: skip
    if latest:
        reach("restore")
        checkpoint = checkpoints.load_checkpoint(latest)
        trainer.restore(checkpoint)
        trainer.weights = checkpoint.state.get("weights")
        console.print(f"Resumed from {latest}")
        for note in drawn_anew(trainer.algorithm, checkpoint.state):
            console.print(note)
    if trainer.weights:
        console.print(weights_line(trainer.weights))
    for note in [] if latest else short_run_notes(cfg, trainer.algorithm):
        console.print(note)
    for report in reports:
        console.print(report)
        trainer.save()  # so that a resumed run starts from these weights too
    return trainer


def take_steps(trainer: Trainer, session: Session) -> str | None:
    """Trains to the last step; returns why it ended early, or None. What goes wrong is explained and recorded."""
    cfg, console = trainer.cfg, session.console
    start_up.mark(start_up.NETWORK)
    memory_explained = explained(cfg, trainer.rank, trainer.device, lambda: trainer.step)
    with session.watchdog.recording(status_writer(cfg, session.folders)), memory_explained:
        try:
            return trainer.train(console, session.stop, session.given.evaluated if session.main else None)
        except Diverged as error:
            begin = partial(begun, cfg, session.data, session.split, network=session.given.network)
            raise replay.explained(error, trainer, begin, session.stop, console.print) from None
        except BaseException:
            trainer.checkpoint_writer.settle()  # the write in flight may be the last good checkpoint
            if trainer.checkpoint_writer.failed:
                console.print(f"{trainer.checkpoint_writer.error}")
            raise


def write_summary(folder: Path, summary: dict[str, Any]) -> dict[str, Any]:
    with writing(folder / "summary.json"):
        write_text(folder / "summary.json", dump_json(summary, indent=1) + "\n")
    return summary


def finished_before(cfg: RunConfig, latest: Path | None, beside: dict[str, Any]) -> Outcome:
    """The outcome of a run whose folder has its summary already; its last checkpoint has the history."""
    summary = schemas.summary(cfg.run_folder / "summary.json")
    if missing := {name: value for name, value in beside.items() if name not in summary}:
        summary = write_summary(cfg.run_folder, summary | missing)
    history = checkpoints.load_state(latest)["history"] if latest else []
    return Outcome(ExitCode.OK, summary, history, None, cfg.steps)
