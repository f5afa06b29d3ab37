"""`semisonic predict`: a folder, list or array of images, on one process or several, part by part."""

import sys
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from semisonic.checkpoint import format as checkpoints
from semisonic.distributed import elastic
from semisonic.distributed.launcher import Launcher
from semisonic.distributed.preemption import Preemption
from semisonic.inference.batches import Found
from semisonic.inference.classifier import Classifier, load_classifier, weights_digest
from semisonic.inference.decoding import Predictor, cpus_of_rank, found_parts, predicted
from semisonic.inference.files import SHOWN
from semisonic.inference.outputs import Outputs, Wanted, columns_of, no_rows
from semisonic.inference.parts import Layout, Parts, begin, find_target, first_left_out
from semisonic.inference.progress import metered
from semisonic.inference.ranks import RankLost, Ranks, joined_ranks
from semisonic.inference.reading import AS_USUAL, Reading
from semisonic.inference.sources import Sources, find_sources
from semisonic.schema import ExitCode, Interrupted, Stopped, UserError
from semisonic.text import name_of, printable

ROWS = 8192
"""Images of a part."""


@dataclass(frozen=True)
class Job:
    """What a command line asks for."""

    checkpoint: Path
    net: Literal["ema", "raw"]
    images: Path | None
    listed: Path | None
    """A file of paths; `-` is the standard input."""
    out: Path
    kind: str | None
    """Of the parts in a folder, csv or parquet."""
    wanted: Wanted
    batch: int = 64
    rows: int = ROWS
    reading: Reading = AS_USUAL
    resume: bool = False


@dataclass(frozen=True, eq=False)
class Task:
    """What rank 0 has found, for all ranks."""

    checkpoint: Path
    weights: str
    """Digest of the network's."""
    sources: Sources
    parts: Parts


def run(job: Job) -> ExitCode:
    """Predicts all images, or goes on where a job was stopped; the code says whether images were left out.

    Raises `UserError` for mistakes, before any work, and `Stopped` where a signal has ended it; its parts are kept.
    """
    with Launcher() as launcher, joined_ranks() as ranks, Preemption(launcher) as preemption, ExitStack() as held:
        if ranks.device.type == "cpu" and ranks.rank.world_size > 1:
            torch.set_num_threads(cpus_of_rank())
        try:
            task, header = ranks.from_main(lambda: _begin(job, ranks, held))
            if header["finished"] is None:
                _predict(job, task, ranks, preemption)
                ranks.wait()
        except RankLost:
            _raise_if(preemption, "the other ranks")  # which the same signal has ended first
            raise
        return _finish(task, header) if ranks.main else ExitCode.OK


def _begin(job: Job, ranks: Ranks, held: ExitStack) -> tuple[Task, dict[str, Any]]:
    """Looks at all that was asked for, and makes the folder of the parts or takes it over, with its lock."""
    resume = job.resume or elastic.recorded(job.out)
    target = find_target(job.out, job.kind, resume)
    checkpoint = checkpoints.find(job.checkpoint)
    classifier = load_classifier(checkpoint, job.net)
    job.wanted.check(classifier)
    sources = find_sources(job.images, job.listed, classifier.transform)
    for note in sources.notes:
        print(printable(note), file=sys.stderr)
    weights = weights_digest(classifier)
    identity = {
        "weights": weights,
        "images": sources.identity,
        "number of images": len(sources),
        "--batch": job.batch,
        "--part": job.rows,
        "--format": target.kind,
        **{f"--{name}": value for name, value in asdict(job.wanted).items()},
    }
    about = {"checkpoint": str(checkpoint), "net": job.net, "classes": classifier.classes}
    begun = begin(target, Layout(len(sources), job.rows, ranks.rank.world_size), identity, about, resume)
    held.callback(begun.lock.release)
    elastic.record_run(job.out)
    return Task(checkpoint, weights, sources, begun.parts), begun.header


def _raise_if(preemption: Preemption, where: str) -> None:
    if reason := preemption.received:
        kind = Interrupted if reason == "SIGINT" else Stopped
        raise kind(f"stopped by {reason} after {where}; --resume continues")


def _predict(job: Job, task: Task, ranks: Ranks, preemption: Preemption) -> None:
    """This rank's share: every slice whose number gives its own, which are all where it is alone."""
    layout = task.parts.layout
    classifier = load_classifier(task.checkpoint, job.net).to(ranks.device)
    if weights_digest(classifier) != task.weights:
        raise UserError(f"{task.checkpoint}: holds others than on rank 0; is it the same folder on every host?")
    own = range(ranks.rank.rank, layout.slices, ranks.rank.world_size)
    every = [(number, part, images) for number in own for part, images in enumerate(layout.parts(number))]
    todo = [entry for entry in every if not task.parts.done(*entry[:2])]
    total, left = (sum(len(images) for *_, images in entries) for entries in (every, todo))
    predictor = Predictor(classifier, task.sources, job.wanted, job.batch, job.reading)
    with metered(total, total - left, quiet=not ranks.main) as meter:

        def check(images: int = 0) -> None:
            if images:  # not while files are checked, which are predicted later
                meter.add(images)
            _raise_if(preemption, f"{meter.done:,} of {total:,} images")

        parts = [images for *_, images in todo]
        with closing(found_parts(task.sources, parts, job.reading, check)) as coming:
            for (number, part, images), found in zip(todo, coming, strict=True):
                final, outputs = predicted(predictor, found, check)
                meter.settle(len(images) - len(found.rows))
                _write(task, number, part, final, outputs, classifier, job.wanted)


def _write(
    task: Task, number: int, part: int, found: Found, outputs: Outputs | None, classifier: Classifier, wanted: Wanted
) -> None:
    names = [task.sources.name(row) for row in found.rows.tolist()]
    columns = no_rows(classifier, wanted)
    if outputs is not None:
        columns = columns_of(names, outputs, classifier.classes, wanted)
    left_out = [(task.sources.name(row), reason) for row, reason in found.left_out]
    task.parts.write(number, part, columns, left_out)


def _finish(task: Task, header: dict[str, Any]) -> ExitCode:
    """Joins the parts, and says what has come of it."""
    parts, images = task.parts, task.parts.layout.images
    count = parts.finish(header)
    file = parts.target.left_out
    shown = first_left_out(file, SHOWN) if count else []
    lines = [f"{name_of(path)}: {printable(reason)}" for path, reason in shown]
    more = [f"{count - len(lines):,} more are in {file}"] if count > len(lines) else []
    if count == images:
        raise UserError([f"none of {count:,} images can be used, as {file} says", *lines, *more])
    for line in (*lines, *more):
        print(f"left out: {line}", file=sys.stderr)
    told = f"; {count:,} left out, in {file}" if count else ""
    print(f"{images - count:,} predictions in {printable(parts.target.path)}{told}")
    return ExitCode.LEFT_OUT if count else ExitCode.OK
