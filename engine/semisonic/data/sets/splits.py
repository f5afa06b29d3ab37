"""Which images are labeled, unlabeled and held out: drawn once from a seed, class-balanced, by class counts, at random
or by what is typical, or given by the user.

Every class, or all images with a label together, is put in an order that depends on the seed and the labels only; the
first of it are the labeled images, the next the held-out ones. So a larger labeled set of the same seed contains the
smaller one; typical images are chosen anew for each number.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.fingerprint import Fingerprint
from semisonic.data.sets.imbalance import drawn
from semisonic.data.sets.label_counts import called, label_problems, some
from semisonic.data.sets.spellings import HELD_OUT, LABELED, SAVED_ARRAYS, UNLABELED, find_arrays
from semisonic.data.sets.typical import Chooser, typical_first
from semisonic.records.arrays import open_arrays
from semisonic.records.csv_file import check_columns, open_csv, read_lines, separated
from semisonic.schema import UserError
from semisonic.text import dump_json, name_of

_KEY = 0x53504C4954  # second half of the Philox key: no other draws of a run share it
_INDEX = re.compile(r"-?[0-9]{1,18}")
FINGERPRINT_BYTES = 2**16
"""Of what an .npz says of the data that it was drawn from, at most."""


@dataclass(frozen=True, eq=False)
class Split:
    """Sorted int64 indices into the training images. `labeled` may be part of `unlabeled`, never of
    `held_out`."""

    labeled: np.ndarray
    unlabeled: np.ndarray
    held_out: np.ndarray
    notes: tuple[str, ...] = ()
    """What to tell of it when the run starts, one line each; no part of what it is."""

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.labeled, self.unlabeled, self.held_out

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the three arrays, the same on every machine and in every version."""
        digest = hashlib.sha256()
        for name, array in zip(SAVED_ARRAYS, self.arrays, strict=True):
            indices = array.astype("<i8")
            digest.update(f"{name} {len(indices)}\n".encode())
            digest.update(indices.tobytes())
        return digest.hexdigest()


def shuffled(labels_N: np.ndarray, seed: int) -> np.ndarray:
    """The indices of all images with a label in an order drawn from `seed`."""
    # Raw words: NumPy promises that these, unlike what Generator's methods return, never change.
    philox = np.random.Philox(key=np.array([seed & 0xFFFFFFFFFFFFFFFF, _KEY], np.uint64))
    order_N = np.argsort(philox.random_raw(len(labels_N)), kind="stable")
    return order_N[labels_N[order_N] >= 0]


def shuffled_by_class(labels_N: np.ndarray, classes: int, seed: int) -> list[np.ndarray]:
    """The indices of every class in an order drawn from `seed`; images with label -1 are in none of them."""
    order_N = shuffled(labels_N, seed)
    return [order_N[labels_N[order_N] == c] for c in range(classes)]


def make_split(
    cfg: DataConfig,
    labels_N: np.ndarray,
    classes: int,
    seed: int,
    paths: Sequence[str] | None = None,
    names: Sequence[str] = (),
    typical: Chooser | None = None,
) -> Split:
    """Draw the split that `cfg` asks for, or read the one it names.

    labels_N: int64 [N], -1 where unknown. seed: of the run, used unless `data.split_seed` is set.
    paths: of the training images where these are files, for a split that names them. names: of the classes, for
    messages. typical: chooses among the training images, for `data.labels_from` typical.
    Raises UserError with every mistake found.
    """
    if cfg.split is not None:
        return _user_split(cfg, labels_N, classes, seed, paths, names)
    counts = np.bincount(labels_N[labels_N >= 0], minlength=classes)
    if problems := label_problems(cfg, classes, counts.tolist(), names):
        raise UserError(problems)
    if cfg.labels_head is not None:
        return Split(*drawn(cfg, len(labels_N), shuffled_by_class(labels_N, classes, _seed(cfg, seed))))
    if cfg.labels_from != "balanced":
        orders, held, taken = [shuffled(labels_N, _seed(cfg, seed))], cfg.held_out, cfg.labels or 0
        if cfg.labels_from == "typical" and taken:
            orders = [typical_first(orders[0], taken, _seed(cfg, seed), typical)]
    else:
        orders = [order for order in shuffled_by_class(labels_N, classes, _seed(cfg, seed)) if len(order)]
        held, taken = cfg.held_out // len(orders), (cfg.labels or 0) // len(orders)
    labeled, held_out = [], []
    for order in orders:
        first = len(order) - held if cfg.labels is None else taken
        labeled.append(order[:first])
        held_out.append(order[first : first + held])
    return _complete(cfg, len(labels_N), np.concatenate(labeled), np.concatenate(held_out))


