"""Ranks whose hardware differs train in what all of them have, and say so once."""

from pathlib import Path

import pytest
import yaml

from tests.support.processes import Run

PLUG_IN = """
import os
from semisonic.config import execution
execution.multiply_bf16 = lambda: os.environ["RANK"] in os.environ["HAVE_BF16"]
"""
FIELDS = ["--device", "cpu", "--threads", "1", "--batch.labeled", "4", "--batch.unlabeled-ratio", "1", "--steps", "2",
          "--model", "wrn-16-1", "--precision", "auto", "--no-baseline", "--log.trackers", "none"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("have", "expected", "text"),
    [
        ("0", "fp32", "fp32 (auto: rank 1 has no instructions for bf16)"),
        ("01", "bf16", "bf16 (auto: the CPU has instructions for it)"),
    ],
)
def test_ranks_take_what_all_have(
    have: str, expected: str, text: str, tmp_path: Path, launch: Run, monkeypatch: pytest.MonkeyPatch
):
    plug_in, out = tmp_path / "hardware.py", tmp_path / "run"
    plug_in.write_text(PLUG_IN)
    monkeypatch.setenv("HAVE_BF16", have)
    done = launch("train.py", *FIELDS, "--plugin", plug_in, "--out", out, processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(text) == 1
    assert yaml.safe_load((out / "config.yaml").read_text())["precision"] == expected
