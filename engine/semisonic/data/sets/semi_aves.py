"""Semi-Aves (Su and Maji 2021, arXiv 2103.06937): photographs of 200 species of birds, a few labeled and many not.

Read are the competition's lists, each line a path and a label (-1: none): l_train (3,959 labeled images), u_train_in
(26,640 without a label, of the same species) and test (8,000); `semi-aves-out` adds u_train_out (122,208 of other
species). The lists lie in `data.root` or its folder semi_aves, and their paths are relative to `data.root`. The list
val stays unused. Of the species only the numbers are published.
"""

from pathlib import Path

from semisonic.data.sets.base import DataConfig, DataSet
from semisonic.data.sets.checks import repeated
from semisonic.data.sets.image_folder import files_data_set, scan_listing
from semisonic.data.sets.listing import Listing
from semisonic.data.sets.published import absent, file_problems, root_of
from semisonic.records.csv_file import read_lines
from semisonic.schema import UserError
from semisonic.text import name_of

SIZE, CLASSES = 224, 200
SOURCE = "the competition's page (Semi-Supervised Recognition Challenge, FGVC7) and its authors' repository of lists"
OUT = "semi-aves-out"
"""`data.name` with the images of other species."""


def aves_problems(cfg: DataConfig) -> list[str]:
    """Mistakes that show without reading images: a line where lists are missing, and what files cannot have."""
    root = root_of(cfg)
    lists = _lists(root)
    missing = [f"{name}.txt" for name in _needed(cfg) if not (lists / f"{name}.txt").is_file()]
    return file_problems(cfg) + ([absent(cfg, missing, root, SOURCE)] if missing else [])


def load_aves(cfg: DataConfig) -> DataSet:
    """Read the lists and check every file. Raises UserError for what is missing or damaged."""
    if problems := aves_problems(cfg):
        raise UserError(problems)
    root, classes = root_of(cfg), tuple(map(str, range(CLASSES)))
    listing = Listing(root)
    for name in _needed(cfg):
        items = _read(_lists(root) / f"{name}.txt", labeled=not name.startswith("u_"))
        (listing.test if name == "test" else listing.train).extend(items)
    labeled = [path for path, label in (*listing.train, *listing.test) if label is not None]
    if twice := repeated(labeled):
        raise UserError(
            f"data.root: the lists in {_lists(root)} label {name_of(twice[0])} twice; get them again from {SOURCE}"
        )
    notes: list[str] = []
    train, test = scan_listing(cfg, listing, classes, notes, SOURCE)
    return files_data_set(cfg, cfg.size or SIZE, classes, train, test, notes)


def _needed(cfg: DataConfig) -> tuple[str, ...]:
    """The lists that are read."""
    return ("l_train", "u_train_in", *(["u_train_out"] if cfg.name == OUT else []), "test")


def _lists(root: Path) -> Path:
    """The folder of the lists."""
    return root / "semi_aves" if not (root / "l_train.txt").is_file() else root


def _read(file: Path, labeled: bool) -> list[tuple[str, str | None]]:
    """Path and label of each line. Raises UserError, naming the line."""
    items: list[tuple[str, str | None]] = []
    for number, line in enumerate(read_lines(file, "data.root"), 1):
        path, _, label = line.strip().rpartition(" ")
        if not line.strip():
            continue
        fits = label.isdecimal() and len(label) < 4 and int(label) < CLASSES if labeled else label == "-1"
        if not path or not fits or path.startswith(("/", "~")) or ".." in Path(path).parts:
            wanted = f"a path and a label of 0 to {CLASSES - 1}" if labeled else "a path and -1"
            raise UserError(
                f"data.root: line {number} of {file} is {name_of(line.strip())}; {wanted} is needed: get it again from "
                f"{SOURCE}"
            )
        items.append((path.strip(), str(int(label)) if labeled else None))
    if not items:
        raise UserError(f"data.root: {file} is empty; get it again from {SOURCE}")
    return items