def split_notes(split: Split, labels_N: np.ndarray, names: Sequence[str]) -> list[str]:
    """The split's own notes, and a line on classes without a labeled image, whose images a network never gets right."""
    counts = np.bincount(labels_N[split.labeled], minlength=len(names))
    if not len(empty := np.flatnonzero(counts == 0)):
        return [*split.notes]
    what = f"{len(empty)} of {len(names)} classes have no labeled image, and cannot be learned"
    return [*split.notes, f"{what}: {some(empty.tolist(), names)}"]


def _seed(cfg: DataConfig, seed: int) -> int:
    return seed if cfg.split_seed is None else cfg.split_seed


def _complete(cfg: DataConfig, images: int, labeled: np.ndarray, held_out: np.ndarray) -> Split:
    """The split whose unlabeled pool is every image that is not held out (nor labeled, where the config
    says so)."""
    kept = np.ones(images, bool)
    kept[held_out] = False
    if not cfg.unlabeled_includes_labeled:
        kept[labeled] = False
    return Split(np.sort(labeled), np.flatnonzero(kept), np.sort(held_out))


def save_split(split: Split, path: Path, data: Fingerprint | None = None) -> None:
    """Write `split` as an .npz that `load_split` and `data.split` read; data: what it was drawn from."""
    arrays = dict(zip(SAVED_ARRAYS, split.arrays, strict=True))
    if data is not None:
        arrays["data"] = np.array(dump_json(dict(data)))
    from semisonic.checkpoint.atomic_files import write_bytes  # with torch, which reading a data set need not import

    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    write_bytes(path, content.getbuffer())


def split_data(path: Path) -> Fingerprint | None:
    """The fingerprint of the data that an .npz with a split was drawn from; None where it has none."""
    try:
        with open_arrays(path) as stored:
            known = json.loads(str(stored.read("data", most=FINGERPRINT_BYTES)))
    except (OSError, KeyError, ValueError, RecursionError):
        return None  # what cannot be read, `make_split` tells
    return known if isinstance(known, dict) else None


def load_split(path: Path, labels_N: np.ndarray | None = None, classes: int | None = None) -> Split:
    """Read a split written by `save_split` and, given the training images' labels (int64 [N]), check it against them.

    Raises UserError with every mistake found, each naming the file.
    """
    arrays = _read_npz(path, None if labels_N is None else len(labels_N))
    if missing := [name for name in (LABELED, UNLABELED, HELD_OUT) if name not in arrays]:
        raise UserError(f"data.split: {path} has no array {' and no '.join(missing)}")
    if labels_N is not None and (problems := _split_problems(path, arrays, labels_N, classes)):
        raise UserError(problems)
    labeled, unlabeled, held_out = (np.sort(arrays[name]) for name in (LABELED, UNLABELED, HELD_OUT))
    return Split(labeled, unlabeled, held_out)


