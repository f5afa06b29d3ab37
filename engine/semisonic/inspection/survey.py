"""Looks at all image files of a folder or CSV as a training would, and writes nothing."""

import os
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from semisonic.data.sets.base import IMAGENET_MEAN, IMAGENET_STD, DataConfig, DataSet, ImageFiles
from semisonic.data.sets.duplicates import Duplicates, find_duplicates, held_out_apart, without_duplicates
from semisonic.data.sets.splits import Split, make_split, split_notes
from semisonic.data.sets.typical import chooser
from semisonic.inspection import copies, headers
from semisonic.inspection.facts import Pixels, header, pixels
from semisonic.inspection.findings import ClassCount, Decoded, Inspection, Unusable
from semisonic.inspection.gather import LABELED, ROLES, TEST, Gathered, gather
from semisonic.inspection.passes import over_files
from semisonic.inspection.suggestions import odd_classes, odd_roles, suggest, uneven_classes
from semisonic.schema import UserError

SAMPLE = 2000
"""Images of each role that are decoded where nothing else is asked for."""


@dataclass
class Survey:
    """What an inspection found, and what its contact sheet is made of."""

    found: Inspection
    images: Gathered
    table: headers.Headers
    decoded: dict[int, Pixels] = field(default_factory=dict)
    """By the position of the image."""
    duplicates: Duplicates | None = None

    @property
    def unusable(self) -> dict[int, str]:
        """Why training cannot use an image, by its position."""
        broken = {i: pixels.reason for i, pixels in self.decoded.items() if pixels.reason}
        return dict(sorted((self.table.reasons | broken).items()))


def survey(cfg: DataConfig, seed: int, source: str, sample: int | None) -> Survey:
    """Looks at the images of a configuration with `data.name` folder; all that is wrong is in what it returns.

    seed: of the run, for what it would draw. sample: images of each role that are decoded; None = all.
    """
    found = Inspection(source)
    images = gather(cfg, found)
    full = [os.path.join(images.root, path) for path in images.paths]
    table = headers.collect(
        over_files(partial(header, limits=cfg.limits), full, "Reading headers", cfg.workers), len(full)
    )
    seen = Survey(found, images, table)
    chosen = spread(images.role_N, sample)
    looked_at = over_files(
        partial(pixels, limits=cfg.limits), [full[i] for i in chosen.tolist()], "Decoding images", cfg.workers
    )
    seen.decoded = dict(zip(chosen.tolist(), looked_at, strict=True))
    found.files = headers.summary(table, images.paths, cfg.size if "size" in cfg.model_fields_set else None)
    found.decoded = _decoded(seen)
    found.unusable = [Unusable(images.paths[i], reason) for i, reason in seen.unusable.items()]
    _compare(seen, cfg, seed)
    found.notes += [*odd_roles(found.roles), *odd_classes(images.classes), *uneven_classes(found.classes)]
    suggest(found, cfg)
    return seen


def spread(role_N: np.ndarray, sample: int | None) -> np.ndarray:
    """Positions of up to `sample` images of each role, sorted, at equal distances in its list."""
    parts = [np.flatnonzero(role_N == role) for role in range(len(ROLES))]
    if sample is not None:
        parts = [
            own[np.unique(np.linspace(0, len(own) - 1, min(sample, len(own))).round().astype(int))] for own in parts
        ]
    return np.sort(np.concatenate(parts))


def _decoded(seen: Survey) -> Decoded:
    shown = {i: pixels for i, pixels in seen.decoded.items() if not pixels.reason}
    colored = {number for number, name in enumerate(seen.table.colors) if "RGB" in name}
    gray = [i for i, pixels in shown.items() if pixels.gray and int(seen.table.color_N[i]) in colored]
    return Decoded(
        images=len(seen.decoded),
        whole=len(seen.decoded) == len(seen.images.paths),
        via_pillow=sum(pixels.via_pillow for pixels in shown.values()),
        gray=len(gray),
        nearly_empty=[seen.images.paths[i] for i, pixels in shown.items() if pixels.nearly_empty],
    )


