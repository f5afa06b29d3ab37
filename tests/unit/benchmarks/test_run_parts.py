"""Commands in processes of their own: time limits, failures and interruptions end what they must and are reported."""

import itertools
import os
import re
import signal
import time
from pathlib import Path

import pytest

import run_parts
from run_parts import Outcome, Part
from tests.support.parts import part
from tests.support.processes import processes_of

pytestmark = pytest.mark.usefixtures("quick")


def run(folder: Path, *parts: Part, at_once: int = 6, seconds: float = 60) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}

    def done(outcome: Outcome) -> None:
        found[outcome.name] = outcome

    run_parts.run_parts(parts, at_once, time.monotonic() + seconds, folder / "log", os.environ, folder, done)
    return found


def sleeper(folder: Path, *before: str) -> tuple[str, ...]:
    """A program that starts another one, whose command line names the folder, and outlives it in no way by itself."""
    command = f"import time; time.sleep(60)  # {folder}/"
    return ("import subprocess, sys, time, signal", *before, f"subprocess.Popen([sys.executable, '-c', {command!r}])")


def wait_until_none(folder: Path) -> None:
    deadline = time.monotonic() + 20
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_of(folder) == []


@pytest.mark.parametrize("deaf", [False, True])
def test_a_time_limit_ends_the_whole_process_group_and_the_others_go_on(tmp_path: Path, deaf: bool):
    before = ["signal.signal(signal.SIGTERM, signal.SIG_IGN)"] if deaf else []
    slow = part(
        "slow", *sleeper(tmp_path, *before), "print('RuntimeError: early', flush=True)", "time.sleep(60)", seconds=3
    )
    found = run(tmp_path, slow, part("after", "print('fine')"), at_once=1)
    assert found["slow"].state == "time limit" and found["slow"].line == "RuntimeError: early"
    assert found["slow"].code == (-signal.SIGKILL if deaf else -signal.SIGTERM) and 3 <= found["slow"].seconds < 10
    assert found["after"].state == "passed"
    wait_until_none(tmp_path)


def test_a_part_that_fails_stops_no_other_one(tmp_path: Path):
    bad = part("bad", "print('before')", "raise ValueError('this is why')")
    found = run(tmp_path, bad, part("good", "print('12 passed in 3 s')"), part("silent", "import sys", "sys.exit(4)"))
    assert found["bad"].state == "failed" and found["bad"].code == 1
    assert found["bad"].line == "ValueError: this is why"
    assert found["good"].state == "passed" and found["good"].code == 0 and found["good"].line == "12 passed in 3 s"
    assert found["silent"].code == 4 and found["silent"].line == ""
    assert "before" in (tmp_path / "log" / "bad.log").read_text()


def test_what_a_part_leaves_running_is_ended_with_it(tmp_path: Path):
    found = run(tmp_path, part("leaves", *sleeper(tmp_path)))
    assert found["leaves"].state == "passed" and found["leaves"].seconds < 20
    wait_until_none(tmp_path)


def test_so_many_parts_run_at_a_time(tmp_path: Path):
    def noted(number: int) -> Part:
        lines = ["import time", "from pathlib import Path", "begin = time.monotonic()", "time.sleep(0.4)"]
        return part(f"p{number}", *lines, f"Path('t{number}').write_text(f'{{begin}} {{time.monotonic()}}')")

    run(tmp_path, *map(noted, range(5)), at_once=2)
    spans = [tuple(map(float, (tmp_path / f"t{number}").read_text().split())) for number in range(5)]
    together = [sum(begin <= at < end for begin, end in spans) for at, _ in spans]
    assert max(together) == 2
    run(tmp_path, *map(noted, range(3)), at_once=1)
    spans = [tuple(map(float, (tmp_path / f"t{number}").read_text().split())) for number in range(3)]
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))


def test_parts_get_what_is_left_of_all_time_or_are_left_out(tmp_path: Path):
    slow = [part(name, "import time", "time.sleep(60)") for name in ("one", "two")]
    found = run(tmp_path, *slow, part("long", "pass", least=30), at_once=1, seconds=2)
    assert found["one"].state == "time limit" and found["one"].seconds < 6
    assert found["two"].state in ("time limit", "left out")
    assert found["long"] == Outcome("long", "left out", None, 0.0, "0 s were left")


def test_an_interruption_ends_what_runs_and_reports_it(tmp_path: Path):
    outcomes: list[Outcome] = []

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if outcome.state != "cut off":
            raise SystemExit(143)

    parts = [part("long", *sleeper(tmp_path), "time.sleep(60)"), part("short", "import time", "time.sleep(1)")]
    with pytest.raises(SystemExit):
        run_parts.run_parts(parts, 2, time.monotonic() + 60, tmp_path / "log", os.environ, tmp_path, done)
    assert [(outcome.name, outcome.state) for outcome in outcomes] == [("short", "passed"), ("long", "cut off")]
    wait_until_none(tmp_path)


def test_the_table_names_code_seconds_and_last_error():
    rows = [
        Outcome("plain", "passed", 0, 21.4, ""),
        Outcome("default", "failed", 1, 33.6, "RuntimeError: no kernel"),
        Outcome("resume", "left out", None, 0.0, "3 s were left"),
    ]
    head, *lines = run_parts.table(rows).splitlines()
    assert head.split() == ["part", "ended", "code", "seconds", "last", "error"]
    assert [re.split(" {2,}", line) for line in lines] == [
        ["plain", "passed", "0", "21"],
        ["default", "failed", "1", "34", "RuntimeError: no kernel"],
        ["resume", "left out", "0", "3 s were left"],
    ]


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("Traceback (most recent call last):\n  raise RuntimeError(\nRuntimeError: CUDA error: oops\nsee the notes\n",
         "RuntimeError: CUDA error: oops"),
        ("E   assert 1 == 2\nFAILED tests/x.py::test_y - assert 1 == 2\n3 failed, 7 passed in 5 s\n", "3 failed, 7 passed in 5 s"),
        ("error: device: cuda was asked for\n", "error: device: cuda was asked for"),
        ("one\nFAILED: step 3, .y: 2.00% of the values differ\nthe same\n1 failed\n", "1 failed"),
        ("nothing that is known\nthe end\n\n", "the end"),
    ],
)  # fmt: skip
def test_the_last_error_of_a_log(tmp_path: Path, log: str, line: str):
    (tmp_path / "a.log").write_text(log)
    assert run_parts.last_line(tmp_path / "a.log", passed=False) == line
