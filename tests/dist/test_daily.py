"""A project's training on two ranks: rank 0 decides for both, and what is stopped goes on."""

import json
import os
import sys
from pathlib import Path

import pytest
from pyarrow import parquet

from semisonic.daily.folds import fold_runs
from tests.support.daily_runs import digit_project
from tests.support.processes import ROOT, Start, free_port

RANKS = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.mark.slow
def test_two_ranks_train_a_day(start: Start, tmp_path: Path):
    """Without agents that keep a store: the ranks meet to agree, and again to train."""
    project, port = digit_project(tmp_path), str(free_port())
    place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        start(
            sys.executable, ROOT / "launch" / "daily.py", project.folder, "train",
            env=os.environ | place | {"RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]  # fmt: skip
    printed = [rank.communicate(timeout=300)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], printed
    assert "day-001: day 1, revision 1: 24 images" in printed[0] and "day-001" not in printed[1]
    with project.store() as store:
        assert [revision.run for revision in store.revisions()] == ["day-001"]
        assert len(store.queue("given")) == 3
    assert json.loads((project.runs / "day-001" / "status.json").read_text())["step"] == 3


@pytest.mark.long
def test_two_ranks_go_on_with_a_day_and_its_folds(start: Start, tmp_path: Path):
    project = digit_project(tmp_path)
    script = (*RANKS, ROOT / "launch" / "daily.py", project.folder, "train", "--folds", "2")
    stopped = start(*script, "--max-hours", "1e-9")
    printed = stopped.communicate(timeout=300)[0]
    assert stopped.returncode == 0, printed
    status = json.loads((project.runs / "day-001" / "status.json").read_text())
    assert (status["status"], status["step"]) == ("stopped", 1) and printed.count("day-001: day 1, revision 1") == 1
    last = start(*script, "--max-hours", "null")
    printed = last.communicate(timeout=300)[0]
    assert last.returncode == 0 and "Resumed from" in printed, printed
    with project.store() as store:
        assert [revision.run for revision in store.revisions()] == ["day-001"]
        assert len(store.queue("given")) == 3
    assert len(fold_runs(project, "day-001")) == 2
    for run in ("day-001", "day-001-fold-1", "day-001-fold-2"):
        assert json.loads((project.runs / run / "status.json").read_text())["step"] == 3
    assert len(parquet.read_table(project.auto / "day-001" / "folds.parquet")) == 12
    refused = start(*script, "--data.csv", "x.csv")
    printed = refused.communicate(timeout=300)[0]
    assert refused.returncode == 1 and printed.count("error: ") == 1, printed
