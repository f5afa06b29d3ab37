"""Ranks that stop, die, hang, fail or differ: one message that names the rank and the step, and the job ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semisonic.distributed.failures import SUSPICION
from semisonic.distributed.watchdog import GRACE
from tests.support.processes import ROOT, Run, Start, processes_of, starting, wait_for

FAULTY, LOST_PEER = (Path(__file__).with_name(name) for name in ("faulty.py", "lost_peer.py"))
FIELDS = ["--device", "cpu", "--threads", "1", "--model", "small", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2",
          "--steps", "20", "--checkpoint.every", "5", "--eval.every", "1000", "--log.every", "5", "--log.trackers", "none",
          "--no-baseline"]  # fmt: skip
HEARTBEAT = 8
FAULTS = [
    "hang:1",
    "stop0",
    "kill",
    "runtime",
    "raise",
    "mistake",
    "buffer",
    "nan",
    "image",
    "kill0",
]  # those that mostly wait first


def write_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in [f"{part}/{label}/{i}.png" for part in ("train", "test") for label in "abc" for i in range(8)]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(folder / name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of all faulty runs, which have ended."""
    folder = tmp_path_factory.mktemp("faults")
    write_images(folder / "images")
    command = [sys.executable, FAULTY, folder, *FAULTS, "--", *FIELDS, "--health.heartbeat", HEARTBEAT]
    with starting(folder) as start:
        faults = start(*command, env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])})
        printed = faults.communicate(timeout=600)[0]
    assert faults.returncode == 0, printed[-3000:]
    yield folder


def errors(runs: Path, fault: str) -> list[str]:
    """The lines that a job printed as errors, in all; the last checkpoint stands and status.json tells the same."""
    printed = "".join(path.read_text() for path in sorted(runs.glob(f"{fault}.[01]")))
    lines = [line.removeprefix("error: ") for line in printed.splitlines() if line.startswith("error: ")]
    status = json.loads((runs / fault / "status.json").read_text())
    assert status["status"] == "failed" and status["exit_code"] == max(code for code, _ in ended(runs, fault)), printed
    assert all(part in status["reason"] for part in (line.partition(" (rank")[0] for line in lines)), status
    # Images are read ahead, so damaged ones are met a few steps late.
    whole = set(os.listdir(runs / fault / "checkpoints")) - ({"step-10"} if fault == "image" else set())
    assert whole == {"latest", "step-5"}
    return lines


def message(runs: Path, fault: str) -> str:
    (line,) = errors(runs, fault)
    return line


def ended(runs: Path, fault: str) -> list[tuple[int, float]]:
    return json.loads((runs / f"{fault}.json").read_text())


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("stop0", f"rank 0 has not answered for {HEARTBEAT} s; its last sign was step 7, in the step; --resume "),
        ("kill", f"rank 1 has not answered for {SUSPICION:g} s; its last sign was step 7, in the step; --resume "),
        ("kill0", "rank 0 has closed its connection; its last sign was step 7, in the step; --resume "),
    ],
)
def test_a_lost_rank_ends_the_job_in_time(runs: Path, fault: str, says: str):
    assert message(runs, fault).startswith(says)
    lost, other = ended(runs, fault)[:: -1 if fault == "kill" else 1]
    assert lost[0] == -signal.SIGKILL and other[0] == 4
    assert other[1] < 2 + HEARTBEAT + 5 + 10  # the fault's own pause, what is stated, and a slow machine


def test_an_error_of_one_rank_ends_the_others(runs: Path):
    assert message(runs, "raise") == "ValueError: this is a fault (rank 1, step 7, in the step)"
    assert [code for code, _ in ended(runs, "raise")] == [1, 1]
    assert (runs / "raise.0").read_text().count("Traceback") == 1 and "strike" in (runs / "raise.0").read_text()
    assert "Traceback" not in (runs / "raise.1").read_text()
    assert message(runs, "mistake") == "data.root: this is a mistake (rank 1, step 7, in the step)"
    assert [code for code, _ in ended(runs, "mistake")] == [2, 2]
    assert "Traceback" not in (runs / "mistake.0").read_text() + (runs / "mistake.1").read_text()


