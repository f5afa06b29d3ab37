"""A few kills at random moments, and what several ranks do when the disk is full."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from semisonic.checkpoint import format as checkpoints
from tests.dist.lives import Lives
from tests.dist.torture import run, sentence
from tests.support.processes import mounted


def test_a_few_random_kills_lose_nothing(tmp_path: Path):
    done = run("fixmatch", kills=3, processes=1, jobs=1, seed=4, root=tmp_path)
    assert done["problems"] == [] and done["lost"] == done["corrupted"] == 0, done["problems"]
    assert done["kills at random moments"] == 3 and done["ends compared"] >= 1, sentence(done)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with space for two checkpoints of the run, not for three."""
    with mounted(tmp_path / "disk", "2400k") as folder:
        yield folder


def exit_codes(lives: Lives, folder: Path) -> list[int | None]:
    started = lives.start(folder, keep=3)
    try:
        lives.wait(started)
        return [process.exitcode for process in started]
    finally:
        lives.end(started)


def test_two_ranks_end_together_on_a_full_disk_and_continue(tmp_path: Path, small_disk: Path):
    lives, folder = Lives(tmp_path, "fixmatch", world=2), small_disk / "run"
    assert exit_codes(lives, folder) == [2, 2]
    logs = [lives.log(folder, rank).read_text() for rank in range(2)]
    lines = [[line for line in log.splitlines() if "No space left" in line] for log in logs]
    assert len(lines[0]) == 1 and not lines[1] and not any("Traceback" in log for log in logs)
    assert f"({folder}/checkpoints); step-6 is the last good one; free space, then --resume" in lines[0][0]
    status = json.loads((folder / "status.json").read_text())
    assert status["status"] == "failed" and status["exit_code"] == 2 and "No space left" in status["reason"]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["latest", "step-4", "step-6"]

    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert exit_codes(lives, folder) == [0, 0]
    assert checkpoints.load_checkpoint(folder).state["step"] == 18
