"""`semisonic daily PROJECT label`: every image that is not rejected gets a label of the newest run, and scores that
tell which labels to look at first. On all ranks, part by part: what was stopped goes on, and what is done stays done.
"""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from semisonic.daily.auditing import newest_day
from semisonic.daily.features import features_for, keep_features, newest_run, open_features, tell_left_out
from semisonic.daily.folds import fold_runs
from semisonic.daily.labeling import scores, table
from semisonic.daily.labeling.calibration import temperature
from semisonic.daily.labeling.handing import hand_out
from semisonic.daily.passes.arrays import Features
from semisonic.daily.passes.images import Known, known_images, reading_of
from semisonic.daily.passes.job import compute, left_out_of, locked_session
from semisonic.daily.passes.makers import TOP, VIEWS, Labeler
from semisonic.daily.passes.networks import Networks, Places, find_networks, load_networks
from semisonic.daily.passes.work import Work, begin
from semisonic.daily.store import Current, State
from semisonic.daily.warm import classes_of
from semisonic.inference.reading import Reading
from semisonic.schema import ExitCode, UserError
from semisonic.text import name_of

if TYPE_CHECKING:
    from semisonic.daily.project import Project

BATCH = 64


@dataclass(frozen=True, eq=False)
class Task:
    """What rank 0 has found, for all ranks."""

    run: str
    places: Places
    identity: dict[str, Any]
    """By which labels are known to be of these networks."""
    classes: list[tuple[int, str]]
    """Id and name of each class of the run, in the order of its head."""
    temperature: float | None
    work: Work
    known: Known
    compared: np.ndarray | None
    """Images of earlier days that are not labeled, and whose features those of the newest day are compared with."""


def run(project: "Project", args: Namespace) -> ExitCode:
    """Labels the images, or goes on where it was stopped. The code says whether images were left out.

    Raises `UserError` for mistakes, before any work, and `Stopped` where a signal has ended it; its parts are kept.
    """
    with locked_session(project, "label") as own:
        task = own.ranks.from_main(lambda: _begin(project, args))
        if task.compared is not None:
            features_for(project, task.run, own, task.compared)
        if len(task.work.images):
            networks = load_networks(task.places, own.ranks.device)
            if {**task.identity, **networks.digests} != task.identity:
                raise UserError(
                    f"{task.places.main}: holds others than on rank 0; is it the same folder on every host?"
                )
            reading = reading_of(project, args.workers)
            compute(task.work, _labeler(task, networks, reading), own)
        code = own.ranks.from_main(lambda: _finish(project, args, task, own.ranks.device))
        return code if own.ranks.main else ExitCode.OK


def _labeler(task: Task, networks: Networks, reading: Reading) -> Labeler:
    return Labeler(
        networks.main, task.known, networks.snapshots, networks.folds, task.temperature, task.identity["batch"], reading
    )


def _begin(project: "Project", args: Namespace) -> Task:
    """Looks at all that there is to be done: by which networks, and of which images."""
    run_name = newest_run(project)
    if run_name is None:
        raise UserError(f"{name_of(project.folder)}: no run is finished yet; `train` comes first")
    places = find_networks(project.runs / run_name, fold_runs(project, run_name))
    networks = load_networks(places, torch.device("cpu"))
    newest = args.days == "newest"
    with project.store() as store:
        current = store.current()
        classes = classes_of(store, next(own for own in reversed(store.revisions()) if own.run == run_name))
    if [name for _, name in classes] != networks.main.classes:
        raise UserError(f"{places.main}: its classes are not those that the project had when it was trained")
    if not places.snapshots:
        print(f"{run_name} has kept one network alone, whose own probability is its mean; see checkpoint.snapshots")
    scale = temperature(project, run_name, [number for number, _ in classes]) if places.folds else None
    identity = {**networks.digests, "temperature": scale, "views": VIEWS, "batch": BATCH, "top": TOP}
    images = _images(project, current, newest)
    done = labeled_already(project, run_name, identity)
    missing = images[~np.isin(images, done)]
    work = begin(_parts(project, run_name), identity, missing)
    with project.store() as store:
        known = known_images(store, work.images)
    compared = scores.earlier_sample(earlier_images(current, int(current.day.max()))) if newest else None
    return Task(run_name, places, identity, classes, scale, work, known, compared)


def _parts(project: "Project", run_name: str) -> Path:
    return project.auto / f"{run_name}.parts"


def _auto(project: "Project", run_name: str) -> Path:
    return project.auto / run_name


