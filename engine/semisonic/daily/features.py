"""The features of a project's images: by the network of a run, by a pre-trained one, or, before there is any, by the
principal components of their pixels. They are kept, and extended by the images that are new.

A space of features has a name: that of a run, `init` (the network that the project's field `init` names) or `pixels`.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from semisonic.checkpoint import format as checkpoints
from semisonic.daily import pixels
from semisonic.daily.passes import arrays
from semisonic.daily.passes.arrays import Features
from semisonic.daily.passes.images import Known, known_images, reading_of
from semisonic.daily.passes.job import Session, compute, left_out_of, locked_session
from semisonic.daily.passes.makers import Embedder
from semisonic.daily.passes.networks import find_networks
from semisonic.daily.passes.work import Work, begin
from semisonic.daily.store import State
from semisonic.inference.classifier import Classifier, load_classifier, weights_digest
from semisonic.inference.outputs import Wanted
from semisonic.schema import UserError
from semisonic.text import name_of, printable

if TYPE_CHECKING:
    from semisonic.daily.project import Project

PIXELS, INIT = "pixels", "init"
SHOWN = 5
"""Images that cannot be used and are listed."""


def open_features(project: "Project", space: str) -> Features | None:
    """What is kept of a space; None where that is nothing. It may lack images that are new."""
    return arrays.read(_folder(project), space)


def newest_run(project: "Project") -> str | None:
    """The newest run of the project that is finished."""
    with project.store() as store:
        names = [revision.run for revision in reversed(store.revisions())]
    return next((name for name in names if (project.runs / name / "summary.json").is_file()), None)


def space_of(project: "Project") -> str:
    """The best space that there is: the newest run's, that of `init`, or the pixels."""
    return newest_run(project) or (INIT if project.settings.fields.get("init") else PIXELS)


def features_for(
    project: "Project", space: str, at_work: Session | None = None, images: np.ndarray | None = None
) -> Features:
    """The features of images, and of all others that are kept. images: by number, int64 [N]; None: all of the project
    that are not rejected. Those that cannot be used are told, and are not among them.

    What is kept is extended by the images that are new, on all ranks and part by part. at_work: given by a step that
    holds the project's lock; otherwise the lock is taken where something is to be computed. Every rank may call it, all
    or none. Raises `UserError`, and `Stopped` after a signal.
    """
    if at_work is None and (found := _complete(project, space, images)) is not None:
        return found
    with ExitStack() as held:
        own = at_work or held.enter_context(locked_session(project, "embed"))
        ranks = own.ranks
        if space == PIXELS:
            _fit(project, own)
        task = ranks.from_main(lambda: _begin(project, space, images))
        if len(task.work.images):
            compute(
                task.work,
                Embedder(_network(project, space, ranks.device), task.known, reading=reading_of(project)),
                own,
            )
            ranks.from_main(lambda: _finish(project, space, task))
    return open_features(project, space) or Features(np.empty(0, np.int64), np.empty((0, 0), np.float16))


def embed(project: "Project", run: str, at_work: Session | None = None) -> Features:
    """`features_for` a run: today's new images by yesterday's network."""
    return features_for(project, run, at_work)


def _folder(project: "Project") -> Path:
    return project.features


def _wanted(project: "Project", images: np.ndarray | None = None) -> np.ndarray:
    """int64 [N], ascending: these images, or all that are not rejected."""
    if images is not None:
        return np.unique(images)
    with project.store() as store:
        current = store.current()
    return current.image[current.state != State.REJECTED]


def _complete(project: "Project", space: str, images: np.ndarray | None) -> Features | None:
    """What is kept, where nothing is to be computed: for readers beside a step at work."""
    found = open_features(project, space)
    return found if found is not None and (found.places(_wanted(project, images)) >= 0).all() else None


@dataclass(frozen=True, eq=False)
class _Task:
    """What rank 0 has found, for all ranks."""

    work: Work
    known: Known
    made_by: str
    """Digest of the network."""


