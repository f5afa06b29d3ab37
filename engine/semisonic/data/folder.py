"""Your own images: one folder a class, labelled and unlabelled folders, or a CSV.

Labelled images are in `root`/labelled/CLASS/ or `root`/train/CLASS/ (at any depth below the class) or,
where neither exists, in `root`/CLASS/. Images without a label are anywhere in `root`/unlabelled/. Test
images are in `data.test_root`/CLASS/, `root`/test/CLASS/ or `root`/val/CLASS/, the first of these that
exists; where none does, a fixed share of every class's labelled images is kept for the test
(`data.test_fraction`). A CSV (`data.csv`) says the same in columns: path, label (empty: unlabelled) and
optionally split (train or test).
"""

import csv
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from semisonic.data.base import DataConfig, DataSet, Files
from semisonic.data.manifest import BAD, VIA_PILLOW, Entry, scan
from semisonic.schema import UserError

# Of ImageNet, the usual choice for natural images.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_EXTENSIONS = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".dib",
        ".gif",
        ".webp",
        ".avif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".tga",
    ]
)
_LABELLED = ("labelled", "labeled", "train")
_UNLABELLED = ("unlabelled", "unlabeled")
_TEST = ("test", "val")
_SHOWN = 20


@dataclass
class Layout:
    """Where the parts of a folder are; a part that is missing is None."""

    labelled: Path
    unlabelled: Path | None = None
    test: Path | None = None
    problems: list[str] = field(default_factory=list)