def _images(project: "Project", current: Current, newest: bool) -> np.ndarray:
    """int64 [N], ascending: those that are not rejected."""
    wanted = current.state != State.REJECTED
    if newest:
        wanted &= current.day == current.day.max(initial=0)
    if not wanted.any():
        raise UserError(f"{name_of(project.folder)}: has no images to be labeled; `add` them first")
    return current.image[wanted]


def labeled_already(project: "Project", run_name: str, identity: dict[str, Any]) -> np.ndarray:
    """int64 [N]: the images that these networks have labeled, and whose features are kept."""
    folder = _auto(project, run_name)
    table.settle(folder)
    header, kept = table.read_header(folder), open_features(project, run_name)
    if header is None or header.get("made_by") != identity or kept is None or kept.made_by != identity["network"]:
        return np.empty(0, np.int64)
    images = table.read(folder, "image")["image"]
    return images[kept.places(images) >= 0]


def _finish(project: "Project", args: Namespace, task: Task, device: torch.device) -> ExitCode:
    """Once all parts are there: the features, the table, and what is handed out."""
    left_out: list[tuple[int, str]] = []
    if len(task.work.images):
        left_out = left_out_of(task.work)
        features = keep_features(project, task.run, task.identity["network"], task.work)
        there = _write_table(project, task, features, device)
        task.work.remove()  # what is left out is tried again when this is repeated
        tell_left_out(project, left_out)
        if not there:
            raise UserError(
                f"{name_of(project.folder)}: none of its images can be used; put them back, or `add` them anew"
            )
    hand_out(project, task.run, table.read(_auto(project, task.run)), args.who, args.suspicious)
    return ExitCode.LEFT_OUT if left_out else ExitCode.OK


def _write_table(project: "Project", task: Task, features: Features, device: torch.device) -> bool:
    """The new rows among those that were there before, with the scores that compare all of them; False where there are
    none, and nothing is written."""
    folder = _auto(project, task.run)
    columns = _new_columns(task)
    with project.store() as store:
        current = store.current()
    if len(labeled_already(project, task.run, task.identity)):
        before = table.read(folder, *columns).columns
        own = ~np.isin(before["image"], columns["image"])
        columns = {name: np.concatenate([before[name][own], columns[name]]) for name in columns}
    order = np.argsort(columns["image"])
    # Images that were rejected once they were labeled keep their rows: the audit was drawn of them as well.
    columns = {name: values[order] for name, values in columns.items()}
    if not len(order):
        return False
    columns |= {
        "margin": scores.margin(columns["p"]),
        "distance": _distances(columns["image"], current, features, device),
        "suspicion": scores.suspicion(columns),
        "certainty": scores.certainty(columns),
    }
    about: dict[str, Any] = {
        "run": task.run,
        "made_by": task.identity,
        "classes": [list(pair) for pair in task.classes],
        "snapshots": len(task.places.snapshots),
        "folds": len(task.places.folds),
        "temperature": task.temperature,
    }
    table.write(folder, table.Table(columns), about)
    return True


def _distances(images: np.ndarray, current: Current, features: Features, device: torch.device) -> np.ndarray:
    """Of images of the newest day among them, to those of all days before; NaN for others."""
    found = np.full(len(images), np.nan, np.float32)
    newest = newest_day(current, images)
    new = np.isin(images, current.image[current.day == newest])
    earlier = earlier_images(current, newest)
    earlier = scores.earlier_sample(earlier[features.places(earlier) >= 0])
    found[new] = scores.distances(images[new], earlier, features, device)
    return found


def earlier_images(current: Current, day: int) -> np.ndarray:
    """int64 [M], ascending: images of the days before one that are not rejected."""
    return current.image[(current.day < day) & (current.state != State.REJECTED)]


def _new_columns(task: Task) -> dict[str, np.ndarray]:
    ids = np.array([number for number, _ in task.classes], np.int32)
    names = ["image", "top", "p", "views", "run"] + ["folds"] * bool(task.places.folds)
    names += ["calibrated"] * (task.temperature is not None)
    parts = []
    for part in range(len(task.work.parts)):
        if len(task.work.read(part, "images")[0]):
            values = task.work.read(part, "images", *names[1:])
            parts.append(dict(zip(names, values, strict=True)))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in names} if parts else {}
    if not columns:
        classes = min(TOP, len(ids))
        empty = {"image": np.empty(0, np.int64), "top": np.empty((0, classes), np.int64)}
        columns = {name: np.empty(0, np.float32) for name in names} | empty
        columns["p"] = np.empty((0, classes), np.float32)
    columns["top"] = ids[columns["top"]]
    return columns
