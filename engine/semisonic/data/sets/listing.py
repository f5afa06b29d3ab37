"""Your own images: one folder a class, labeled and unlabeled folders, or a CSV.

Labeled images are in `root`/labeled/CLASS/ or `root`/train/CLASS/ (at any depth below the class) or,
where neither exists, in `root`/CLASS/. Images without a label are anywhere in `root`/unlabeled/. Test
images are in `data.test_root`/CLASS/, `root`/test/CLASS/ or `root`/val/CLASS/, the first of these that
exists; where none does, a fixed share of every class's labeled images is kept for the test
(`data.test_fraction`). A CSV (`data.csv`) says the same in columns: path, label (empty: unlabeled) and
optionally split (train or test).
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.spellings import LABELED_FOLDERS, UNLABELED_FOLDERS
from semisonic.schema import UserError

EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .bmp .dib .gif .webp .avif .tif .tiff .ppm .pgm .pbm .pnm .jp2 .tga".split()  # noqa: SIM905
)
"""Of files that are taken for images."""

_TEST = ("test", "val")
_SHOWN = 20  # mistakes of a kind


@dataclass
class Layout:
    """Where the parts of a folder are; a part that is missing is None."""

    labeled: Path
    unlabeled: Path | None = None
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


def find_layout(cfg: DataConfig) -> Layout:
    """Which of the layouts at the top of this file `data.root` has."""
    assert cfg.root is not None
    root = cfg.root.expanduser()
    names, problems = subfolders("data.root", root)
    if problems:
        return Layout(root, problems=problems)
    labeled, unlabeled, test = ([n for n in part if n in names] for part in (LABELED_FOLDERS, UNLABELED_FOLDERS, _TEST))
    for found in (labeled, unlabeled):
        if len(found) > 1:
            problems.append(f"data.root: {root} has both {found[0]}/ and {found[1]}/; keep one of them")
    layout = Layout(root / labeled[0] if labeled else root, problems=problems)
    layout.unlabeled = root / unlabeled[0] if unlabeled else None
    if cfg.test_root is not None:
        layout.test = cfg.test_root.expanduser()
    elif test:
        layout.test = root / test[0]
    special = () if labeled else (*UNLABELED_FOLDERS, *_TEST)
    problems += class_folders("data.root", layout.labeled, special)[1]
    if layout.test is not None and cfg.test_root is None:
        problems += class_folders("data.root", layout.test)[1]
    return layout


def subfolders(name: str, folder: Path) -> tuple[list[str], list[str]]:
    """Names of the visible folders in `folder`, sorted, and why they cannot be listed (at most one line)."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith(".")), []
    except OSError as error:
        return [], [f"{name}: cannot read the folder {folder}: {error.strerror}"]


def class_folders(name: str, folder: Path, special: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    names, problems = subfolders(name, folder)
    names = [n for n in names if n not in special]
    if not names and not problems:
        problems = [f"{name}: {folder} holds no class folders; one folder of images a class is needed"]
    return names, problems


def list_tree(cfg: DataConfig) -> Listing:
    layout = find_layout(cfg)
    assert cfg.root is not None
    listing = Listing(cfg.root.expanduser(), problems=layout.problems)
    if layout.problems:
        return listing
    at_top = layout.labeled == listing.root
    special = (*UNLABELED_FOLDERS, *_TEST) if at_top else ()
    unused = [name for name in subfolders("data.root", listing.root)[0] if not at_top or name in special]
    unused = [n for n in unused if listing.root / n not in (layout.labeled, layout.unlabeled, layout.test)]
    if unused:
        listing.notes.append(f"not used in {listing.root}: {', '.join(f'{name}/' for name in unused)}")
    listing.train += _list_classes(listing, layout.labeled, special)
    if layout.unlabeled is not None:
        listing.train += [(path, None) for path in _images(listing, layout.unlabeled)]
    if layout.test is not None:
        listing.test += _list_classes(listing, layout.test)
    return listing


def _list_classes(listing: Listing, folder: Path, special: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    names, _ = class_folders("data.root", folder, special)
    with os.scandir(folder) as entries:
        stray = sorted(e.name for e in entries if e.is_file() and is_image(e.name))
    if stray:
        listing.problems.append(
            f"data.root: {len(stray)} images directly in {folder} belong to no class, such as {stray[0]}; "
            "move them to a class folder or to unlabeled/"
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
                (paths if is_image(name) else listing.ignored).append(f"{prefix}{os.sep}{name}")
    return sorted(paths)


def is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def _relative(root: Path, path: str) -> str:
    relative = os.path.relpath(path, root)
    outside = relative == os.pardir or relative.startswith(os.pardir + os.sep)
    return os.path.abspath(path) if outside else relative


def read_csv_header(file: Path) -> list[str]:
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


def list_csv(cfg: DataConfig) -> Listing:
    assert cfg.csv is not None
    file = cfg.csv.expanduser()
    read_csv_header(file)
    listing = Listing(cfg.root.expanduser() if cfg.root else file.parent)
    seen: dict[str, int] = {}
    try:
        with open(file, newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            for row in reader:
                line = reader.line_num
                _add_csv_row(listing, f"data.csv: line {line} of {file}", row, line, seen)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.csv: cannot read {file} after line {reader.line_num}: {error}") from error
    if len(listing.problems) > _SHOWN:
        more = f"data.csv: {len(listing.problems) - _SHOWN} more mistakes in {file}"
        listing.problems = [*listing.problems[:_SHOWN], more]
    if cfg.test_root is not None:
        if listing.test:
            listing.problems.append(f"data.test_root: {file} names test images itself; leave one of the two out")
        listing.test += _list_classes(listing, cfg.test_root.expanduser())
    return listing


def _add_csv_row(listing: Listing, where: str, row: dict, line: int, seen: dict[str, int]) -> None:
    name = (row["path"] or "").strip()
    label, part = (row["label"] or "").strip() or None, (row.get("split") or "").strip() or "train"
    if not name:
        listing.problems.append(f"{where} names no path")
        return
    plain = not os.path.isabs(name) and os.pardir not in name  # spares a million files two slow calls each
    path = os.path.normpath(name) if plain else _relative(listing.root, str(listing.root / name))
    if path in seen:
        listing.problems.append(f"{where} repeats the image of line {seen[path]}: {name}")
    elif part not in ("train", "test"):
        listing.problems.append(f"{where} has split {part!r}; train, test or nothing is valid")
    elif part == "test" and label is None:
        listing.problems.append(f"{where} is a test image without a label: {name}")
    else:
        (listing.train if part == "train" else listing.test).append((path, label))
    seen.setdefault(path, line)