@dataclass
class Listing:
    """Image files by part: path relative to `root` (absolute outside it) and class name (None: unknown)."""

    root: Path
    train: list[tuple[str, str | None]] = field(default_factory=list)
    test: list[tuple[str, str | None]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    """Files without an image's extension."""
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def check_folder(cfg: DataConfig) -> list[str]:
    """Mistakes that show without walking through the images, one line each."""
    problems = []
    if cfg.size is None:
        problems.append(
            "data.size: needed for data.name=folder: the side of the training images in pixels, such as 96"
        )
    if cfg.root is None and cfg.csv is None:
        return [
            *problems,
            "data.root: needed for data.name=folder: the folder of the images (or give data.csv)",
        ]
    if cfg.test_root is not None:
        problems += _class_folders("data.test_root", cfg.test_root.expanduser())[1]
    if cfg.root is not None:
        root_problems = _subfolders("data.root", cfg.root.expanduser())[1]
        if root_problems:
            return problems + root_problems
    if cfg.csv is not None:
        try:
            _read_csv_header(cfg.csv.expanduser())
        except UserError as error:
            problems += error.messages
        return problems
    return problems + find_layout(cfg).problems


def find_layout(cfg: DataConfig) -> Layout:
    """Which of the layouts at the top of this file `data.root` has."""
    assert cfg.root is not None
    root = cfg.root.expanduser()
    names, problems = _subfolders("data.root", root)
    if problems:
        return Layout(root, problems=problems)
    labelled, unlabelled, test = ([n for n in part if n in names] for part in (_LABELLED, _UNLABELLED, _TEST))
    for found in (labelled, unlabelled):
        if len(found) > 1:
            problems.append(f"data.root: {root} has both {found[0]}/ and {found[1]}/; keep one of them")
    layout = Layout(root / labelled[0] if labelled else root, problems=problems)
    layout.unlabelled = root / unlabelled[0] if unlabelled else None
    if cfg.test_root is not None:
        layout.test = cfg.test_root.expanduser()
    elif test:
        layout.test = root / test[0]
    special = () if labelled else (*_UNLABELLED, *_TEST)
    problems += _class_folders("data.root", layout.labelled, special)[1]
    if layout.test is not None and cfg.test_root is None:
        problems += _class_folders("data.root", layout.test)[1]
    return layout


def _subfolders(name: str, folder: Path) -> tuple[list[str], list[str]]:
    """Names of the visible folders in `folder`, sorted, and why they cannot be listed (at most one line)."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith(".")), []
    except OSError as error:
        return [], [f"{name}: cannot read the folder {folder}: {error.strerror}"]


def _class_folders(name: str, folder: Path, special: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    names, problems = _subfolders(name, folder)
    names = [n for n in names if n not in special]
    if not names and not problems:
        problems = [f"{name}: {folder} holds no class folders; one folder of images a class is needed"]
    return names, problems


def load_folder(cfg: DataConfig) -> DataSet:
    """Find the images, check every file that the manifest does not know, and build the data set.

    Raises UserError with every mistake found.
    """
    assert cfg.size is not None
    try:
        listing = _list_csv(cfg) if cfg.csv is not None else _list_tree(cfg)
    except OSError as error:
        raise UserError(f"data.root: cannot read {error.filename}: {error.strerror}") from error
    if listing.problems:
        raise UserError(listing.problems)
    classes = tuple(sorted({label for _, label in listing.train if label is not None}))
    if problems := _check_classes(listing, classes):
        raise UserError(problems)

    notes = listing.notes
    if listing.ignored:
        notes.append(f"{len(listing.ignored)} files are not images by name, such as {listing.ignored[0]}")
    if not listing.test:
        notes.append(_hold_back_test(listing, cfg.test_fraction))
    train, test = _scan(cfg, listing, classes, notes)
    return DataSet(
        "folder",
        classes,
        cfg.size,
        MEAN,
        STD,
        flip=True if cfg.flip is None else cfg.flip,
        pad=cfg.size // 8 if cfg.pad is None else cfg.pad,
        train=train,
        test=test,
        notes=tuple(notes),
    )


def _list_tree(cfg: DataConfig) -> Listing:
    layout = find_layout(cfg)
    assert cfg.root is not None
    listing = Listing(cfg.root.expanduser(), problems=layout.problems)
    if layout.problems:
        return listing
    at_top = layout.labelled == listing.root
    special = (*_UNLABELLED, *_TEST) if at_top else ()
    unused = [name for name in _subfolders("data.root", listing.root)[0] if not at_top or name in special]
    unused = [n for n in unused if listing.root / n not in (layout.labelled, layout.unlabelled, layout.test)]
    if unused:
        listing.notes.append(f"not used in {listing.root}: {', '.join(f'{name}/' for name in unused)}")
    listing.train += _list_classes(listing, layout.labelled, special)
    if layout.unlabelled is not None:
        listing.train += [(path, None) for path in _images(listing, layout.unlabelled)]
    if layout.test is not None:
        listing.test += _list_classes(listing, layout.test)
    return listing


def _list_classes(listing: Listing, folder: Path, special: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    names, _ = _class_folders("data.root", folder, special)
    with os.scandir(folder) as entries:
        stray = sorted(e.name for e in entries if e.is_file() and _is_image(e.name))
    if stray:
        listing.problems.append(
            f"data.root: {len(stray)} images directly in {folder} belong to no class, such as {stray[0]}; "
            "move them to a class folder or to unlabelled/"
        )
    for name in names:
        paths = list(_images(listing, folder / name))
        if not paths:
            listing.problems.append(f"data.root: the class folder {folder / name} holds no images")
        yield from ((path, name) for path in paths)


def _images(listing: Listing, folder: Path) -> list[str]:
    """Visible image files below `folder`, sorted, links followed (once each)."""
    paths: list[str] = []
    seen: set[tuple[int, int]] = set()

    def fail(error: OSError) -> None:
        raise error

    for where, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        found = os.stat(where)
        if (found.st_dev, found.st_ino) in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        prefix = _relative(listing.root, where)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                (paths if _is_image(name) else listing.ignored).append(f"{prefix}{os.sep}{name}")
    return sorted(paths)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _EXTENSIONS


def _relative(root: Path, path: str) -> str:
    relative = os.path.relpath(path, root)
    return os.path.abspath(path) if relative.startswith(os.pardir) else relative


def _read_csv_header(file: Path) -> list[str]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as handle:
            header = next(csv.reader(handle), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.csv: cannot read {file}: {error}") from error
    if missing := [column for column in ("path", "label") if column not in header]:
        raise UserError(
            f"data.csv: {file} has no column {' and no column '.join(missing)}; its first line must name "
            f"path, label and optionally split (found: {', '.join(header) or 'nothing'})"
        )
    return header


def _list_csv(cfg: DataConfig) -> Listing:
    assert cfg.csv is not None
    file = cfg.csv.expanduser()
    _read_csv_header(file)
    listing = Listing(cfg.root.expanduser() if cfg.root else file.parent)
    seen: dict[str, int] = {}
    with open(file, newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        for row in reader:
            _add_csv_row(listing, f"data.csv: line {reader.line_num} of {file}", row, reader.line_num, seen)
    if len(listing.problems) > _SHOWN:
        more = f"data.csv: {len(listing.problems) - _SHOWN} more mistakes in {file}"
        listing.problems = [*listing.problems[:_SHOWN], more]
    if cfg.test_root is not None:
        if listing.test:
            listing.problems.append(
                f"data.test_root: {file} names test images itself; leave one of the two out"
            )
        listing.test += _list_classes(listing, cfg.test_root.expanduser())
    return listing


def _add_csv_row(listing: Listing, where: str, row: dict, line: int, seen: dict[str, int]) -> None:
    name = (row["path"] or "").strip()
    label, part = (row["label"] or "").strip() or None, (row.get("split") or "").strip() or "train"
    if not name:
        listing.problems.append(f"{where} names no path")
        return
    path = _relative(listing.root, str(listing.root / name))
    if path in seen:
        listing.problems.append(f"{where} repeats the image of line {seen[path]}: {name}")
    elif part not in ("train", "test"):
        listing.problems.append(f"{where} has split {part!r}; train, test or nothing is valid")
    elif part == "test" and label is None:
        listing.problems.append(f"{where} is a test image without a label: {name}")
    else:
        (listing.train if part == "train" else listing.test).append((path, label))
    seen.setdefault(path, line)


def _check_classes(listing: Listing, classes: tuple[str, ...]) -> list[str]:
    problems = []
    if len(classes) < 2:
        problems.append(
            f"data.root: {listing.root} has {len(classes)} classes of labelled images; at least 2 are needed"
        )
    elif unknown := sorted({label for _, label in listing.test if label is not None} - set(classes)):
        problems.append(
            "data.test_root: there are test images of classes without a labelled training image: "
            + ", ".join(unknown[:10])
        )
    return problems


def _hold_back_test(listing: Listing, fraction: float) -> str:
    """Move a share of every class from train to test, chosen by a hash of the path, and say so."""
    by_class: dict[str, list[str]] = {}
    for path, label in listing.train:
        if label is not None:
            by_class.setdefault(label, []).append(path)
    if small := sorted(label for label, paths in by_class.items() if len(paths) < 2):
        raise UserError(
            f"data.test_root: there are no test images, and class {small[0]} has too few labelled ones to "
            "keep some for the test; give test images"
        )
    chosen = set()
    for paths in by_class.values():
        count = min(max(round(fraction * len(paths)), 1), len(paths) - 1)
        chosen.update(sorted(paths, key=lambda path: hashlib.sha256(os.fsencode(path)).digest())[:count])
    listing.test = [item for item in listing.train if item[0] in chosen]
    listing.train = [item for item in listing.train if item[0] not in chosen]
    return (
        f"no test images given: {len(chosen)} of the labelled images, {fraction:.0%} of every class, are "
        "the test set (the same for every seed)"
    )


def _scan(
    cfg: DataConfig, listing: Listing, classes: tuple[str, ...], notes: list[str]
) -> tuple[Files, Files]:
    items = listing.train + listing.test
    entries = scan(listing.root, [path for path, _ in items], cfg.workers).entries
    bad = [
        (path, entry.reason) for (path, _), entry in zip(items, entries, strict=True) if entry.status == BAD
    ]
    if bad and cfg.bad_files == "error":
        lines = [f"data.root: cannot decode {listing.root / path}: {reason}" for path, reason in bad[:_SHOWN]]
        if len(bad) > _SHOWN:
            lines.append(f"data.root: {len(bad) - _SHOWN} more files cannot be decoded")
        advice = "repair or remove them, or set data.bad_files=skip to leave them out"
        raise UserError(
            [f"data.bad_files: {len(bad)} of {len(items)} images cannot be decoded; {advice}", *lines]
        )
    if bad:
        notes.append(
            f"{len(bad)} of {len(items)} images cannot be decoded and are left out, such as {bad[0][0]}"
        )
    number = {name: label for label, name in enumerate(classes)}
    parts = [
        _files(
            listing.root, [(path, -1 if name is None else number[name]) for path, name in part], part_entries
        )
        for part, part_entries in (
            (listing.train, entries[: len(listing.train)]),
            (listing.test, entries[len(listing.train) :]),
        )
    ]
    if not all(map(len, parts)):
        raise UserError(
            f"data.root: no image of {listing.root} that can be decoded is left to train or to test on"
        )
    return parts[0], parts[1]


def _files(root: Path, items: list[tuple[str, int]], entries: list[Entry]) -> Files:
    kept = [
        (path, label, entry)
        for (path, label), entry in zip(items, entries, strict=True)
        if entry.status != BAD
    ]
    return Files(
        root,
        [path for path, _, _ in kept],
        np.array([label for _, label, _ in kept], np.int64),
        np.array([(entry.height, entry.width) for _, _, entry in kept], np.int32).reshape(-1, 2),
        np.array([entry.status == VIA_PILLOW for _, _, entry in kept], bool),
    )
