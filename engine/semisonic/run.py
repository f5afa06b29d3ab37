"""A run from its configuration to its summary: checks, folder, trainer, baseline, comparison."""

import json
import os
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator

from semisonic import state
from semisonic.algorithms.base import Algorithm, Info
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config import Invocation, RunConfig
from semisonic.data.base import DataSet, Files
from semisonic.data.sources import load
from semisonic.data.splits import Split, make_split, save_split
from semisonic.models import build
from semisonic.models.norm import BatchNorm2d
from semisonic.report import Console
from semisonic.runtime import start, thread_count
from semisonic.schema import UserError
from semisonic.summary import summarise
from semisonic.trainer import Diverged, Trainer

EXIT_USER, EXIT_DIVERGED, EXIT_STOPPED = 2, 3, 75
"""Exit codes: a user's mistake; a loss that was not finite; stopped by a signal, to be continued with --resume."""

MAY_CHANGE = {"out", "threads", "device", "max_hours", "baseline", "compile", "log", "checkpoint"}
"""What may differ between a run and its continuation: it changes speed, and figures by rounding at most."""


def execute(invocation: Invocation) -> int:
    """Trains what the command line asked for; returns the process's exit code."""
    cfg = invocation.cfg
    accelerator = start(cfg)
    console = Console(accelerator.is_main_process)
    check_folder(cfg, invocation.resume)
    with accelerator.main_process_first():  # the main process scans a folder, the others read its manifest
        data = load(cfg.data)
    paths = data.train.paths if isinstance(data.train, Files) else None
    split = make_split(cfg.data, data.train.labels, len(data.classes), cfg.seed, paths)
    views = ALGORITHMS[cfg.algorithm.name].views(cfg.algorithm)
    if views.unlabelled and not len(split.unlabelled):
        raise UserError(
            f"data.labels: every image is labelled, which leaves {cfg.algorithm.name} no unlabelled pool; "
            "set data.labels or data.unlabelled_includes_labelled"
        )
    for note in data.notes:
        console.print(note)
    accelerator.wait_for_everyone()
    baseline = None
    if cfg.baseline:
        console.print("Supervised baseline: the same labels, without the unlabelled images")
        code, baseline = train(cfg.supervised_baseline(), invocation, data, split, accelerator, console)
        if code or baseline is None:
            return code
        console.print(f"\n{cfg.algorithm.name}: the same labels and the unlabelled images")
    code, summary = train(cfg, invocation, data, split, accelerator, console, baseline)
    if summary:
        console.result(summary)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return code


def train(
    cfg: RunConfig,
    invocation: Invocation,
    data: DataSet,
    split: Split,
    accelerator: Accelerator,
    console: Console,
    baseline: dict[str, Any] | None = None,
) -> tuple[int, dict[str, Any] | None]:
    """One training run in `cfg.folder`: (exit code, summary, or None where it ended early)."""
    folder = cfg.folder
    finished = folder / "summary.json"
    started = (folder / "config.yaml").exists()
    if started:
        check_same(cfg, folder)
    if finished.exists():
        console.print(f"{folder} is finished")
        return 0, json.loads(finished.read_text())
    torch.manual_seed(cfg.seed)
    algorithm = build_algorithm(cfg, data, split)
    report = initialise(algorithm, invocation.init) if invocation.init and not started else None
    accelerator.wait_for_everyone()  # every rank has looked at the folder before one of them changes it
    if accelerator.is_main_process and not started:
        folder.mkdir(parents=True, exist_ok=True)
        save_split(split, folder / "split.npz")
        state.write_text(folder / "config.yaml", cfg.dump())
    trainer = Trainer(cfg, algorithm, data, split, accelerator)
    console.start_up(cfg, data, split, accelerator.num_processes, accelerator.device, thread_count(cfg))
    latest = state.latest(folder / "checkpoints") if started else None
    if latest:
        trainer.restore(state.load(latest))
        console.print(f"Resumed from {latest}")
    elif started:
        console.print(f"{folder} has no checkpoint yet: starting at step 0")
    elif report:
        console.print(report)
    status = Status(folder, accelerator.is_main_process, trainer)
    status.write("running")
    try:
        reason = trainer.fit(console)
    except BaseException as error:
        status.write("failed", f"{type(error).__name__}: {error}", EXIT_DIVERGED if isinstance(error, Diverged) else 1)
        raise
    if reason:
        code = 0 if reason == "max_hours" else EXIT_STOPPED
        status.write("stopped", reason, code)
        console.print(f"Stopped at step {trainer.step:,} ({reason}) with a checkpoint; --resume continues")
        return code, None
    summary: dict[str, Any] = {}
    if accelerator.is_main_process:
        summary = summarise(trainer) | ({"baseline": baseline} if baseline else {})
        state.write_text(finished, json.dumps(summary, indent=1))
    status.write("finished", None, 0)
    return 0, summary


class Status:
    """status.json: what a job script reads to decide whether to start the run again."""

    def __init__(self, folder: Path, main: bool, trainer: Trainer):
        self.path, self.main, self.trainer = folder / "status.json", main, trainer

    def write(self, status: str, reason: str | None = None, code: int | None = None) -> None:
        if self.main:
            content = {"status": status, "step": self.trainer.step, "steps": self.trainer.cfg.steps}
            text = json.dumps(content | {"reason": reason, "exit_code": code, "pid": os.getpid()})
            state.write_text(self.path, text + "\n")


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


def check_folder(cfg: RunConfig, resume: bool) -> None:
    """Refuses a folder in use without --resume, and --resume without a run."""
    folder = cfg.folder
    if resume:
        if not folder.is_dir():
            raise UserError(f"--resume: there is no run in {folder}; name its folder with --out")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"out: {folder} is in use; continue it with --resume, or choose another folder with --out")


def check_same(cfg: RunConfig, folder: Path) -> None:
    """Refuses to continue a run whose configuration differs in anything that changes its figures."""
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    now = cfg.model_dump(mode="json")
    problems = []
    for name in sorted((now.keys() | saved.keys()) - MAY_CHANGE):
        old, new = saved.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            problems += [
                f"{name}.{key}: {new.get(key)!r}, but {folder} has {old.get(key)!r}; start a new run with --out"
                for key in sorted(old.keys() | new.keys())
                if old.get(key) != new.get(key)
            ]
        elif old != new:
            problems.append(f"{name}: {new!r}, but {folder} has {old!r}; start a new run with --out")
    if problems:
        raise UserError(problems)
