"""Images of a project as what passes read, and which of them are what they were when they were added."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semisonic.data.sets import manifest
from semisonic.data.sets.limits import FILE_MB, PIXELS, Limits
from semisonic.inference.batches import Found
from semisonic.inference.keyed import key_of
from semisonic.inference.reading import Reading
from semisonic.inference.sources import FileSources, Names

if TYPE_CHECKING:
    from semisonic.daily.project import Project
    from semisonic.daily.store import Store

CHANGED = "was changed since it was added"
ROOT = Path("/")
"""Paths of a project's images are absolute."""
SOME = 2**15
"""Images that the store is asked for at a time."""


@dataclass(frozen=True, eq=False)
class Known:
    """Images of a project in the order of a step's work: where they lie, and what they must hold."""

    sources: FileSources
    keys: np.ndarray
    """int64 [N]: of their contents, as `keyed.key_of` makes them of digests."""

    def unchanged(self, found: Found) -> tuple[Found, list[tuple[int, str]]]:
        """What is the same still of a part's images, and the others with the reason."""
        assert found.keys is not None and found.files is not None
        same = self.keys[found.rows] == found.keys
        if same.all():
            return found, []
        files = replace(
            found.files,
            paths=[path for path, kept in zip(found.files.paths, same, strict=True) if kept],
            labels=found.files.labels[same],
            shapes=found.files.shapes[same],
            via_pillow=found.files.via_pillow[same],
        )
        changed = [(int(row), CHANGED) for row in found.rows[~same]]
        return replace(found, rows=found.rows[same], files=files, keys=found.keys[same]), changed


class AsAdded(Reading):
    """Files are read as `add` has read them, with its words for what is wrong."""

    def examine(self, path: str) -> manifest.Examined:
        """What is found in a file; never raises."""
        found = manifest.examine(path, limits=self.limits)
        assert found is not None  # without a known digest
        return found


def reading_of(project: "Project", workers: int | None = None) -> Reading:
    """By the limits of the project's fields. workers: processes; None: one for each CPU, where the files are many."""
    own = project.settings.fields.get("data", {})
    return AsAdded(workers, Limits(own.get("max_file_mb", FILE_MB), own.get("max_pixels", PIXELS)))


def known_images(store: "Store", images: np.ndarray) -> Known:
    """Images by number, int64 [N], each where it lies now."""
    keys = np.empty(len(images), np.int64)
    for first in range(0, len(images), SOME):
        some = images[first : first + SOME]
        low, high = int(some.min()), int(some.max())
        rows = store.connection.execute("SELECT id, hash FROM image WHERE id BETWEEN ? AND ?", (low, high))
        found = {image: key_of(digest) for image, digest in rows}
        keys[first : first + SOME] = [found[image] for image in some.tolist()]
    return Known(FileSources(ROOT, Names(_paths(store, images))), keys)


def _paths(store: "Store", images: np.ndarray) -> Sequence[str]:
    """Of an image whose file holds another one now, none that is there."""
    paths = store.paths(images)
    return [path or f"image {number}, whose file is another" for path, number in zip(paths, images, strict=True)]
