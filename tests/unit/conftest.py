"""What tests of several rooms begin with."""

from pathlib import Path

import pytest

from tests.support.runs import QUICK


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its baseline and held-out images. Tests read it and leave it as it is."""
    from semisonic import cli

    out = tmp_path_factory.mktemp("cli") / "run"
    assert cli.main([*QUICK, "--out", str(out), "--data.held-out", "50"]) == 0
    return out


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets that do not lie on this machine are configured all the same."""
    monkeypatch.setattr("semisonic.data.sets.registry.data_problems", lambda cfg: [])
