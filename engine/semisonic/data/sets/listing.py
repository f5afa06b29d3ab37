"""Your own images: one folder a class, labeled and unlabeled folders, or a CSV (`csv_listing.py`).

Labeled images are in `root`/labeled/CLASS/ or `root`/train/CLASS/ (at any depth below the class) or,
where neither exists, in `root`/CLASS/. Images without a label are anywhere in `root`/unlabeled/. Test
images are in `data.test_root`/CLASS/, `root`/test/CLASS/ or `root`/val/CLASS/, the first of these that
exists; where none does, a fixed share of every class's labeled images is kept for the test
(`data.test_fraction`). `spellings.py` has the other names that these folders may have.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.layout import class_folders, find_layout, lost, read_folder
from semisonic.data.sets.walk import PassedOver, find_images

SHOWN = 20
"""Mistakes of a kind."""


@dataclass
class Listing:
    """Image files by part: path relative to `root` (absolute outside it) and class name (None: unknown)."""

    root: Path
    train: list[tuple[str, str | None]] = field(default_factory=list)
    test: list[tuple[str, str | None]] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    """Path of a labeled training image -> how much it counts, where that is told; others count by 1."""
    passed: PassedOver = field(default_factory=PassedOver)
    """What else is in the folders."""
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def doubt(self, cfg: DataConfig, doubts: Sequence[str]) -> None:
        """Notes what is probably not meant so, as a mistake or as it is."""
        (self.problems if cfg.doubts == "refuse" else self.notes).extend(doubts)


@dataclass
class ClassFolder:
    """A folder of the images of one class."""

    name: str
    paths: list[str]
    passed: PassedOver


def list_tree(cfg: DataConfig) -> Listing:
    """The images of `data.root`, with what is wrong."""
    layout = find_layout(cfg)
    assert cfg.root is not None
    listing = Listing(cfg.root, notes=layout.notes, problems=layout.problems)
    if layout.problems:
        return listing
    listing.train += list_classes(listing, "data.root", layout.labeled, layout.classes)
    if layout.unlabeled is not None:
        listing.train += [(path, None) for path in _list_pool(listing, layout.unlabeled)]
    if layout.test is not None:
        name = "data.root" if cfg.test_root is None else "data.test_root"
        listing.test += list_classes(listing, name, layout.test)
    return listing


def list_classes(
    listing: Listing, field_name: str, folder: Path, names: Sequence[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Path and class of each image in the class folders of `folder`; what is wrong goes into the listing.

    field_name: that leads to the folder. names: of its class folders, if not all.
    """
    if names is None:
        names, problems = class_folders(field_name, folder)
        listing.problems += problems
    if stray := read_folder(folder).images:
        listing.problems.append(
            f"{field_name}: {len(stray)} images directly in {folder} belong to no class, such as {stray[0]}; "
            "move them to a class folder or to unlabeled/"
        )
    for own in class_images(folder, listing.root, names, listing.passed):
        listing.problems += [lost(field_name, broken) for broken in own.passed.broken[:SHOWN]]
        if not own.paths:
            listing.problems.append(f"{field_name}: the class folder {folder / own.name} holds no images{_but(own)}")
        yield from ((path, own.name) for path in own.paths)


def class_images(folder: Path, root: Path, names: Sequence[str], passed: PassedOver) -> Iterator[ClassFolder]:
    """The images of each class folder, by the one listing; those of folders that hold nothing but what this program
    wrote, such as `runs/`, are no classes. What is left out is added to `passed`, too."""
    for name in names:
        own = PassedOver()
        paths = find_images(folder / name, root, own)
        passed.add(own)
        if paths or own.broken or not own.written:
            yield ClassFolder(name, paths, own)


def _but(own: ClassFolder) -> str:
    """What a class folder holds in place of images."""
    if not own.passed.endings:
        return ""
    advice = own.passed.advice()
    return f", but files that are none by name ({own.passed.by_ending()})" + (f"; {advice}" if advice else "")


def _list_pool(listing: Listing, folder: Path) -> list[str]:
    own = PassedOver()
    paths = find_images(folder, listing.root, own)
    listing.passed.add(own)
    listing.problems += [lost("data.root", broken) for broken in own.broken[:SHOWN]]
    if not paths:
        what = ClassFolder(folder.name, paths, own)
        listing.problems.append(f"data.root: the folder of unlabeled images {folder} holds no images{_but(what)}")
    return paths


def shortened(problems: Sequence[str], where: str) -> list[str]:
    """The first mistakes, and how many more there are."""
    if len(problems) <= SHOWN:
        return list(problems)
    return [*problems[:SHOWN], f"{where} has {len(problems) - SHOWN} more mistakes"]
