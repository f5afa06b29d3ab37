"""The benchmarks are scripts: their modules are found from their folders."""

import sys

import pytest

from tests.support.processes import ROOT

for folder in ("benchmarks", "benchmarks/gpu"):
    if str(ROOT / folder) not in sys.path:
        sys.path.append(str(ROOT / folder))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that do not end by themselves are killed soon."""
    monkeypatch.setattr("run_parts.GRACE", 0.5)
