"""What tests of several modules of data sets are given."""

import os

import pytest

from semisonic.data.sets import manifest


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the files that are decoded from now on."""
    names: list[str] = []
    real = manifest.inspect

    def spy(path: str):
        names.append(os.path.basename(path))
        return real(path)

    monkeypatch.setattr(manifest, "inspect", spy)
    return names
