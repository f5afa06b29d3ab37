"""A label as it leaves a project and comes back: one row, whatever the format."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from semisonic.records.files import open_regular

COLUMNS = ("path", "label", "state", "who", "at", "run", "certainty", "event", "hash", "exported")
"""Of a table, in their order."""
FILE = "file"
"""A further column, of the list that a tree holds."""
NEEDED = ("path", "label")
"""Those that a table made elsewhere must have."""
LONGEST = 4000
"""Characters of a path or label, as in a list of images to train on."""
HASH_BYTES = 16


class Row(NamedTuple):
    """An image and its label."""

    path: str
    """Where the image lies: absolute when it is exported."""
    label: str = ""
    """The name of a class; empty: none."""
    state: str = ""
    """One of `State.word`; empty: not said, as in tables made elsewhere."""
    who: str = ""
    """The person who gave or accepted it; empty for the network's labels."""
    at: str = ""
    """When, in UTC."""
    run: str = ""
    """The run whose label it is, or whose guess the person saw."""
    certainty: float | None = None
    """Of a network's label."""
    event: int | None = None
    """The newest event of the image at the time of the export."""
    hash: bytes | None = None
    """BLAKE2b-128 of the image file."""
    exported: str | None = None
    """The label when it was exported, by which a changed one is known; None: not said."""
    file: str = ""
    """Where the image is in a tree, relative to its top; empty: nowhere."""
    where: str = ""
    """What messages call the row: `line 7`, or a file of a tree."""


def hash_of(text: str) -> bytes | None:
    """The hash that a cell holds; None for an empty one. Raises ValueError."""
    if not text:
        return None
    if len(text) != 2 * HASH_BYTES or not text.isascii():
        raise ValueError
    return bytes.fromhex(text)


def event_of(text: str) -> int | None:
    """The number that a cell holds; None for an empty one. Raises ValueError."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise ValueError
    return int(text)


def digest_of(path: str | Path) -> bytes | None:
    """The hash of an image file; None where it cannot be read."""
    try:
        digest = hashlib.blake2b(digest_size=HASH_BYTES)
        with open_regular(path) as file:
            while piece := file.read(2**20):
                digest.update(piece)
        return digest.digest()
    except OSError:
        return None


def row_problem(row: Row) -> str | None:
    """What no row may have, whatever the project holds."""
    if not row.path and row.hash is None:
        return "names neither a path nor a hash"
    if "\0" in row.path:
        return "has a path with a null character"
    if max(len(row.path), len(row.label)) > LONGEST:
        return f"has a path or label of more than {LONGEST:,} characters"
    if max(len(row.who), len(row.at), len(row.run)) > LONGEST:
        return f"has a who, at or run of more than {LONGEST:,} characters"
    return None
