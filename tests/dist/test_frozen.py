"""Features of two ranks are those of one, to the byte, and so are the baselines on them."""

import json
import os
from pathlib import Path

import pytest

from tests.support.processes import Run

FIELDS = ["--device", "cpu", "--threads", "1", "--data", "digits", "--model", "small", "--batch.labeled", "8",
          "--batch.unlabeled-ratio", "2", "--steps", "1", "--no-baseline", "--log.trackers", "none", "--frozen", "on",
          "--eval.batch", "100"]  # fmt: skip


@pytest.mark.long
def test_two_ranks_make_the_features_of_one(tmp_path: Path, launch: Run, monkeypatch: pytest.MonkeyPatch):
    found, files = [], []
    for processes in (1, 2):
        cache, out = tmp_path / f"cache-{processes}", tmp_path / f"run-{processes}"
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        done = launch("train.py", *FIELDS, "--out", out, processes=processes, env=os.environ.copy(), timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        report = json.loads((out / "summary.json").read_text())["frozen"]
        found.append({name: report[name]["test_top1"] for name in ("neighbors", "logistic", "self_training")})
        kept = sorted((cache / "semisonic" / "features").glob("*.safetensors"))
        files.append({file.name: file.read_bytes() for file in kept})
    assert len(files[0]) == 2 and files[0] == files[1]
    assert found[0] == found[1] and min(found[0].values()) > 20
