"""Where metrics go: metrics.jsonl always, and the trackers of Accelerate that the configuration names."""

import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

from semisonic.checkpoint.atomic_files import write_text, writing
from semisonic.config.fields import describe_fields
from semisonic.config.run_config import RunConfig
from semisonic.distributed.engine import Accelerator
from semisonic.faults import reach
from semisonic.records import schemas
from semisonic.records.reading import read_text
from semisonic.reporting.metrics_file import EVAL, lines_of, parse
from semisonic.reporting.reporters import Reporters
from semisonic.reporting.tracker_kinds import PROJECT, Place, kind_of
from semisonic.schema import UserError
from semisonic.text import dump_json, printable

LONGEST_TAG = 80
"""Letters of a class in a tag: they become names of files in some trackers."""
PER_CLASS = 100
"""Vectors up to this length are sent to the trackers entry by entry too; of longer ones the extremes only."""


class Tracker:
    """Writes one object a line to `metrics.jsonl` on the main process, and the same scalars to the trackers."""

    def __init__(
        self, accelerator: Accelerator, cfg: RunConfig, folder: Path, step: int, classes: Sequence[str] = (),
        history: Sequence[Mapping[str, Any]] = (), reporters: Reporters | None = None,
    ):  # fmt: skip
        """step, history: where the run goes on, and every evaluation so far. reporters: what the trackers are called
        through, none of which may end the run."""
        self.accelerator, self.classes = accelerator, classes
        self.reporters = reporters or Reporters()
        self.path = folder / "metrics.jsonl"
        self.last = step
        self.notes: list[str] = []
        """What was done to the lines of a run that goes on, to be told."""
        if accelerator.is_main_process:
            with writing(self.path):
                if discarded := discard_after(self.path, step):
                    lines = "1 line" if discarded == 1 else f"{discarded} lines"
                    self.notes.append(f"{lines}, later or damaged, moved to metrics.discarded.jsonl")
                if missing := write_missing(self.path, history):
                    self.notes.append(
                        f"metrics.jsonl had lost lines: {missing} evaluation{'s are' if missing > 1 else ' is'} there "
                        "again, from the checkpoint; training metrics that were lost stay lost"
                    )
        self.ours: Callable[[], bool] = lambda: True
        """Whether the folder is still the run's; some trackers open their files by name, again and again."""
        self.trackers: dict[str, Any] = {}
        """Those of Accelerate that have begun, on the main process."""
        for name in cfg.log.trackers if accelerator.is_main_process else ():
            self.reporters.attempt(name, step, partial(self._begin, name, Place(folder, step, flat(cfg))))
        # Unbuffered: a line is with the system when it is logged, whatever happens to the process.
        self.file = self.path.open("ab", buffering=0) if accelerator.is_main_process else None

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """A line of metrics.jsonl. Raises `OSError` where the file system refuses; the lines before are whole then."""
        self.last = step
        if self.file:
            append(self.file, dump_json({"step": step, "time": round(time.time(), 3), **metrics}) + "\n")

    def _begin(self, name: str, place: Place) -> None:
        # One Accelerator serves the baseline and the main run: each has trackers and a folder of its own.
        accelerator, kind = self.accelerator, kind_of(name)
        accelerator.trackers, accelerator.log_with = [], [name]
        accelerator.project_configuration.logging_dir = str(place.folder)
        config = dict(place.config) if kind.stores_configuration else None
        accelerator.init_trackers(PROJECT, config=config, init_kwargs={name: kind.options(place)})
        (self.trackers[name],) = accelerator.trackers
        kind.begun(self.trackers[name], place)

    def send(self, step: int, metrics: dict[str, Any]) -> None:
        """The scalars, and vectors as scalars, to the trackers, when the reporters report next."""
        if self.trackers:
            values = scalars(metrics, self.classes)
            for name, tracker in self.trackers.items():
                self.reporters.later(name, step, self._log, tracker, values, step)

    def _log(self, tracker: Any, values: dict[str, float], step: int) -> None:
        if self.ours():
            tracker.log(values, step=step)

    def picture(self, name: str, path: Path, step: int) -> None:
        """A PNG that the run has written, to the trackers, under a name such as test/confusion."""
        for tracker_name, tracker in self.trackers.items():
            show = partial(kind_of(tracker_name).picture, tracker, name, path, step)
            self.reporters.attempt(tracker_name, step, show)

    def close(self) -> None:
        if self.file:
            self.file.close()
        for name, tracker in self.trackers.items():  # end_training() would also leave the process group
            self.reporters.attempt(name, self.last, tracker.finish)
        self.trackers, self.accelerator.trackers = {}, []