def test_an_error_of_the_kind_that_collectives_raise_is_reported_as_what_it_is(runs: Path):
    """Once the heartbeats have had the time to say that no rank is lost."""
    assert message(runs, "runtime") == "RuntimeError: this is no collective's (rank 1, step 7, in the step)"
    assert [code for code, _ in ended(runs, "runtime")] == [1, 1]
    assert all(seconds < SUSPICION + 2 * GRACE + 10 for _, seconds in ended(runs, "runtime"))


def test_what_torch_raises_when_a_rank_dies_is_suspected():
    """By its type, in every way to use a process group or a store; the words are torch's to change."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, LOST_PEER], env=environment, capture_output=True, text=True, timeout=200)
    found = json.loads(done.stdout)
    assert found == dict.fromkeys(["all_reduce", "all_gather", "objects", "barrier", "ddp", "store"], True), done.stderr


def test_ranks_that_differ_write_no_checkpoint(runs: Path):
    says = message(runs, "buffer")
    assert says.startswith("ranks 0 and 1 differ from each other at step 10, in ema.")
    assert "step-5 is good: --resume" in says
    assert [code for code, _ in ended(runs, "buffer")] == [4, 4]


def test_a_loss_that_is_not_finite_is_told_with_its_rank(runs: Path):
    first, second = errors(runs, "nan")
    assert first.startswith("the loss or the weights were not finite at step 7 on rank 1; nothing ")
    assert "the same both times: the mathematics is at fault" in second
    assert [code for code, _ in ended(runs, "nan")] == [3, 3]


def test_a_loader_that_stops_ends_a_single_process(runs: Path):
    assert message(runs, "hang").startswith(
        "rank 0 has not gone on for 15 s; its last sign was step 7, waiting for data; --resume "
    )
    assert ended(runs, "hang")[0][0] == 4


def test_a_truncated_image_is_named_and_the_run_goes_on_once_it_is_repaired(runs: Path, launch: Run):
    lines = errors(runs, "image")
    # Five are named and the rest is counted; how many were read before they were damaged is a matter of time.
    named = [line for line in lines if "more files of the batch" not in line]
    assert named and all(line.startswith(f"data.root: cannot decode {runs}/images/train/") for line in named)
    assert len(lines) - len(named) <= 1
    assert "; repair " in lines[-1] and "waiting for data)" in lines[-1]
    assert [code for code, _ in ended(runs, "image")] == [2, 2]
    assert "Traceback" not in (runs / "image.0").read_text() + (runs / "image.1").read_text()
    write_images(runs / "images")
    done = launch("train.py", "--resume", "--out", runs / "image")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (
        "Resumed from" in done.stdout
        and json.loads((runs / "image" / "status.json").read_text())["status"] == "finished"
    )


@pytest.mark.slow
def test_a_stopped_rank_under_torchrun(tmp_path: Path, start: Start):
    """As users start it: SIGSTOP from outside, and nothing is left."""
    out = tmp_path / "run"
    starter = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    fields = [*FIELDS, "--steps", "100000", "--health.heartbeat", HEARTBEAT, "--out", out]
    with (tmp_path / "printed").open("w") as printed:
        child = start(*starter, ROOT / "launch" / "train.py", *fields, stdout=printed)
    wait_for(out / "checkpoints" / "latest", child)
    os.kill(rank_of(out, 1), signal.SIGSTOP)
    begin = time.monotonic()
    assert child.wait(timeout=90) == 1, (tmp_path / "printed").read_text()[-3000:]
    assert time.monotonic() - begin < HEARTBEAT + 5 + 15  # before torchrun kills by itself, after 30 s
    errors = [line for line in (tmp_path / "printed").read_text().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0].startswith(
        f"error: rank 1 has not answered for {HEARTBEAT} s; its last sign was step "
    )
    assert json.loads((out / "status.json").read_text())["exit_code"] == 4
    assert not processes_of(out)


def rank_of(out: Path, rank: int) -> int:
    """The process of a rank."""
    variable = f"RANK={rank}".encode()
    return next(
        number for number in processes_of(out) if variable in Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
    )