def _compare(seen: Survey, cfg: DataConfig, seed: int) -> None:
    """Copies, and what a run would draw; with what would make it refuse the images."""
    found, images = seen.found, seen.images
    content_NB = copies.digests(images.root, images.paths, seen.table, cfg.workers)
    train, test = (_files(seen, content_NB, images.role_N != TEST), _files(seen, content_NB, images.role_N == TEST))
    seen.duplicates = find_duplicates(train, test)
    found.copies = copies.describe(seen.duplicates, images.paths, seen.table)
    unusable = set(seen.unusable)
    if unusable and cfg.bad_files == "error":
        found.problems.append(
            f"data.bad_files: {len(unusable):,} of {len(images.paths):,} images cannot be used; repair or remove them, "
            "or set data.bad_files=skip to leave them out"
        )
    left_N = np.array([i not in unusable for i in range(len(images.paths))], bool)
    data = None
    if not images.refused:
        data = _data_set(seen, cfg, content_NB, left_N)
    _count(seen, cfg, seed, data)


def _files(seen: Survey, content_NB: np.ndarray, chosen_N: np.ndarray) -> ImageFiles:
    chosen = np.flatnonzero(chosen_N)
    return ImageFiles(
        seen.images.root,
        [seen.images.paths[i] for i in chosen.tolist()],
        seen.images.label_N[chosen],
        seen.table.shapes_N2[chosen],
        np.zeros(len(chosen), bool),
        seen.table.bytes_N[chosen],
        content_NB[chosen],
    )


def _data_set(seen: Survey, cfg: DataConfig, content_NB: np.ndarray, left_N: np.ndarray) -> DataSet | None:
    """What a training would get, without reading more; None where it would refuse the images."""
    images, found = seen.images, seen.found
    test = _files(seen, content_NB, left_N & (images.role_N == TEST))
    try:
        data = DataSet(
            "folder", images.classes, cfg.size or 32, IMAGENET_MEAN, IMAGENET_STD, flip=True, pad=0,
            train=_files(seen, content_NB, left_N & (images.role_N != TEST)),
            test=test if len(test) or found.roles.test else None,
            held_back=found.roles.test_held_back,
        )  # fmt: skip
        return without_duplicates(data, cfg)
    except UserError as error:
        found.problems += error.messages
        return None


def _count(seen: Survey, cfg: DataConfig, seed: int, data: DataSet | None) -> None:
    """Images by class and role, and what a run would draw of them."""
    images, found, classes = seen.images, seen.found, len(seen.images.classes)

    def counted(label_K: np.ndarray) -> list[int]:
        return np.bincount(label_K[label_K >= 0], minlength=classes).tolist()

    drawn, held_out = [0] * classes, [0] * classes
    if data is not None and (split := _split(seen, cfg, seed, data)):
        drawn, held_out = (counted(data.train.labels[part]) for part in (split.labeled, split.held_out))
        found.roles.drawn, found.roles.held_out = len(split.labeled), len(split.held_out)
        found.roles.pool = len(split.unlabeled)
    labeled, test = (counted(images.label_N[images.role_N == role]) for role in (LABELED, TEST))
    found.classes = [ClassCount(*entry) for entry in zip(images.classes, labeled, drawn, held_out, test, strict=True)]


def _split(seen: Survey, cfg: DataConfig, seed: int, data: DataSet) -> Split | None:
    """What a run would draw; None where it would refuse to."""
    assert isinstance(data.train, ImageFiles)
    found, label_N = seen.found, data.train.labels
    found.notes += [note for note in data.notes if note not in found.notes]
    try:
        split = make_split(cfg, label_N, len(data.classes), seed, data.train.paths, data.classes, chooser(data.train))
        split = held_out_apart(cfg, data, split)
    except UserError as error:
        found.problems += error.messages
        return None
    found.notes += split_notes(split, label_N, data.classes)
    if not len(split.unlabeled):
        found.problems.append(
            "data.labels: every image is labeled, which leaves no unlabeled pool; set data.labels or "
            "data.unlabeled_includes_labeled"
        )
    return split
