"""Two processes on one folder: one trains, the other is refused, and what comes out is what one alone would have made."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest

from semisonic.checkpoint.folder_lock import LOCK
from tests.support.processes import Start, free_port, wait_for
from tests.support.runs import tensors

STEPS = 24
FIELDS = ["--device", "cpu", "--threads", "1", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--model", "small",
          "--steps", STEPS, "--checkpoint.every", "1", "--checkpoint.keep", "1", "--eval.every", "8", "--log.every", "2",
          "--no-baseline", "--log.trackers", "none"]  # fmt: skip
"""Of a run whose checkpoints and metrics any second writer would spoil."""


@dataclass
class Ended:
    code: int
    printed: str

    @property
    def refused(self) -> bool:
        """By the lock, or because it came when the other was through."""
        lines = [line for line in self.printed.splitlines() if line.startswith("error: ")]
        expected = ("another run is at work in", "is not empty; continue its run", "there is no run in")
        return self.code != 0 and len(lines) == 1 and any(text in lines[0] for text in expected)


def wait(process: Popen) -> Ended:
    printed = process.communicate(timeout=300)[0]
    return Ended(process.returncode, printed)


def check_one_winner(out: Path, ended: list[Ended], alone: Path) -> None:
    text = "\n".join(f"{each.code}: {each.printed[-2000:]}" for each in ended)
    won = [each for each in ended if each.code == 0 and "is finished" not in each.printed]
    assert len(won) == 1, text
    assert all(each.refused or "is finished" in each.printed for each in ended if each is not won[0]), text
    assert tensors(out, STEPS) == tensors(alone, STEPS)
    assert [path.name for path in sorted((out / "checkpoints").iterdir())] == ["latest", f"step-{STEPS}"]
    steps = [[(line["step"], line["kind"]) for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())]
             for run in (out, alone)]  # fmt: skip
    assert steps[0] == steps[1]
    assert json.loads((out / "status.json").read_text())["status"] == "finished"
    assert not (out / LOCK).exists()


def ranks(count: int) -> list[object]:
    """Starts launch/train.py as so many ranks."""
    if count == 1:
        return [sys.executable, "launch/train.py"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", count, "--master_port", free_port()]
    return [*torchrun, "launch/train.py"]


def run_alone(tmp_path: Path, start: Start, count: int = 1) -> Path:
    out = tmp_path / "alone"
    ended = wait(start(*ranks(count), *FIELDS, "--out", out))
    assert ended.code == 0, ended.printed[-3000:]
    return out


@pytest.mark.long
def test_of_two_starts_one_trains(tmp_path: Path, start: Start):
    out, alone = tmp_path / "run", run_alone(tmp_path, start)
    both = [start(*ranks(1), *FIELDS, "--out", out) for _ in range(2)]
    ended = [wait(process) for process in both]
    check_one_winner(out, ended, alone)
    assert sorted(each.code for each in ended) == [0, 2]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["two starts", "a start and a resume", "two resumes", "two starts of two ranks"])
def test_twenty_pairs_have_one_winner_each(tmp_path: Path, start: Start, kind: str):
    count = 2 if "two ranks" in kind else 1
    alone = run_alone(tmp_path, start, count)
    for number in range(5):
        out = tmp_path / f"run-{number}"
        one = [*ranks(count), *FIELDS, "--out", out]
        if kind == "two resumes":
            assert wait(start(*one, "--max-hours", "1e-9")).code == 0
            again = [*one, "--resume", "--max-hours", "null"]
            both = [start(*again), start(*again)]
        elif count == 2:
            both = [start(*one), start(*ranks(count), *FIELDS, "--out", out)]
        else:
            both = [start(*one)]
            if kind == "a start and a resume":
                wait_for(out / ("config.yaml", "checkpoints/latest")[number % 2], both[0])
                one += ["--resume"]
            both.append(start(*one))
        check_one_winner(out, [wait(process) for process in both], alone)
