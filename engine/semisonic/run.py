"""A run from its configuration to its summary: checks, folder, trainer, baseline, comparison."""

import gc
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from semisonic import state
from semisonic.algorithms.base import Algorithm, Info
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.commandline import Invocation
from semisonic.config import RunConfig
from semisonic.data.base import DataSet, Files
from semisonic.data.sources import load
from semisonic.data.splits import Split, load_split, make_split
from semisonic.files import write_text, writing
from semisonic.folder import check_resumable, create, read_status, write_status
from semisonic.models import build
from semisonic.models.norm import BatchNorm2d
from semisonic.report import Console
from semisonic.runtime import start, thread_count
from semisonic.schema import UserError
from semisonic.summary import summarise
from semisonic.trainer import Diverged, Trainer

EXIT_USER, EXIT_DIVERGED, EXIT_STOPPED = 2, 3, 75
"""Exit codes: a user's mistake; a loss that was not finite; stopped by a signal, to be continued with --resume."""


@dataclass
class Session:
    """What the baseline and the main run of one process share."""

    accelerator: Accelerator
    console: Console
    data: DataSet
    split: Split
    stop: Callable[[], str | None]
    """Why to stop now: a signal's name, "max_hours", or None."""

    @property
    def main(self) -> bool:
        return self.accelerator.is_main_process


def execute(invocation: Invocation) -> int:
    """Trains what the command line asked for; returns the process's exit code."""
    cfg, begin = invocation.cfg, time.monotonic()
    accelerator = start(cfg)
    console = Console(accelerator.is_main_process)
    started = check_resumable(cfg, invocation.resume)
    data = load(cfg.data)  # the ranks share the manifest of a folder through a lock: one of them scans
    split = draw_split(cfg, data)
    if cfg.init and not started:
        initialise(build_algorithm(cfg, data, split), cfg.init)  # refuses what does not fit, before anything is written
    if started and (written := cfg.folder / "split.npz").exists() and load_split(written).hash != split.hash:
        raise UserError(f"data: the images or labels are not those that {written} was drawn from")
    accelerator.wait_for_everyone()  # every rank has looked at the folder before one of them changes it
    on_main(accelerator, lambda: create(cfg, split))
    for note in data.notes:
        console.print(note)
    with state.Preemption() as preemption:

        def stop() -> str | None:
            late = cfg.max_hours is not None and time.monotonic() - begin > 3600 * cfg.max_hours
            return preemption.received or ("max_hours" if late else None)

        session = Session(accelerator, console, data, split, stop)
        try:
            code, summary = train_with_baseline(cfg, session)
        except BaseException as error:
            # The main run notes its own failures; this is for the baseline's, and for what goes wrong around both.
            if session.main and read_status(cfg.folder) != "failed":
                note_failure(cfg, console, 0, error)
            raise
    if summary:
        console.result(summary, cfg.folder)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return code


def exit_code(error: BaseException) -> int:
    """The exit code that an error ends the process with."""
    codes = {Diverged: EXIT_DIVERGED, UserError: EXIT_USER, KeyboardInterrupt: 130}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), 1)


def note_failure(cfg: RunConfig, console: Console, step: int, error: BaseException) -> None:
    """Has status.json tell job scripts of an error, which stays the one to report where that cannot be written."""
    try:
        write_status(cfg.folder, "failed", step, cfg.steps, f"{type(error).__name__}: {error}", exit_code(error))
    except UserError as second:
        console.print(f"{second}")


def on_main(accelerator: Accelerator, action: Callable[[], None]) -> None:
    """Runs `action` on the main process; a `UserError` there is raised on every rank, and none goes on before it."""
    failed: list[list[str] | None] = [None]
    if accelerator.is_main_process:
        try:
            action()
        except UserError as error:
            failed = [error.messages]
    broadcast_object_list(failed)
    if failed[0]:
        raise UserError(failed[0])


def draw_split(cfg: RunConfig, data: DataSet) -> Split:
    """The run's split. Raises `UserError` where the algorithm is left without unlabelled images."""
    paths = data.train.paths if isinstance(data.train, Files) else None
    split = make_split(cfg.data, data.train.labels, len(data.classes), cfg.seed, paths)
    views = ALGORITHMS[cfg.algorithm.name].views(cfg.algorithm)
    if views.unlabelled and not len(split.unlabelled):
        raise UserError(
            f"data.labels: every image is labelled, which leaves {cfg.algorithm.name} no unlabelled pool; "
            "set data.labels or data.unlabelled_includes_labelled"
        )
    return split


def train_with_baseline(cfg: RunConfig, session: Session) -> tuple[int, dict[str, Any] | None]:
    """The main run, after its supervised baseline where one is asked for."""
    if not cfg.baseline:
        return train(cfg, session)
    session.console.print("Supervised baseline: the same labels, without the unlabelled images")
    baseline_cfg = cfg.supervised_baseline()
    if session.main:
        write_status(cfg.folder, "running", 0, cfg.steps, "supervised baseline")
    on_main(session.accelerator, lambda: create(baseline_cfg, session.split))
    code, baseline = train(baseline_cfg, session)
    if baseline is None:
        if session.main:
            write_status(cfg.folder, "stopped", 0, cfg.steps, "during the supervised baseline", code)
        return code, None
    # The baseline's weights and pipelines must not stay on the device beside the main run's.
    session.accelerator.free_memory()
    gc.collect()
    if session.accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    session.console.print(f"\n{cfg.algorithm.name}: the same labels and the unlabelled images")
    return train(cfg, session, baseline)


