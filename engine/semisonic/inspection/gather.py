"""Which images a training would find, and which of them are for what."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.image_folder import class_problems, hold_back_test, list_images
from semisonic.data.sets.listing import Listing
from semisonic.data.sets.registry import data_problems
from semisonic.data.sets.walk import PassedOver, find_images
from semisonic.inspection.findings import Inspection
from semisonic.schema import UserError

ROLES = ("labeled", "unlabeled", "test", "of no role")
_SIZE = 32  # of the training images where none is given, which is no mistake here
LABELED, UNLABELED, TEST, OTHER = range(4)
"""Of an image; the last where the folder's layout is not understood, and all that can be said is about its files."""


@dataclass
class Gathered:
    """The images, training images first."""

    root: Path
    paths: list[str] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    label_N: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """-1 = unknown."""
    role_N: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    refused: bool = False
    """Whether a training would refuse them by their names and places alone."""


def gather(cfg: DataConfig, found: Inspection) -> Gathered:
    """The images that are listed; what is wrong with the listing, and what it passed over, goes into `found`."""
    found.problems += data_problems(cfg if cfg.size is not None else cfg.model_copy(update={"size": _SIZE}))
    listing = _listing(cfg, found)
    names = {label for _, label in listing.train if label is not None}
    classes = cfg.classes or tuple(sorted(names))
    if not found.problems:
        found.problems += class_problems(cfg, listing, classes, names)
    refused = bool(found.problems)
    if cfg.test == "none" and listing.test:
        found.notes.append(f"data.test=none: {len(listing.test):,} test images are not used")
        listing.test.clear()
    if not refused and not listing.test and cfg.test != "none":
        try:
            hold_back_test(listing, cfg.test_fraction)
            found.roles.test_held_back = True
        except UserError as error:
            found.problems += error.messages
            refused = True
    found.notes += listing.notes
    _tell_passed_over(listing.passed, found)
    return _gathered(listing, classes, found, refused)


def _listing(cfg: DataConfig, found: Inspection) -> Listing:
    """What a training would list. Where the layout is not understood, all images below the folder, without a class."""
    root = cfg.root or (cfg.csv.parent if cfg.csv else Path())
    try:
        listing = list_images(cfg)
    except UserError as error:
        listing = Listing(root, problems=error.messages)
    found.problems += [problem for problem in listing.problems if problem not in found.problems]
    if not listing.train and not listing.test and cfg.csv is None:
        listing.passed = PassedOver()
        listing.train = [(path, None) for path in find_images(root, root, listing.passed)]
    return listing


def _tell_passed_over(passed: PassedOver, found: Inspection) -> None:
    found.passed_over = dict(passed.endings.most_common())
    found.tools = dict(passed.tools.most_common())
    found.written = list(passed.written)
    found.advice = passed.advice() if passed.endings else ""


def _gathered(listing: Listing, classes: tuple[str, ...], found: Inspection, refused: bool) -> Gathered:
    number = {name: label for label, name in enumerate(classes)}
    items = [*listing.train, *listing.test]
    label_N = np.array([-1 if name is None else number.get(name, -1) for _, name in items], np.int64)
    role_N = np.full(len(items), TEST, np.uint8)
    without = UNLABELED if classes else OTHER
    role_N[: len(listing.train)] = np.where(label_N[: len(listing.train)] >= 0, LABELED, without)
    counts = np.bincount(role_N, minlength=len(ROLES)).tolist()
    found.roles.labeled, found.roles.unlabeled, found.roles.test, found.roles.other = counts
    return Gathered(listing.root, [path for path, _ in items], classes, label_N, role_N, refused)
