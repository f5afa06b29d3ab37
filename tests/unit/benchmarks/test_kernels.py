"""The benchmark of kernels compares each with its reference and with what others use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import guard
from tests.support.processes import ROOT


@pytest.mark.long
def test_kernels_are_compared_with_their_reference_and_with_peers(tmp_path: Path):
    script, out = str(ROOT / "benchmarks" / "kernels.py"), tmp_path / "out.json"
    options = ["--device", "cpu", "--only", "ema, wrn-28-2", "--rounds", "2", "--seconds", "0.01", "--out", str(out)]
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    cases = ["ema, wrn-28-2", "sgd + ema, wrn-28-2"]
    assert list(found["measurements"]) == cases
    assert list(found["ratios"]) == [f"{c}: {other} / ours" for c in cases for other in ("reference", "peers")]
    assert guard.main([str(out), str(out)]) == 0
    done = subprocess.run([sys.executable, script, "--only", "x y z"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stderr.startswith("error: --only x y z: no such case")
