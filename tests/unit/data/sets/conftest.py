"""What tests of several modules of data sets are given."""

import os

import pytest

from semisonic.data.sets import manifest
from semisonic.data.sets.limits import USUAL, Limits


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the files that are decoded from now on."""
    names: list[str] = []
    real = manifest.examine

    def spy(path: str, known: bytes = b"", limits: Limits = USUAL):
        found = real(path, known, limits)
        if found is not None:
            names.append(os.path.basename(path))
        return found

    monkeypatch.setattr(manifest, "examine", spy)
    return names
