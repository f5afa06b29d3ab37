"""A script that calls `semisonic.train`, on two ranks: one run, twice in a process, and data that are not the same."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Start

SCRIPT = """
import json, os, sys
import numpy as np, semisonic
from tests.support.python_data import TINY, OwnNet, digits
from torch import distributed

rank, out = int(os.environ["RANK"]), sys.argv[1]
images, labels = digits()
seen = []
for name in ("one", "two"):
    result = semisonic.train(data=(images, labels), network=OwnNet, callback=seen.append,
                             **TINY | {"out": f"{out}/{name}", "baseline": False})
    assert not distributed.is_initialized()
with open(f"{out}/{rank}.json", "w") as file:
    json.dump([result.history, result.metrics["test_top1"], len(seen)], file)
images[rank] += 1
semisonic.train(data=(images, labels), network="small", **TINY | {"out": f"{out}/three", "baseline": False})
"""


@pytest.mark.slow
def test_two_ranks_train_one_run(start: Start, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    child = start(*launcher, script, tmp_path, env=os.environ | {"PYTHONPATH": paths})
    output, _ = child.communicate(timeout=300)
    (history, top1, called), (other, other_top1, never) = (
        json.loads((tmp_path / f"{r}.json").read_text()) for r in (0, 1)
    )
    assert history == other and top1 == other_top1 == history[-1]["test/top1"] and (called, never) == (4, 0)
    assert [entry["step"] for entry in history] == [4, 8]
    assert "data: rank 1 was given another than rank 0" in output and child.returncode
    assert not (tmp_path / "three").exists()
