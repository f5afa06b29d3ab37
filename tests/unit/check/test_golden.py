"""Losses are stored once, compared afterwards, and never overwritten."""

import json
from pathlib import Path

import pytest

from semisonic.check import golden
from semisonic.check.golden import compare_or_store, repeats
from semisonic.check.properties import Failed
from semisonic.config.run_config import RunConfig
from semisonic.schema import UserError


def test_losses_are_stored_and_compared(tmp_path: Path):
    file, found = tmp_path / "golden.json", [2.0, 1.5, 1.0]
    assert compare_or_store(file, "one", found) == f"stored in {file}"
    assert compare_or_store(file, "two", [1.0]) == f"stored in {file}"
    assert compare_or_store(file, "one", found) == f"those of {file}, bit for bit"
    assert compare_or_store(file, "one", [2.0, 1.5001, 1.0]) == f"those of {file}, but for rounding"
    with pytest.raises(Failed, match=r"step 2 has the loss 1\.6, and 1\.5 in"):
        compare_or_store(file, "one", [2.0, 1.6, 1.0])
    assert json.loads(file.read_text()) == {"one": found, "two": [1.0]}


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1]", "no JSON that this command wrote"), ("no json", "line 1: is not JSON"), ("\0", "is not text")],
)
def test_another_file_is_left_alone(tmp_path: Path, content: str, message: str):
    file = tmp_path / "notes.json"
    file.write_text(content)
    with pytest.raises(UserError, match=f"--golden {file}: {message}"):
        compare_or_store(file, "one", [1.0])
    assert file.read_text() == content


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="No such file or directory"):
        compare_or_store(tmp_path / "none" / "golden.json", "one", [1.0])


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        ([[1.0, 2.0], [1.0, 2.5]], r"step 2 has the loss 2\.0, and 2\.5 the second time"),
        ([[1.0, float("nan")]] * 2, "the loss of step 2 is nan"),
    ],
)
def test_other_losses_the_second_time_are_told(drawn: list, message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(golden, "losses", lambda cfg, left=list(drawn): left.pop(0))
    with pytest.raises(Failed, match=message):
        repeats(RunConfig())
