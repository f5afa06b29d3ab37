"""A project's training and labeling on two ranks: rank 0 decides for both, and what is stopped goes on."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from pyarrow import parquet

from semisonic.daily.command import parse_options
from semisonic.daily.folds import fold_runs
from semisonic.daily.labeling import table
from semisonic.daily.labeling.command import run
from semisonic.daily.passes import work
from semisonic.daily.project import Project
from tests.support.daily_runs import digit_project
from tests.support.processes import ROOT, Start, free_port, processes_of

RANKS = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.mark.slow
def test_two_ranks_train_a_day_and_label_its_images_as_one_does(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Without agents that keep a store: the ranks meet to agree, again to train, and again to label."""
    project, port = digit_project(tmp_path), str(free_port())
    place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        start(
            sys.executable, Path(__file__).with_name("daily_steps.py"), project.folder, "train", "label",
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
    assert "24 images labeled by day-001" in printed[0] and "labeled by day-001" not in printed[1]
    monkeypatch.setattr(work, "rows_of_part", lambda images: 5)
    assert outcome(project) == outcome(labeled_alone(project))


def labeled_alone(project: Project) -> Project:
    """A copy of a project whose images one process has labeled anew."""
    folder = shutil.copytree(project.folder, project.folder.with_name("alone"))
    shutil.rmtree(folder / "features")
    table.own_files(folder / "auto" / "day-001")[-1].unlink()
    alone = Project.open(folder)
    run(alone, parse_options("label", ["--workers", "1"]))
    return alone


def outcome(project: Project) -> tuple[list[bytes], bytes]:
    """The labels and features of a project's first run."""
    labels = table.own_files(project.auto / "day-001")
    return [path.read_bytes() for path in labels], (project.features / "day-001.npy").read_bytes()


@pytest.mark.long
def test_two_ranks_that_are_killed_label_as_one_process_does(start: Start, tmp_path: Path):
    """Images of many parts, on ranks that are killed at one and then at another."""
    project = digit_project(tmp_path, 480)
    train = start(sys.executable, ROOT / "launch" / "daily.py", project.folder, "train")
    assert "revision 1: 480 images" in train.communicate(timeout=300)[0]
    script = (*RANKS, Path(__file__).with_name("daily_steps.py"), project.folder, "label")
    parts = project.auto / "day-001.parts"
    for kill in ("rank", "launcher", "rank"):
        before = len(list(parts.glob("part-*.npz")))
        child = start(*script)
        while len(list(parts.glob("part-*.npz"))) <= before:
            assert child.poll() is None, child.communicate()[0]
            time.sleep(0.01)
        ranks = [process for process in processes_of(project.folder) if process != child.pid]
        os.kill(ranks[-1] if kill == "rank" else child.pid, signal.SIGKILL)
        child.wait(timeout=120)
        deadline = time.monotonic() + 60
        while processes_of(project.folder) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not processes_of(project.folder) and not (project.auto / "day-001" / table.HEADER).exists(), kill
    last = start(*script)
    printed = last.communicate(timeout=300)[0]
    assert last.returncode == 0 and "480 images labeled by day-001" in printed, printed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "rows_of_part", lambda images: 5)
        assert outcome(project) == outcome(labeled_alone(project))
    with project.store() as store:
        assert not store.check(files=False)


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
    for name in ("day-001", "day-001-fold-1", "day-001-fold-2"):
        assert json.loads((project.runs / name / "status.json").read_text())["step"] == 3
    assert len(parquet.read_table(project.auto / "day-001" / "folds.parquet")) == 12
    refused = start(*script, "--data.csv", "x.csv")
    printed = refused.communicate(timeout=300)[0]
    assert refused.returncode == 1 and printed.count("error: ") == 1, printed
