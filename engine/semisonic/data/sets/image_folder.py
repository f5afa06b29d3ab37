"""Your own images (`listing.py` says in which layouts): found, scanned once, and made a data set."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from semisonic.data.sets.base import IMAGENET_MEAN, IMAGENET_STD, DataConfig, DataSet, ImageFiles
from semisonic.data.sets.checks import unwritable
from semisonic.data.sets.class_names import alike_problems
from semisonic.data.sets.csv_listing import list_csv, open_list
from semisonic.data.sets.layout import class_folders, find_layout, read_folder
from semisonic.data.sets.listing import Listing, list_tree
from semisonic.data.sets.manifest import VIA_PILLOW, ScannedFile, pack_digests, scan
from semisonic.data.sets.published import damaged
from semisonic.schema import UserError

_SHOWN = 20  # bad files


def folder_problems(cfg: DataConfig) -> list[str]:
    """Mistakes that show without walking through the images, one line each."""
    problems = []
    if cfg.pad is not None:
        problems.append(
            "data.pad: image files have no margin, their random crop is a part of the picture; leave it out"
        )
    if cfg.size is None:
        problems.append("data.size: needed for data.name=folder: the side of the training images in pixels, such as 96")
    if cfg.root is None and cfg.csv is None:
        return [
            *problems,
            "data.root: needed for data.name=folder: the folder of the images (or give data.csv)",
        ]
    if cfg.test_root is not None:
        problems += class_folders("data.test_root", cfg.test_root)[1]
    if cfg.root is not None and (error := read_folder(cfg.root).error):
        return [*problems, f"data.root: {error}"]
    if cfg.csv is not None:
        try:
            open_list(cfg.csv, cfg.limits)
        except UserError as error:
            problems += error.messages
        return problems
    return problems + find_layout(cfg).problems


def load_folder(cfg: DataConfig) -> DataSet:
    """Find the images, check every file that the manifest does not know, and build the data set.

    Raises UserError with every mistake found.
    """
    assert cfg.size is not None
    listing = list_images(cfg)
    if listing.problems:
        raise UserError(listing.problems)
    found = {label for _, label in listing.train if label is not None}
    classes = cfg.classes or tuple(sorted(found))
    if problems := class_problems(cfg, listing, classes, found):
        raise UserError(problems)

    notes = [*listing.notes, *listing.passed.notes()]
    if cfg.test == "none" and listing.test:
        notes.append(f"data.test=none: {len(listing.test):,} test images are not used")
        listing.test.clear()
    if held_back := not listing.test and cfg.test != "none":
        notes.append(hold_back_test(listing, cfg.test_fraction))
    train, test = scan_listing(cfg, listing, classes, notes)
    return files_data_set(cfg, cfg.size, classes, train, test if len(test) else None, notes, held_back)


def files_data_set(
    cfg: DataConfig,
    size: int,
    classes: tuple[str, ...],
    train: ImageFiles,
    test: ImageFiles | None,
    notes: list[str],
    held_back: bool = False,
) -> DataSet:
    """A data set of image files, shown at `size`."""
    return DataSet(
        cfg.name,
        classes,
        size,
        IMAGENET_MEAN,  # the usual choice for natural images
        IMAGENET_STD,
        flip=True if cfg.flip is None else cfg.flip,
        pad=size // 8,  # which files do not have
        train=train,
        test=test,
        notes=tuple(notes),
        held_back=held_back,
        crop_area=cfg.crop_area,
    )


def list_images(cfg: DataConfig) -> Listing:
    """The images of a folder or CSV, with what is wrong."""
    return list_csv(cfg) if cfg.csv is not None else list_tree(cfg)


def class_problems(cfg: DataConfig, listing: Listing, classes: tuple[str, ...], found: set[str]) -> list[str]:
    """What is wrong with the classes of a listing; found: those of its labeled images."""
    if unnamed := unwritable(sorted(found)):
        return [f"data.root: {listing.root} has classes whose names are not UTF-8: {_some(unnamed)}; rename them"]
    problems = []
    if unlisted := sorted(found - set(classes)):
        problems.append(
            f"data.classes: {listing.root} has labeled images of classes that are not listed: {_some(unlisted)}; "
            "list them too, or take them out"
        )
    without = [name for name in classes if name not in found]
    if without and cfg.absent_classes == "refuse":
        problems.append(
            f"data.classes: {listing.root} has no labeled images of {_some(without)}; every class that is listed needs "
            "some; --data.absent_classes warn goes on without"
        )
    if problems:
        return [*problems[:-1], f"{problems[-1]}; in a new run, --data.classes none takes those that are there"]
    named = {*found, *(label for _, label in listing.test if label is not None)}
    where = ("data.root", listing.root) if cfg.csv is None else ("data.csv", cfg.csv)
    if not cfg.classes:
        listing.doubt(cfg, alike_problems(where[0], str(where[1]), named))
    if listing.problems:
        return listing.problems
    labeled = tuple(name for name in classes if name in found)
    if len(labeled) < 2:
        problems.append(f"{where[0]}: {where[1]} has {_classes(labeled)} of labeled images; at least 2 are needed")
    elif unknown := sorted({label for _, label in listing.test if label is not None} - set(classes)):
        name = "data.test_root" if cfg.test_root is not None else where[0]
        problems.append(f"{name}: there are test images of classes without a labeled training image: {_some(unknown)}")
    return problems


def _classes(names: tuple[str, ...]) -> str:
    return f"only the class {names[0]}" if names else "no class"


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def hold_back_test(listing: Listing, fraction: float) -> str:
    """Move a share of every class from train to test, chosen by a hash of the path, and say so."""
    by_class: dict[str, list[str]] = {}
    for path, label in listing.train:
        if label is not None:
            by_class.setdefault(label, []).append(path)
    if small := sorted(label for label, paths in by_class.items() if len(paths) < 2):
        raise UserError(
            f"data.test_root: there are no test images, and class {small[0]} has too few labeled ones to "
            "keep some for the test; give test images, or do without with data.test=none"
        )
    chosen = set()
    for paths in by_class.values():
        count = min(max(round(fraction * len(paths)), 1), len(paths) - 1)
        chosen.update(sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(path)).digest())[:count])
    listing.test = [item for item in listing.train if item[0] in chosen]
    listing.train = [item for item in listing.train if item[0] not in chosen]
    return (
        f"no test images given: {len(chosen)} of the labeled images, {fraction:.0%} of every class, are "
        "the test set (the same for every seed); data.test=none trains on all of them"
    )


def scan_listing(
    cfg: DataConfig, listing: Listing, classes: tuple[str, ...], notes: list[str], source: str = ""
) -> tuple[ImageFiles, ImageFiles]:
    """The training and test images of a listing, each of which was decoded once; what is left out goes to the notes.

    source: where to get a published set, whose damaged files are one line. Raises UserError.
    """
    items = listing.train + listing.test
    entries = scan(listing.root, [path for path, _ in items], cfg.workers, limits=cfg.limits).entries
    bad = [(path, entry.reason) for (path, _), entry in zip(items, entries, strict=True) if not entry.sound]
    if bad and cfg.bad_files == "error":
        if source:
            raise damaged(cfg, listing.root / bad[0][0], bad[0][1], source, others=len(bad) - 1)
        lines = [f"data.root: cannot decode {listing.root / path}: {reason}" for path, reason in bad[:_SHOWN]]
        if len(bad) > _SHOWN:
            lines.append(f"data.root: {len(bad) - _SHOWN} more files cannot be decoded")
        advice = "repair or remove them, or set data.bad_files=skip to leave them out"
        if cfg.csv is not None and not any(entry.sound for entry in entries):
            advice = f"their paths are taken from {listing.root}; data.root changes that"
        raise UserError([f"data.bad_files: {len(bad)} of {len(items)} images cannot be decoded; {advice}", *lines])
    if bad:
        notes.append(f"{len(bad)} of {len(items)} images cannot be decoded and are left out, such as {bad[0][0]}")
    number = {name: label for label, name in enumerate(classes)}
    labeled = [(path, -1 if name is None else number[name]) for path, name in items]
    middle = len(listing.train)
    train = _files(listing.root, labeled[:middle], entries[:middle])
    test = _files(listing.root, labeled[middle:], entries[middle:])
    if cfg.weight_column is not None:
        train = replace(train, weights=np.array([listing.weights.get(path, 1.0) for path in train.paths]))
    if not len(train) or (listing.test and not len(test)):
        raise UserError(f"data.root: no image of {listing.root} that can be decoded is left to train or to test on")
    return train, test


def _files(root: Path, items: list[tuple[str, int]], entries: list[ScannedFile]) -> ImageFiles:
    kept = [(*item, entry) for item, entry in zip(items, entries, strict=True) if entry.sound]
    return ImageFiles(
        root,
        [path for path, _, _ in kept],
        np.array([label for _, label, _ in kept], np.int64),
        np.array([(entry.height, entry.width) for _, _, entry in kept], np.int32).reshape(-1, 2),
        np.array([entry.status == VIA_PILLOW for _, _, entry in kept], bool),
        np.array([entry.bytes for _, _, entry in kept], np.int64),
        pack_digests(entry.digest for _, _, entry in kept),
    )
