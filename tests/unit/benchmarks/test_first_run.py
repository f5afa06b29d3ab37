"""The first run on a GPU: which parts are chosen, and what is said of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import first_run
from tests.support.parts import PARTS, part
from tests.support.processes import ROOT


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


@pytest.mark.usefixtures("quick")
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
