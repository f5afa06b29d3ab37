"""By what a run knows its data again: classes in their order, names, labels, sizes and contents of all images.

The fingerprint is a short digest of each part, so that a message can say which one is another. Beside it a run keeps a
table of its image files, by which the first difference can be named. Names are relative to the data's folder, and those
outside it to the folder that they have in common: data may lie elsewhere. Times and inodes do not count.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from semisonic.cpus import usable_cpus
from semisonic.data.sets.manifest import pack, unpack
from semisonic.records.arrays import open_arrays
from semisonic.text import dump_json

Fingerprint = Mapping[str, str]
"""The name of a part, one of `PARTS` -> BLAKE2b-128 (hex); what a data set has not is left out."""
PARTS = {
    "classes": "the classes",
    "labels": "the labels of the training images",
    "train": "the labeled training images",
    "unlabeled": "the unlabeled images",
    "test_labels": "the labels of the test images",
    "test": "the test images",
}
"""Every part, with what a message calls it."""
POOL = ("classes", "labels", "train", "unlabeled")
"""Parts that decide which images a run's unlabeled pool holds, and their order."""
TEST = ("classes", "test_labels", "test")
_PIECE = 2**24  # bytes of pixels that are hashed at once


def fingerprint_of(data: Any) -> Fingerprint:
    """The fingerprint of a `DataSet`. Pixels that are in memory are hashed, which takes a second for some gigabytes."""
    labels_N, known_N = data.train.labels, data.train.labels >= 0
    parts = {
        "classes": _digest("\0".join(data.classes).encode("utf-8", "surrogateescape")),
        "labels": _labels_digest(labels_N),
        "train": _content(data.train, known_N),
        "unlabeled": _content(data.train, ~known_N) if not known_N.all() else None,
        "test_labels": _labels_digest(data.test.labels) if data.test is not None else None,
        "test": _content(data.test, np.ones(len(data.test), bool)) if data.test is not None else None,
    }
    return {name: digest for name, digest in parts.items() if digest is not None}


