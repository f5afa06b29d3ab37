"""Faults by name: what the variable takes, where the points are, and what each kind of them does."""

import ast
import errno
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from semisonic import faults
from semisonic.checkpoint.atomic_files import write_text
from semisonic.cli import main
from semisonic.reporting.trackers import append
from semisonic.schema import UserError
from tests.support.processes import ROOT

ENGINE = ROOT / "engine" / "semisonic"


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    def armed(text: str, rank: int = 0) -> None:
        monkeypatch.setenv("SEMISONIC_FAULT", text)
        monkeypatch.setenv("RANK", str(rank))
        faults.arm()

    yield armed
    monkeypatch.undo()
    faults.arm()


def sources() -> dict[str, str]:
    return {str(path.relative_to(ENGINE)): path.read_text() for path in ENGINE.rglob("*.py")}


# Where the points are.


def test_every_place_is_reached_and_every_reach_is_a_place():
    text = "\n".join(content for name, content in sources().items() if name != "faults.py")
    places = set(re.findall(r'reach\("([^"]+)"', text))
    ways = set(re.findall(r'reach_file\(path, "([^"]+)"', text))
    assert ways == {"write", "fsync", "rename", "named"}
    places |= {f"{name}.{way}" for name in faults.FILES for way in ways}
    places |= {f"{name}.{way}" for name in faults.PARTS | faults.SNAPSHOTS for way in ("write", "fsync")}
    places |= {f"{name}.write" for name in faults.APPENDED if f'"{name}"' in text}
    assert places == faults.PLACES.keys()


def test_every_file_of_a_run_has_points():
    run, checkpoint = Path("run"), Path("run/checkpoints/.tmp-step-4")
    named = {"status.json": "status", ".summary.json.tmp": "summary", "config.yaml": "config", "metrics.jsonl": "kept"}
    assert {name: faults.file_of(run / name) for name in named} == named
    assert faults.file_of(run / "labels" / ".aum.parquet.tmp") == "labels"
    parts = ("model.safetensors", "optimizer.safetensors", "state.json", "config.yaml", "manifest.json")
    assert {faults.file_of(checkpoint / name) for name in parts} == faults.PARTS.keys()
    snapshot = Path("run/snapshots/.tmp-step-4")
    assert {faults.file_of(snapshot / name) for name in parts} == faults.SNAPSHOTS.keys()
    assert faults.file_of(Path("evaluation.json")) is None


# What changes files elsewhere than in `atomic_files`, how often, and why that is no way around it.
ELSEWHERE = {
    "checkpoint/format.py: os.rename": 2,  # folders of checkpoints, with points of their own
    "checkpoint/snapshots.py: os.rename": 1,  # those of snapshots, likewise
    "checkpoint/folder_lock.py: os.write": 2,  # the lock of a folder, with points of its own
    "checkpoint/folder_lock.py: os.fsync": 1,
    "checkpoint/folder_lock.py: os.rename": 1,
    "check/golden.py: path.write_text": 1,  # first losses, a file of the user's
    "reporting/trackers.py: os.write": 2,  # metrics.jsonl, with points of its own
    "reporting/trackers.py: os.ftruncate": 1,
    "runs/continuing.py: path.replace": 1,  # the summary of a run that is lengthened, with a point of its own
    "daily/exchange/tree.py: os.rename": 1,  # a folder of the user's, which is made whole under another name
    "export/command.py: os.rename": 1,  # likewise
    "runs/plan.py: os.fsync": 1,  # a nameless file that measures the disk
}
SYSTEM = ("write", "ftruncate", "fsync", "fdatasync", "rename", "replace")