def scalars(metrics: dict[str, Any], classes: Sequence[str]) -> dict[str, float]:
    """What trackers can take: numbers, and of a vector its extremes and, up to 100 of them, its entries by class.

    Every tag is SECTION/NAME. `train/class_share` [C] becomes train/class_share_min, train/class_share_max and
    train_class_share/CLASS.
    """
    result: dict[str, float] = {}
    for name, value in metrics.items():
        name = tag(name)
        if isinstance(value, int | float):
            result[name] = value
        elif isinstance(value, list) and (known := [v for v in value if isinstance(v, int | float) and v == v]):
            result |= {f"{name}_min": min(known), f"{name}_max": max(known)}
            if len(value) <= PER_CLASS:
                group = name.replace("/", "_")
                labels = classes if len(classes) == len(value) else [""] * len(value)
                entries = zip(map(_label, range(len(value)), labels), value, strict=True)
                result |= {
                    f"{group}/{label}": entry for label, entry in entries if entry is not None and entry == entry
                }
    return result


def tag(name: str) -> str:
    """What trackers call a figure of metrics.jsonl, SECTION/NAME: learning rates are of training, and what has no
    section tells of speed."""
    if re.split("[/_]", name)[0] == "lr":
        return f"train/{name.replace('/', '_')}"
    return name if "/" in name else f"speed/{name}"


def _label(index: int, name: str) -> str:
    """A class as part of a tag: its number, and its name in characters that every tracker takes."""
    name = re.sub(r"[^\w. -]+", "_", name)[:LONGEST_TAG]
    return str(index) if name in ("", str(index)) else f"{index} {name}"


def append(file: FileIO, text: str, point: str = "metrics") -> None:
    """Appends to a file, or leaves it as it was where there is no space for all of `text`. point: its faults' name."""
    rest, end = memoryview(text.encode()), os.fstat(file.fileno()).st_size
    try:
        while rest:
            reach(f"{point}.write", partial(os.write, file.fileno(), rest[: len(rest) // 2]))
            rest = rest[os.write(file.fileno(), rest) :]
    except OSError:
        os.ftruncate(file.fileno(), end)
        raise


def discard_after(path: Path, step: int) -> int:
    """Moves lines after `step` to metrics.discarded.jsonl, since a resumed run writes them again; returns how many.

    So it does with what is no line of metrics: half a line after a kill, or what a file system lost.
    """
    if not path.exists():
        return 0
    lines = path.read_bytes().decode(errors="replace").splitlines(keepends=True)
    kept: list[str] = []
    later: list[str] = []
    for line in lines:
        (kept if line.endswith("\n") and _step(line) <= step else later).append(line)
    if later:
        with path.with_name("metrics.discarded.jsonl").open("ab", buffering=0) as file:
            append(file, "".join(line.rstrip("\n") + "\n" for line in later), "discarded")
        write_text(path, "".join(kept))
    return len(later)


def write_missing(path: Path, history: Sequence[Mapping[str, Any]]) -> int:
    """Puts evaluations that a file of metrics has lost back in their places, as far as the history knows them: without
    their time and accuracies by class; returns how many. The lines of the file must be whole.
    """
    lines = lines_of(read_text(path, schemas.METRICS)) if path.exists() else []
    entries = list(parse(lines, str(path)))
    there = {entry["step"] for entry in entries if entry["kind"] == EVAL}
    missing = [entry for entry in history if entry["step"] not in there]
    if not missing:
        return 0
    placed = [(entry["step"], line) for entry, line in zip(entries, lines, strict=True)]
    placed += [(entry["step"], dump_json({"step": entry["step"], "kind": EVAL, **entry}) + "\n") for entry in missing]
    placed.sort(key=lambda pair: pair[0])  # stable: the evaluation comes after the training metrics of its step
    write_text(path, "".join(line for _, line in placed))
    return len(missing)


def _step(line: str) -> float:
    try:
        return float(schemas.metrics_line(line, "metrics.jsonl")["step"])
    except UserError:
        return math.inf


def flat(cfg: RunConfig) -> dict[str, Any]:
    """Dotted scalars, the only form of configuration that TensorBoard takes."""
    values = {}
    for name, *_ in describe_fields(cfg.algorithm.name):
        value: Any = cfg
        for part in name.split("."):
            value = getattr(value, part)
        values[name] = value if isinstance(value, bool | int | float) else printable(value)
    return values
