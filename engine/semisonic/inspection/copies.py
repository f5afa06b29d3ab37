"""Images of equal content, found without reading more of all files than their ends."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semisonic.data.sets.duplicates import Duplicates, Pair
from semisonic.inspection.facts import digest
from semisonic.inspection.findings import Copies
from semisonic.inspection.headers import Headers, perhaps_equal
from semisonic.inspection.passes import over_files


def digests(root: Path, paths: Sequence[str], table: Headers, workers: int | None) -> np.ndarray:
    """uint8 [N, 16]: equal where the contents of files are. A file that no other can be equal to is not read: what
    stands for it is its number."""
    own_NB = np.zeros((len(paths), 16), np.uint8)
    own_NB[:, :8] = np.arange(len(paths), dtype="<u8").view(np.uint8).reshape(-1, 8)
    own_NB[:, 8:] = 0xFF
    alike = np.flatnonzero(perhaps_equal(table)).tolist()
    found = over_files(digest, [os.path.join(root, paths[i]) for i in alike], "Comparing files", workers)
    for i, content in zip(alike, found, strict=True):
        if content:
            own_NB[i] = np.frombuffer(content, np.uint8)
    return own_NB


def describe(found: Duplicates, paths: Sequence[str], table: Headers) -> Copies:
    """What to tell of them; positions are those of `paths`."""

    def named(pairs: Sequence[Pair]) -> list[list[str]]:
        return [[paths[image] for image in pair] for pair in pairs]

    extra = [(group[0], image) for group in found.groups for image in group[1:]]
    linked = [(table.identity_N2[a] == table.identity_N2[b]).all() for a, b in extra]
    return Copies(
        same=len(extra),
        links=sum(map(bool, linked)),
        groups=[[paths[image] for image in group] for group in found.groups],
        harmless=named(found.copies),
        contradictions=named(found.contradictions),
        leaks=named(found.leaks),
    )