def changes(source: str) -> Iterator[str]:
    """The calls in a module that change files on the disk; `os.write` to the terminal is none."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(attr="write"), args=[ast.Constant(value=2), *_]):
                node.func.attr = "print"  # type: ignore[attr-defined]
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in SYSTEM:
                yield f"os.{name}"
            # `str.replace` takes two arguments, and `dataclasses.replace` names.
            case ast.Call(func=ast.Attribute(attr="replace" | "rename" as name), args=[_], keywords=[]):
                yield f"path.{name}"
            case ast.Call(func=ast.Attribute(attr="write_text" | "write_bytes" as name)):
                yield f"path.{name}"


def test_files_are_written_in_one_place():
    """A write, sync or rename elsewhere would be one that no fault can strike: it goes through `atomic_files`, or gets
    points of its own and a line above."""
    ours = {name: text for name, text in sources().items() if name != "checkpoint/atomic_files.py"}
    assert Counter(f"{name}: {call}" for name, text in ours.items() for call in changes(text)) == ELSEWHERE


# What the variable takes.


def test_all_mistakes_of_the_variable_are_told_together(arm: Callable[..., None]):
    with pytest.raises(UserError) as caught:
        arm("stat.kill:1, nowhere:1, step.kill:0, step.kill:1@x, step.kill")
    near, unknown, *wrong = caught.value.messages
    assert near.startswith("SEMISONIC_FAULT: 'stat.kill' is no point; did you mean step.kill, ")
    assert unknown == "SEMISONIC_FAULT: 'nowhere' is no point; SEMISONIC_FAULT=list shows all"
    assert [line.split("'")[1] for line in wrong] == ["step.kill:0", "step.kill:1@x", "step.kill"]


def test_the_list_says_what_each_point_does(
    arm: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("SEMISONIC_FAULT", "list")
    assert main(["--steps", "1"]) == 0
    out, err = capfd.readouterr()
    assert err == "" and len(out.splitlines()) == len(faults.POINTS) + 1
    assert any(line.split() == ["step.kill", "before", "a", "training", "step:", "killed"] for line in out.splitlines())
    with pytest.raises(UserError, match="SEMISONIC_FAULT: list is for a command line"):
        arm("list")


def test_a_fault_is_for_one_rank_and_one_time(arm: Callable[..., None], tmp_path: Path):
    arm("status.full:2@1", rank=0)
    for text in "abc":
        write_text(tmp_path / "status.json", text)
    arm("status.full:2@1,status.full:4", rank=1)
    write_text(tmp_path / "status.json", "d")
    for text, strikes in (("e", True), ("f", False), ("g", True), ("h", False)):
        try:
            write_text(tmp_path / "status.json", text)
            assert not strikes
        except OSError as error:
            assert strikes and error.errno == errno.ENOSPC
    assert (tmp_path / "status.json").read_text() == "h" and faults.reached()["status.full"] == 5


def test_without_the_variable_nothing_is_counted(arm: Callable[..., None], monkeypatch: pytest.MonkeyPatch):
    arm("step.kill:9")
    monkeypatch.delenv("SEMISONIC_FAULT")
    faults.arm()
    faults.reach("step")
    assert faults.reached() == {}


def test_a_run_with_a_wrong_fault_is_refused_before_anything_is_made(
    arm: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("SEMISONIC_FAULT", "stat.kill:1")
    assert main(["--device", "cpu", "--steps", "1", "--out", str(tmp_path / "run")]) == 2
    assert "error: SEMISONIC_FAULT: 'stat.kill' is no point" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# What they do.


def test_a_full_disk_leaves_what_was_there(arm: Callable[..., None], tmp_path: Path):
    path, lines = tmp_path / "status.json", tmp_path / "metrics.jsonl"
    write_text(path, "before")
    lines.write_text("one\n")
    arm("status.full:1,metrics.full:1")
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "after")
    with lines.open("ab", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        append(file, "two\n")
    assert path.read_text() == "before" and lines.read_text() == "one\n"
    assert not list(tmp_path.glob(".*"))


def ended(action: Callable[[], object], seconds: float = 20) -> int:
    """How a fork that does this ends, by itself or after so many seconds."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(1)
    deadline, done = time.monotonic() + seconds, 0
    while not done and time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not done:
        os.kill(child, signal.SIGTERM)
        status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize(
    ("point", "content", "beside"),
    [("write", "[1]", "[2"), ("fsync", "[1]", "[2]]"), ("rename", "[1]", "[2]]"), ("named", "[2]]", None)],
)
def test_a_kill_leaves_the_old_file_or_the_new(
    arm: Callable[..., None], tmp_path: Path, point: str, content: str, beside: str | None
):
    path, staged = tmp_path / "status.json", tmp_path / ".status.json.tmp"
    write_text(path, "[1]")
    arm(f"status.{point}:1")
    assert ended(lambda: write_text(path, "[2]]")) == -signal.SIGKILL
    assert path.read_text() == content and (staged.read_text() if staged.exists() else None) == beside


def test_a_rank_dies_at_once_or_inside_a_collective_or_sleeps(arm: Callable[..., None]):
    begin = time.monotonic()
    arm("vote.before:1")
    assert ended(lambda: faults.reach("vote")) == -signal.SIGKILL and time.monotonic() - begin < faults.LATE
    begin = time.monotonic()
    arm("vote.inside:1")
    assert ended(lambda: faults.reach("vote")) == -signal.SIGKILL and time.monotonic() - begin >= faults.LATE
    arm("step.hang:1")
    assert ended(lambda: faults.reach("step"), seconds=0.5) == -signal.SIGTERM


def test_a_fault_says_that_it_strikes(arm: Callable[..., None], capfd: pytest.CaptureFixture[str]):
    arm("metrics.full:1")
    with pytest.raises(OSError, match="No space left"):
        faults.reach("metrics.write")
    assert capfd.readouterr().err == "fault: metrics.full:1 strikes\n"
