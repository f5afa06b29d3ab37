"""What a run's folder says of it: its configuration, status, summary, metrics, split and newest checkpoint.

Files that a run has not come to are missing, and so is what older versions did not write.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint.folder_lock import FolderInUse, refuse_if_held
from semisonic.config.migrations import read_saved
from semisonic.config.run_config import RunConfig
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.splits import Split, load_split
from semisonic.records import schemas
from semisonic.reporting.metrics_file import EVAL, TRAIN, read_metrics
from semisonic.schema import UserError
from semisonic.training.mistakes import Mistake

IMAGES = {"test": "test images", "held_out": "held-out images"}
"""What is evaluated, the better measure first."""


@dataclass(frozen=True)
class Seen:
    """What the averaged network makes of single images."""

    which: str | None = None
    """Of `IMAGES`; None where there is nothing to evaluate it on."""
    step: int = 0
    """The step whose network was asked."""
    confusion: list[list[int]] | None = None
    """[true class][predicted class] counts; None where the images were not read."""
    mistakes: list[Mistake] = field(default_factory=list)
    data: DataSet | None = None
    """The images as they were trained on; None where they are not there."""
    missing: str | None = None
    """Why something of this is not there, in a sentence."""


@dataclass(frozen=True)
class Facts:
    """A run, as its folder has it."""

    folder: Path
    cfg: RunConfig
    status: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] | None = None
    """None where the run has not finished."""
    lines: list[dict[str, Any]] = field(default_factory=list)
    """Of metrics.jsonl."""
    split: Split | None = None
    state: Mapping[str, Any] | None = None
    """Of the newest checkpoint; None where there is none."""
    extended: list[Mapping[str, Any]] = field(default_factory=list)
    """Changes of its length: the step from which on, and the numbers of steps before and after."""
    notes: tuple[str, ...] = ()
    """What an older version did otherwise, a line each."""
    at_work: bool = False
    """Whether a process holds the folder, as far as can be seen from this computer."""

    @property
    def step(self) -> int:
        """Steps that are done, as far as files say."""
        found = [line["step"] for line in self.lines]
        known = (self.status.get("step"), (self.state or {}).get("step"), (self.summary or {}).get("step"))
        return max([*found, *(step for step in known if step is not None)], default=0)

    @property
    def standing(self) -> str:
        """finished, stopped, failed, running, or what another version wrote; unfinished: no end is written down, and no
        process that can be seen works on it."""
        found = str(self.status.get("status", "unknown"))
        return "unfinished" if found == "running" and not self.at_work else found

    @property
    def readings(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == TRAIN]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == EVAL]

    @property
    def which(self) -> str | None:
        """What its evaluations are of, test images before held-out ones; None where there were none."""
        return next(
            (which for which in IMAGES if any(_finite(line.get(f"{which}/top1")) for line in self.evaluations)), None
        )

    @property
    def classes(self) -> list[str]:
        """Names by their numbers; [] of a run that has settled none."""
        return list((self.state or {}).get("classes") or self.cfg.data.classes)

    def last(self, name: str) -> Any:
        """The newest value of a figure; None where it was never read."""
        return next((line[name] for line in reversed(self.lines) if line.get(name) is not None), None)

    def series(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of a figure wherever it is a number."""
        return [(line["step"], float(line[name])) for line in self.lines if _finite(line.get(name))]


def facts_of(folder: Path, cfg: RunConfig) -> Facts:
    """Reads a run's folder. Raises `UserError` for a file that is damaged."""
    latest, saved = checkpoints.latest(folder / "checkpoints"), read_saved(folder)
    status, summary, metrics, split = (
        folder / name for name in ("status.json", "summary.json", "metrics.jsonl", "split.npz")
    )
    return Facts(
        folder, cfg,
        status=schemas.status(status) if status.exists() else {},
        summary=schemas.summary(summary) if summary.exists() else None,
        lines=read_metrics(metrics) if metrics.exists() else [],
        split=load_split(split) if split.exists() else None,
        state=checkpoints.load_state(latest) if latest else None,
        extended=saved.records.get("extended", []),
        notes=tuple(saved.notes),
        at_work=_at_work(folder),
    )  # fmt: skip


def _at_work(folder: Path) -> bool:
    try:
        refuse_if_held(folder)
    except FolderInUse:
        return True
    return False


def labeled_counts(facts: Facts, data: DataSet | None) -> list[int] | None:
    """Labeled images of every class, [C]; None where neither the data nor a checkpoint says."""
    counts = (facts.state or {}).get("labeled_counts")
    if counts is None and data is not None and facts.split is not None:
        counts = np.bincount(data.train.labels[facts.split.labeled], minlength=len(data.classes)).tolist()
    return counts if counts is not None and len(counts) == len(facts.classes) else None


def check_is_run(folder: Path) -> None:
    """Raises `UserError` for a folder that holds no run, with what to name instead."""
    if (folder / "config.yaml").is_file() and any(
        (folder / name).exists() for name in ("status.json", "split.npz", "metrics.jsonl")
    ):
        return
    if not folder.is_dir():
        raise UserError(f"RUN: {folder}: no such folder")
    hint = "; name the folder of a run, such as one in runs/"
    if (folder / "state.json").exists():
        hint = "; it is a checkpoint: name the folder of its run"
    elif (folder / "project.yaml").exists():
        hint = f"; it is a labeling project: semisonic daily {folder} report"
    elif (folder / "runs").is_dir():
        hint = f"; it holds runs: name one of {folder / 'runs'}"
    raise UserError(f"RUN: {folder} is no run's folder{hint}")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