def train(
    cfg: RunConfig, session: Session, baseline: dict[str, Any] | None = None
) -> tuple[int, dict[str, Any] | None]:
    """One training run in `cfg.folder`: (exit code, summary, or None where it ended early)."""
    folder, console = cfg.folder, session.console
    finished = folder / "summary.json"
    summary: dict[str, Any]

    def status(name: str, step: int, reason: str | None = None, code: int | None = None) -> None:
        on_main(session.accelerator, lambda: write_status(folder, name, step, cfg.steps, reason, code))

    def write_summary() -> None:
        with writing(finished):
            write_text(finished, json.dumps(summary, indent=1) + "\n")

    if finished.exists():
        status("finished", cfg.steps, code=0)
        console.print(f"{folder} is finished")
        summary = json.loads(finished.read_text())
        if baseline and "baseline" not in summary:
            summary["baseline"] = baseline
            if session.main:
                write_summary()
        return 0, summary
    torch.manual_seed(cfg.seed)
    algorithm = build_algorithm(cfg, session.data, session.split)
    latest = state.latest(folder / "checkpoints")
    report = initialise(algorithm, cfg.init) if cfg.init and not latest else None
    trainer = Trainer(cfg, algorithm, session.data, session.split, session.accelerator)
    console.start_up(cfg, trainer, thread_count(cfg))
    if latest:
        trainer.restore(state.load(latest))
        console.print(f"Resumed from {latest}")
    elif report:
        console.print(report)
        trainer.save()  # so that a resumed run starts from these weights too
    status("running", trainer.step)
    try:
        reason = trainer.fit(console, session.stop)
    except BaseException as error:
        trainer.writer.settle()  # the write in flight may be the last good checkpoint
        if session.main:
            if trainer.writer.failed:
                console.print(f"{trainer.writer.error}")
            note_failure(cfg, console, trainer.step, error)
        raise
    if reason:
        code = 0 if reason == "max_hours" else EXIT_STOPPED
        status("stopped", trainer.step, reason, code)
        console.print(f"Stopped at step {trainer.step:,} ({reason}) with a checkpoint; --resume continues")
        return code, None
    summary = summarise(trainer) | ({"baseline": baseline} if baseline else {}) if session.main else {}
    on_main(session.accelerator, write_summary)
    status("finished", trainer.step, code=0)
    return 0, summary


def build_algorithm(cfg: RunConfig, data: DataSet, split: Split) -> Algorithm:
    """The algorithm with a freshly initialised network, on the CPU."""
    labels = data.train.labels[split.labelled]
    prior = [float((labels == index).mean()) for index in range(len(data.classes))]
    info = Info(
        classes=len(data.classes),
        image_size=data.size,
        labelled=len(split.labelled),
        unlabelled=len(split.unlabelled),
        steps=cfg.steps,
        labelled_batch=cfg.batch.labelled,
        unlabelled_batch=cfg.batch.unlabelled,
        class_prior=tuple(prior),
        mean=data.mean,
        std=data.std,
    )

    def network() -> torch.nn.Module:
        built = build(cfg.model, len(data.classes), data.size)
        for module in built.modules():
            if isinstance(module, BatchNorm2d) and module.momentum is not None:
                # One update a micro-batch: together they move the running statistics as far as one of the whole batch.
                module.momentum = 1 - (1 - module.momentum) ** (1 / cfg.batch.micro)
        return built

    return ALGORITHMS[cfg.algorithm.name](cfg.algorithm, network, info, cfg.ema, cfg.autocast)


def initialise(algorithm: Algorithm, path: Path) -> str:
    """Loads the EMA weights of a checkpoint into the network and its EMA; returns a report of what did not match."""
    tensors = state.load(path).model
    wanted = algorithm.network.state_dict()
    given = {name.removeprefix("ema."): value for name, value in tensors.items() if name.startswith("ema.")}
    fitting = {k: v for k, v in given.items() if k in wanted and v.shape == wanted[k].shape}
    if not fitting:
        raise UserError(f"--init {path}: no weight of it fits model.name={type(algorithm.network).__name__}")
    algorithm.network.load_state_dict(fitting, strict=False)
    shadow = dict(algorithm.ema.named_buffers())
    for name, value in algorithm.network.state_dict().items():
        shadow[name].copy_(value)
    missing, extra = sorted(wanted.keys() - fitting.keys()), sorted(given.keys() - fitting.keys())
    report = f"Initialised {len(fitting)} of {len(wanted)} tensors from {path}"
    if missing:
        report += f"\n  freshly initialised: {', '.join(missing)}"
    if extra:
        report += f"\n  in the checkpoint only, or of another shape: {', '.join(extra)}"
    return report
