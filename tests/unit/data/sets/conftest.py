"""What tests of several modules of data sets are given."""

import os

import pytest

from semisonic.data.sets import manifest


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the files that are decoded from now on."""
    names: list[str] = []
    real = manifest.examine

    def spy(path: str, known: bytes = b""):
        found = real(path, known)
        if found is not None:
            names.append(os.path.basename(path))
        return found

    monkeypatch.setattr(manifest, "examine", spy)
    return names
