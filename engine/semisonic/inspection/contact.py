"""Which images a contact sheet shows: a few of every class and role, and what looks wrong in rows of its own."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.walk import count_of
from semisonic.inspection.gather import LABELED, OTHER, TEST, UNLABELED
from semisonic.inspection.passes import over_files
from semisonic.inspection.report import shown_classes
from semisonic.inspection.sheet import Row, Section, Sheet, Thumb, thumbnail
from semisonic.inspection.survey import Survey
from semisonic.text import name_of

CLASSES = 40
"""Classes that are shown; of more, those with the most labeled images and those with the fewest."""
OF_TRAINING, OF_TEST, ACROSS = 8, 4, 12
"""Images of a row: of a class by role, and of all roles."""
PAIRS = (2,) * 5
"""Pairs of equal images in a row."""
ODD = 24
"""Images of a kind that looks wrong, at most."""


class Wanted(NamedTuple):
    """An image of a row before it is decoded."""

    image: int
    caption: str = ""


class Planned(NamedTuple):
    """A row before its images are decoded."""

    name: str
    details: tuple[str, ...]
    blocks: tuple[tuple[Wanted, ...], ...]


def contact_sheet(seen: Survey, cfg: DataConfig) -> Sheet:
    """The sheet of what was found; decodes the images on it."""
    found = seen.found
    parts = f"{found.roles.labeled:,} labeled, {found.roles.unlabeled:,} unlabeled, {found.roles.test:,} test images"
    sheet = Sheet(name_of(found.source), f"{parts} of {len(found.classes):,} classes")
    planned = list(_sections(seen))
    images = sorted({w.image for _, rows in planned for row in rows for block in row.blocks for w in block})
    full = [os.path.join(seen.images.root, seen.images.paths[image]) for image in images]
    png = dict(
        zip(images, over_files(partial(thumbnail, limits=cfg.limits), full, "Drawing images", cfg.workers), strict=True)
    )

    def drawn(block: Sequence[Wanted]) -> tuple[Thumb, ...]:
        return tuple(Thumb(png[image], caption, name_of(seen.images.paths[image])) for image, caption in block)

    for section, rows in planned:
        section.rows.extend(Row(row.name, row.details, tuple(map(drawn, row.blocks))) for row in rows)
        sheet.sections.append(section)
    return sheet


def _sections(seen: Survey) -> Iterator[tuple[Section, list[Planned]]]:
    yield from _classes(seen)
    for role, title in ((UNLABELED, "Unlabeled"), (OTHER, "Images of no role")):
        own = np.flatnonzero(seen.images.role_N == role)
        if len(own):
            rows = _in_rows(title.lower(), [Wanted(i) for i in _some(seen, own, 2 * ACROSS)])
            yield Section(f"{title}: {len(own):,}", [], slots=(ACROSS,)), rows
    for title, rows, slots in (("Equal images", _equal(seen), PAIRS), ("To look at", _odd(seen), (ACROSS,))):
        if rows:
            yield Section(title, [], slots=slots), rows


def _classes(seen: Survey) -> Iterator[tuple[Section, list[Planned]]]:
    classes, images = seen.found.classes, seen.images
    shown = shown_classes(classes, CLASSES)
    number = {name: label for label, name in enumerate(images.classes)}
    rows = []
    for entry in shown:
        own = images.label_N == number[entry.name]
        blocks = [_some(seen, np.flatnonzero(own & (images.role_N == LABELED)), OF_TRAINING)]
        if seen.found.roles.test:
            blocks.append(_some(seen, np.flatnonzero(own & (images.role_N == TEST)), OF_TEST))
        used = (f"{entry.drawn:,} would be used",) if entry.drawn not in (0, entry.labeled) else ()
        details = (f"{entry.labeled:,} labeled", *used, *((f"{entry.test:,} test",) if len(blocks) > 1 else ()))
        rows.append(Planned(name_of(entry.name), details, tuple(tuple(map(Wanted, block)) for block in blocks)))
    if not rows:
        return
    note = ""
    if len(shown) < len(classes):
        note = f"{len(shown)} of {len(classes):,}: those with the most labeled images and those with the fewest"
    heads = ("labeled", "test") if seen.found.roles.test else ()
    slots = (OF_TRAINING, OF_TEST) if seen.found.roles.test else (ACROSS,)
    yield Section("Classes", [], heads, slots, note), rows


def _some(seen: Survey, own_K: np.ndarray, most: int) -> list[int]:
    """Up to so many of the images, at equal distances, without those that cannot be used."""
    unusable = seen.unusable
    usable = [i for i in own_K.tolist() if i not in unusable] if unusable else own_K.tolist()
    if not usable:
        return []
    places = np.unique(np.linspace(0, len(usable) - 1, min(most, len(usable))).round().astype(int))
    return [usable[place] for place in places.tolist()]


def _in_rows(name: str, wanted: Sequence[Wanted], *details: str) -> list[Planned]:
    """As many rows as the images need; the first has the name."""
    blocks = [tuple(wanted[start : start + ACROSS]) for start in range(0, len(wanted), ACROSS)]
    return [Planned(*(("", ()) if number else (name, details)), (block,)) for number, block in enumerate(blocks)]


def _in_pairs(seen: Survey, name: str, pairs: Sequence[Sequence[int]], *details: str) -> list[Planned]:
    """The same of images in pairs, with their captions."""
    blocks = [tuple(Wanted(image, _caption(seen, image)) for image in pair[:2]) for pair in pairs[: ODD // 2]]
    rows = [tuple(blocks[start : start + len(PAIRS)]) for start in range(0, len(blocks), len(PAIRS))]
    return [Planned(*(("", ()) if number else (name, details)), row) for number, row in enumerate(rows)]


def _equal(seen: Survey) -> list[Planned]:
    duplicates = seen.duplicates
    if duplicates is None:
        return []
    contradictions, leaks = duplicates.contradictions, duplicates.leaks
    told = {image for pair in (*contradictions, *leaks) for image in pair}
    others = [group for group in duplicates.groups if not told & set(group)]
    return [
        *_in_pairs(seen, "one image, two classes", contradictions, count_of(len(contradictions), "image")),
        *_in_pairs(seen, "in test and training", leaks, count_of(len(leaks), "image")),
        *_in_pairs(seen, "copies", others, count_of(len(others), "image"), "two copies of each"),
    ]


def _odd(seen: Survey) -> list[Planned]:
    empty = [i for i, pixels in seen.decoded.items() if pixels.nearly_empty]
    unusable = seen.unusable
    return [
        *_in_rows("nearly empty", [Wanted(i, _caption(seen, i)) for i in empty[:ODD]], count_of(len(empty), "image")),
        *_in_rows(
            "cannot be used",
            [Wanted(i, f"{_file(seen, i)}\n{name_of(unusable[i])}") for i in list(unusable)[:ODD]],
            count_of(len(unusable), "file"),
        ),
    ]


def _caption(seen: Survey, image: int) -> str:
    """Its class and role, and its file."""
    label, role = int(seen.images.label_N[image]), int(seen.images.role_N[image])
    name = name_of(seen.images.classes[label]) if label >= 0 else "no label"
    return f"{name}{' (test)' if role == TEST else ''}\n{_file(seen, image)}"


def _file(seen: Survey, image: int) -> str:
    return name_of(os.path.basename(seen.images.paths[image]))