def _digest(*pieces: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _labels_digest(labels_N: np.ndarray) -> str:
    return _digest(np.ascontiguousarray(labels_N, "<i8").data)


def _content(part: Any, chosen_N: np.ndarray) -> str:
    """Of the chosen ones of `Images` or `ImageFiles`."""
    if hasattr(part, "pixels"):
        return _pixels_digest(part.pixels, chosen_N)
    pieces: list[Any] = [pack(name for name, chosen in zip(_names(part), chosen_N.tolist(), strict=True) if chosen)]
    if part.sizes is not None:
        pieces.append(np.ascontiguousarray(part.sizes[chosen_N], "<i8").data)
    if part.digests is not None:
        pieces.append(np.ascontiguousarray(part.digests[chosen_N]).data)
    return _digest(*pieces)


def _pixels_digest(pixels_NHWC: np.ndarray, chosen_N: np.ndarray) -> str:
    """In pieces, several at a time: the digest is that of the pieces' digests."""
    rows = np.flatnonzero(chosen_N)
    a_piece = max(1, _PIECE // max(1, pixels_NHWC[:1].nbytes))

    def piece(start: int) -> bytes:
        own = rows[start : start + a_piece]
        whole = own[-1] - own[0] + 1 == len(own)  # then a view, no copy
        pixels = pixels_NHWC[own[0] : own[-1] + 1] if whole else pixels_NHWC[own]
        return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()

    with ThreadPoolExecutor(min(8, usable_cpus())) as threads:
        digests = list(threads.map(piece, range(0, len(rows), a_piece)))
    return _digest(f"{len(rows)} {pixels_NHWC.shape[1:]}\n".encode(), *digests)


def _names(files: Any) -> list[str]:
    """The files' names, wherever they lie."""
    outside = [path for path in files.paths if os.path.isabs(path)]
    if not outside:
        return files.paths
    start = len(os.path.join(os.path.commonpath({os.path.dirname(path) for path in outside}), ""))
    return [path[start:] if os.path.isabs(path) else path for path in files.paths]


# The table of a run's image files.

TABLE = "images.npz"
"""Its name in the run's folder."""
FILES = ("train", "test")
Row = tuple[str | None, bytes]
"""The class of an image file, None: unlabeled; and its digest."""
Table = dict[str, dict[str, Row]]
"""One of `FILES`, where it is files -> the images' names -> what is known of them."""


def write_table(data: Any, path: Path) -> None:
    """Writes what is known of every image file of a `DataSet`, as .npz, at once or not at all; of images in memory,
    nothing. Raises OSError."""
    columns: dict[str, np.ndarray] = {
        "fingerprint": np.array(dump_json(dict(data.fingerprint))),
        "classes": pack(data.classes),
    }
    for name in FILES:
        part = getattr(data, name)
        if hasattr(part, "paths"):
            columns[f"{name}_names"], columns[f"{name}_labels"] = pack(_names(part)), part.labels
            columns[f"{name}_digests"] = _identities(part)
    from semisonic.checkpoint.atomic_files import write_bytes  # with torch, which reading a data set need not import

    content = io.BytesIO()
    np.savez_compressed(content, **columns)  # type: ignore[arg-type]
    write_bytes(path, content.getbuffer())


def _read_table(path: Path, known: Fingerprint) -> Table:
    """The table that was written with this fingerprint; {} where there is none that can be read."""
    try:
        with open_arrays(path, own=True) as stored:
            if json.loads(str(stored.read("fingerprint"))) != known:
                return {}
            classes = tuple(unpack(stored.read("classes")))
            columns = {
                name: (
                    unpack(stored.read(f"{name}_names")), stored.read(f"{name}_labels"),
                    stored.read(f"{name}_digests"),
                )
                for name in FILES
                if f"{name}_names" in stored.names
            }  # fmt: skip
        return {name: _rows(*own, classes) for name, own in columns.items()}
    except (OSError, KeyError, ValueError, IndexError, TypeError, RecursionError):
        return {}  # it only says more: that the data are others is known without it


def _table_of(data: Any) -> Table:
    parts = {name: getattr(data, name) for name in FILES if hasattr(getattr(data, name), "paths")}
    return {
        name: _rows(_names(part), part.labels, _identities(part), data.classes) for name, part in parts.items()
    }  # fmt: skip


def _rows(names: list[str], labels: np.ndarray, digests: np.ndarray, classes: tuple[str, ...]) -> dict[str, Row]:
    known = [None if label < 0 else classes[label] for label in labels.tolist()]
    return dict(zip(names, zip(known, map(bytes, digests), strict=True), strict=True))


def _identities(files: Any) -> np.ndarray:
    """uint8 [N, 16]: the files' digests or, where they have none, their sizes."""
    if files.digests is not None:
        return files.digests
    sizes = np.zeros(len(files), np.int64) if files.sizes is None else files.sizes
    return np.pad(np.ascontiguousarray(sizes, "<i8").view(np.uint8).reshape(-1, 8), ((0, 0), (0, 8)))


# What is another.


def data_problem(
    known: Fingerprint, data: Any, table: Path, whose: str, parts: tuple[str, ...] = tuple(PARTS)
) -> str | None:
    """What a `DataSet` holds that is not what `known` is of, by its first difference; None where these parts are equal.

    table: the file that `write_table` made of what `known` is of; it may be missing. whose: what that belongs to.
    """
    own = data.fingerprint
    differing = [part for part in parts if known.get(part) != own.get(part)]
    if not differing:
        return None
    if "classes" in differing:
        differing = ["classes"]  # labels are their numbers
    lines = _file_differences(differing, table, known, data)
    lines = lines or [f"{PARTS[part]} are others, or in another order" for part in differing]
    rest = len(lines) - 1
    more = f" (and {rest} more {'difference' if rest == 1 else 'differences'})" if rest else ""
    return f"data: not what {whose} began with: {lines[0]}{more}"


def _file_differences(differing: list[str], table: Path, known: Fingerprint, data: Any) -> list[str]:
    """A line for each image file that is another, where files are what differs."""
    names = dict.fromkeys("test" if part.startswith("test") else "train" for part in differing if part != "classes")
    before, now = (_read_table(table, known), _table_of(data)) if names else ({}, {})
    return [
        line for name in names if name in before and name in now for line in _differences(name, before[name], now[name])
    ]


def _differences(part: str, before: Mapping[str, Row], now: Mapping[str, Row]) -> Iterator[str]:
    def image(name: str, label: str | None) -> str:
        return f"the {'test' if part == 'test' else 'unlabeled' if label is None else 'training'} image {name}"

    new = [name for name in now if name not in before]
    names = {now[name][1]: name for name in reversed(new)}
    found = set()
    for name, (label, digest) in before.items():
        if name not in now:
            called = names.pop(digest, None)
            found.add(called)
            yield f"{image(name, label)} {f'is called {called}' if called else 'is missing, or cannot be decoded'}"
        elif now[name][1] != digest:
            yield f"{image(name, label)} holds something else"
        elif now[name][0] != label:
            yield f"{image(name, label)} has {_label(now[name][0])} in place of {_label(label)}"
    yield from (f"{image(name, now[name][0])} is new" for name in new if name not in found)


def _label(label: str | None) -> str:
    return "no label" if label is None else f"the label {label}"