def _user_split(
    cfg: DataConfig, labels_N: np.ndarray, classes: int, seed: int, paths: Sequence[str] | None, names: Sequence[str]
) -> Split:
    assert cfg.split is not None
    file = cfg.split
    problems = label_problems(cfg, classes, np.bincount(labels_N[labels_N >= 0], minlength=classes).tolist())
    arrays = _read_npz(file, len(labels_N)) if file.suffix == ".npz" else {LABELED: _read_list(file, cfg.root, paths)}
    every = None if cfg.labels_from != "balanced" or cfg.absent_classes == "warn" else classes
    problems += _split_problems(file, arrays, labels_N, every, names)
    if LABELED not in arrays:
        problems.append(f"data.split: {file} has no array {LABELED}; arrays: {', '.join(arrays) or 'none'}")
    given = arrays.get(HELD_OUT)
    if given is not None and cfg.held_out not in (0, len(given)):
        problems.append(
            f"data.held_out: {cfg.held_out}, but {file} holds out {len(given)} images; give 0 or {len(given)}"
        )
    if problems:
        raise UserError(problems)

    labeled = arrays[LABELED]
    if given is None:
        given = _draw_held_out(cfg, labels_N, classes, labeled, _seed(cfg, seed), arrays.get(UNLABELED), names)
    split = _complete(cfg, len(labels_N), labeled, given)
    if UNLABELED in arrays:
        split = Split(split.labeled, np.sort(arrays[UNLABELED]), split.held_out)
    return split


def _draw_held_out(
    cfg: DataConfig,
    labels_N: np.ndarray,
    classes: int,
    labeled: np.ndarray,
    seed: int,
    unlabeled: np.ndarray | None,
    names: Sequence[str],
) -> np.ndarray:
    """Held-out images out of those that the user's split left alone."""
    left_N = labels_N.copy()
    left_N[labeled] = -1
    if unlabeled is not None:
        left_N[unlabeled] = -1
    if cfg.labels_from != "balanced":
        order = shuffled(left_N, seed)
        if len(order) < cfg.held_out:
            raise UserError(
                f"data.held_out: {cfg.held_out} images, but {cfg.split} leaves {len(order)} with a label; give less"
            )
        return order[: cfg.held_out]
    present = np.unique(labels_N[labels_N >= 0]).tolist()
    per_class = cfg.held_out // len(present)
    orders = shuffled_by_class(left_N, classes, seed)
    if short := [c for c in present if len(orders[c]) < per_class]:
        raise UserError(
            f"data.held_out: {cfg.held_out} images need {per_class} of every class, but {cfg.split} leaves "
            f"{len(orders[short[0]])} of class {called(short[0], names)}; give less, or an array held_out in the split"
        )
    return np.concatenate([order[:per_class] for order in orders])