def _begin(project: "Project", space: str, wanted: np.ndarray | None) -> _Task:
    network = _network(project, space, torch.device("cpu"))
    made_by = network.digest if isinstance(network, pixels.Components) else weights_digest(network)
    images, kept = _wanted(project, wanted), open_features(project, space)
    if kept is not None and kept.made_by == made_by:
        images = images[kept.places(images) < 0]
    work = begin(_folder(project) / f"{space}.parts", {"made by": made_by}, images)
    with project.store() as store:
        return _Task(work, known_images(store, work.images), made_by)


def _finish(project: "Project", space: str, task: _Task) -> None:
    keep_features(project, space, task.made_by, task.work)
    tell_left_out(project, left_out_of(task.work))
    task.work.remove()


def keep_features(project: "Project", space: str, made_by: str, work: Work) -> Features:
    """Puts the features that a step has made beside those that the same network made of other images."""
    folder = _folder(project)
    arrays.settle(folder, space)
    before = arrays.read(folder, space)
    if before is not None and (before.made_by != made_by or not len(before.ids)):
        before = None
    made = work.column("images")
    ids = made if before is None else np.union1d(before.ids, made)
    widths = [rows.shape[1] for _, rows in _parts(work)] if before is None else [before.rows.shape[1]]
    return arrays.write(folder, space, made_by, arrays.merged(before, _parts(work)), ids, widths[0] if widths else 0)


def _parts(work: Work) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for part in range(len(work.parts)):
        if len(images := work.read(part, "images")[0]):
            yield images, work.read(part, "features")[0]


def tell_left_out(project: "Project", left_out: list[tuple[int, str]]) -> None:
    """A line each of the first images that could not be used, and how many more there are."""
    if not left_out:
        return
    with project.store() as store:
        paths = store.paths(np.array([image for image, _ in left_out[:SHOWN]]))
    for path, (image, reason) in zip(paths, left_out, strict=False):
        print(f"left out: {name_of(path or f'image {image}')}: {printable(reason)}", file=sys.stderr)
    if len(left_out) > SHOWN:
        print(f"left out: {len(left_out) - SHOWN:,} more", file=sys.stderr)


def _network(project: "Project", space: str, device: torch.device) -> Classifier | pixels.Components:
    if space == PIXELS:
        table = pixels.read_table(_table(project), project.size)
        assert table is not None  # `_fit` came before
        return pixels.Components(project.size, device, table)
    if space == INIT:
        network = load_classifier(checkpoints.find(Path(project.settings.fields["init"])))
    else:
        network = load_classifier(find_networks(project.runs / space).main)
    Wanted(features=True).check(network)
    return network.to(device)


def _table(project: "Project") -> Path:
    return _folder(project) / "pixels.components.npy"


def _fit(project: "Project", own: Session) -> None:
    """Computes the components of the pixels where there are none, or those of few images among what there is now."""
    ranks, folder = own.ranks, _folder(project)

    def begun() -> _Task | None:
        images, kept = _wanted(project), open_features(project, PIXELS)
        there = pixels.read_table(_table(project), project.size) is not None
        enough = kept is not None and len(images) <= 2 * len(kept.ids)
        if there and (enough or (kept is not None and len(kept.ids) >= pixels.FITTED)):
            return None
        work = begin(folder / "components.parts", {"size": project.size}, pixels.sample(images))
        with project.store() as store:
            return _Task(work, known_images(store, work.images), "")

    if (task := ranks.from_main(begun)) is None:
        return
    compute(task.work, pixels.copies_of(project.size, ranks.device, task.known, reading_of(project)), own)

    def fitted() -> None:
        copies, left_out = [rows for _, rows in _parts(task.work)], left_out_of(task.work)
        if copies:
            pixels.write_table(_table(project), pixels.fit(np.concatenate(copies)))
        task.work.remove()
        if not copies:
            tell_left_out(project, left_out)
            raise UserError(f"{name_of(project.folder)}: has no images that can be used; `add` some")

    ranks.from_main(fitted)
