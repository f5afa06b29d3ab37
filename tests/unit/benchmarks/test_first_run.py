"""The first run on a GPU, as far as a CPU shows it: how parts run, what is said of them, and that each can be started."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from semisonic.config.command_line import resolve
from tests.support.processes import ROOT, processes_of

for folder in ("benchmarks", "benchmarks/gpu"):
    if str(ROOT / folder) not in sys.path:
        sys.path.append(str(ROOT / folder))

import backbones  # noqa: E402
import data as data_speed  # noqa: E402
import first_run  # noqa: E402
import gpu_parts  # noqa: E402
import machine  # noqa: E402
import run_parts  # noqa: E402
import scaling  # noqa: E402
import throughput  # noqa: E402
from gpu_parts import Machine  # noqa: E402
from run_parts import Outcome, Part  # noqa: E402

# How parts run.


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_parts, "GRACE", 0.5)


def part(name: str, *lines: str, seconds: float = 60, least: float = 0) -> Part:
    """A part that runs a small program."""
    return Part(name, "layers", (sys.executable, "-c", "\n".join(lines)), seconds, least=least)


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


# What the parts are.

PARTS = gpu_parts.plan(Machine(Path("out"), Path("work"), "a-card"))


def arguments(part: Part, script: str) -> list[str] | None:
    """What a part gives a script; None for a part of another one."""
    return list(part.command[2:]) if part.command[1] == script else None


def named(script: str) -> Iterator[object]:
    for one in PARTS:
        if (given := arguments(one, script)) is not None:
            yield pytest.param(given, id=one.name)


@pytest.fixture
def seen_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations are checked as on a machine with one GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


@pytest.mark.parametrize("given", named("launch/train.py"))
def test_every_training_command_resolves(given: list[str], seen_gpu: None):
    cfg = resolve(given)[1]
    assert cfg.torch_device == "cuda" and cfg.steps <= 60 and not cfg.baseline


@pytest.mark.parametrize("given", named("benchmarks/throughput.py"))
def test_every_measurement_of_steps_resolves(given: list[str], seen_gpu: None):
    args, rest = throughput.parser().parse_known_args(given)
    assert rest == []
    if args.algorithm != "all":
        plan, cfg = throughput.make_plan(args, rest)
        assert cfg.torch_device == "cuda" and plan.with_data != args.no_data


def test_every_other_command_can_be_started(seen_gpu: None):
    readers = {
        "benchmarks/scaling.py": scaling.parser().parse_args,
        "benchmarks/backbones.py": backbones.parser().parse_args,
        "benchmarks/data.py": data_speed.parse,
    }
    for one, (script, read) in itertools.product(PARTS, readers.items()):
        if (given := arguments(one, script)) is not None:
            read(given)
    for word in {
        word for one in PARTS for word in one.command if word.startswith(("benchmarks/", "launch/", "tests/"))
    }:
        assert (ROOT / word).exists(), word


def test_names_are_unique_groups_known_and_layers_come_first():
    names = [one.name for one in PARTS]
    assert len(set(names)) == len(names) and {one.group for one in PARTS} == set(gpu_parts.GROUPS)
    order = [name for name, _ in itertools.groupby(one.group for one in PARTS)]
    assert ["machine", *order] == list(gpu_parts.AT_ONCE) and all(one.tells for one in PARTS)
    assert [name for name, most in gpu_parts.AT_ONCE.items() if most > 1] == ["layers"]


def test_results_carry_the_card_s_name_and_parts_write_apart():
    written = [word for one in PARTS for word in one.command if word.startswith(("out/", "work/"))]
    assert len(set(written)) == len(written)
    assert "out/throughput-step-a-card.json" in written and "out/trace-a-card.json.gz" in written
    assert machine.file_name("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"


def test_without_dali_steps_are_measured_without_data():
    for one in gpu_parts.plan(Machine(Path("out"), Path("work"), dali=False)):
        if "benchmarks/throughput.py" in one.command:
            assert one.command.count("--no-data") == 1


# The command.


def test_parts_are_chosen_by_group_and_name():
    def names(groups: list[str], only: str | None) -> list[str]:
        return [one.name for one in first_run.chosen(PARTS, groups, only)]

    assert names([], None) == [one.name for one in PARTS if one.group != "trials"]
    assert names(["speed"], None) == ["step", "end-to-end", "kernel-speed"]
    assert names([], "fp32,ddp") == ["ddp", "fp32"] and names(["layers"], "fp32,ddp") == ["ddp"]
    with pytest.raises(ValueError, match="layer: no such group; one of layers, speed, tests, trials"):
        names(["layer"], None)
    with pytest.raises(ValueError, match="--only dpp: no such part"):
        names([], "dpp")


def test_the_list_shows_commands_and_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert first_run.main(["--list", "--out", str(tmp_path / "out")]) == 0
    found = capsys.readouterr().out
    assert "launch/train.py --device cuda" in found and "MASTER_PORT=" in found and "fp32 " not in found
    assert not (tmp_path / "out").exists()
    assert first_run.main(["--only", "nothing"]) == 2 and "no such part" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path):
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "layers", "--out", str(tmp_path / "out")]
    own = os.environ | {"PYTHON": sys.executable, "PACKED": str(tmp_path / "packed")}
    done = subprocess.run(command, capture_output=True, text=True, env=own, timeout=200)
    assert done.returncode == 2 and "torch sees no GPU" in done.stdout, done.stderr
    assert "found    torch 2." in done.stdout and "nothing can be run" in done.stderr
    assert (tmp_path / "out" / "log" / "machine.log").exists()


def test_a_whole_run_reports_each_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    facts = ["import sys", f'open({str(tmp_path / "facts.json")!r}, \'w\').write(\'{{"card": "x", "dali": true}}\')']
    monkeypatch.setattr(first_run, "facts_part", lambda _: part("machine", *facts))
    parts = [part("plain", "print('fine')"), part("default", "raise RuntimeError('no kernel')")]
    monkeypatch.setattr(first_run, "plan", lambda _: parts)
    assert first_run.main(["--out", str(tmp_path), "--seconds", "60"]) == 1
    lines = capsys.readouterr().out.splitlines()
    rows = lines[next(number for number, line in enumerate(lines) if line.startswith("part ")) + 1 : -1]
    assert rows[0].split()[:3] == ["machine", "passed", "0"] and len(rows) == 3
    found = {row.split()[0]: row for row in rows}
    assert found["plain"].split()[1:3] == ["passed", "0"]
    assert found["default"].split()[1:3] == ["failed", "1"] and found["default"].endswith("RuntimeError: no kernel")
    assert (tmp_path / "log" / "plain.log").read_text() == "fine\n"