def _read_npz(file: Path, images: int | None = None) -> dict[str, np.ndarray]:
    """The index arrays of a split, int64 each; images: the number of training images, where it is known."""
    try:
        with open_arrays(file) as stored:
            names, twice = find_arrays(stored.names)
            problems = [f"data.split: {file} {problem}" for problem in twice]
            for name, own in names.items():
                dtype, shape, *_ = stored.header(own)
                where = f"data.split: array {name} of {file}"
                if len(shape) != 1 or (shape[0] and dtype.kind not in "iu"):
                    problems.append(f"{where} is {dtype} {list(shape)}; a list of integer indices is needed")
                elif images is not None and shape[0] > images:
                    problems.append(f"{where} has {shape[0]:,} indices; the training images are 0 to {images - 1}")
            if problems:
                raise UserError(problems)
            arrays = {name: stored.read(own) for name, own in names.items()}
    except FileNotFoundError:
        raise UserError(f"data.split: no such file: {file}") from None
    except OSError as error:
        raise UserError(f"data.split: cannot read {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"data.split: {file} {error}") from error
    # What int64 cannot hold becomes negative, which is no image's index either.
    return {name: array.astype(np.int64) for name, array in arrays.items()}


def _read_list(file: Path, root: Path | None, paths: Sequence[str] | None) -> np.ndarray:
    """Indices of the images that a text or CSV file names, by index or by path."""
    names = _read_names(file)
    if all(map(_INDEX.fullmatch, names)):
        return np.array([int(name) for name in names], np.int64)
    if paths is None:
        raise UserError(f"data.split: {file} names files, but the images of this data set have none; give indices")
    base = str(root) if root else ""
    position = {os.path.normpath(path): i for i, path in enumerate(paths)}
    own = [_relative(name, base) for name in names]
    found = [position.get(name) for name in own]
    if None in found:  # the lists of ImageNet's papers have file names alone
        found = _by_ends(own, paths)
    if unknown := [name for name, i in zip(names, found, strict=True) if i is None]:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise UserError(
            f"data.split: {file} names images that are not among the training images: "
            f"{', '.join(map(name_of, unknown[:5]))}{more}; give paths relative to data.root, or "
            "ends of paths that one image has"
        )
    return np.array(found, np.int64)


def _by_ends(names: Sequence[str], paths: Sequence[str]) -> list[int | None]:
    """The index of the only path that each name is the end of; None where there is none, or several."""
    depths = sorted({name.count(os.sep) for name in names})
    ends: dict[str, int | None] = {}
    for i, path in enumerate(paths):
        parts = os.path.normpath(path).split(os.sep)
        for depth in depths:
            if depth < len(parts):
                end = os.sep.join(parts[-depth - 1 :])
                ends[end] = None if end in ends else i
    return [ends.get(name) for name in names]


def _relative(name: str, base: str) -> str:
    inside = base and os.path.isabs(name) and os.path.abspath(name).startswith(os.path.abspath(base) + os.sep)
    return os.path.relpath(name, base) if inside else os.path.normpath(name)


def _read_names(file: Path) -> list[str]:
    if file.suffix.lower() != ".csv":
        lines = map(str.strip, read_lines(file, "data.split"))
        return [line for line in lines if line and not line.startswith("#")]
    table = open_csv(file, "data.split")
    column = next((name for name in ("path", "index") if name in table.header), None)
    if column is None:
        advice = separated(table, "path", "index")
        raise UserError(f"data.split: {file} needs a column path or index in its first line{advice}")
    check_columns(table, file, "data.split", [column])
    place, names = table.header.index(column), []
    for line, cells in table.rows:
        if len(cells) <= place or not cells[place].strip():
            raise UserError(f"data.split: line {line} of {file} has nothing in its column {column}")
        names.append(cells[place].strip())
    return names


def _split_problems(
    file: Path, arrays: dict[str, np.ndarray], labels_N: np.ndarray, classes: int | None, names: Sequence[str] = ()
) -> list[str]:
    """Mistakes in index arrays by name, one line each."""
    problems = []
    for name, indices in arrays.items():
        where = f"data.split: {name} of {file}"
        if outside := indices[(indices < 0) | (indices >= len(labels_N))].tolist():
            problems.append(f"{where} holds index {outside[0]}; the training images are 0 to {len(labels_N) - 1}")
        elif len(np.unique(indices)) < len(indices):
            values, counts = np.unique(indices, return_counts=True)
            problems.append(f"{where} holds index {values[counts > 1][0]} more than once")
        elif name != UNLABELED and (labels_N[indices] < 0).any():
            problems.append(f"{where} holds index {indices[labels_N[indices] < 0][0]}, whose label is not known")
    if problems:
        return problems
    held_out = arrays.get(HELD_OUT, np.empty(0, np.int64))
    for name in (LABELED, UNLABELED):
        if name in arrays and len(both := np.intersect1d(held_out, arrays[name])):
            problems.append(f"data.split: {file} has {len(both)} images in held_out and in {name}, such as {both[0]}")
    if LABELED in arrays and not len(arrays[LABELED]):
        problems.append(f"data.split: {file} has no labeled image")
    elif LABELED in arrays and classes is not None:
        counts = np.bincount(labels_N[arrays[LABELED]], minlength=classes)
        if len(empty := np.flatnonzero(counts == 0)):
            problems.append(f"data.split: {file} has no labeled image of class {some(empty.tolist(), names)}")
    return problems
