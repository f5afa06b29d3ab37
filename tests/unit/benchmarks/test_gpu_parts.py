"""Each part of the first run on a GPU can be started, and writes into files of its own."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import backbones
import data as data_speed
import gpu_parts
import machine
import scaling
import throughput
from gpu_parts import Machine
from run_parts import Part
from semisonic.config.command_line import resolve
from tests.support.parts import PARTS
from tests.support.processes import ROOT


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
    assert [name for name, most in gpu_parts.AT_ONCE.items() if most != 1] == ["layers"]


def test_results_carry_the_card_s_name_and_parts_write_apart():
    written = [word for one in PARTS for word in one.command if word.startswith(("out/", "work/"))]
    assert len(set(written)) == len(written)
    assert "out/throughput-step-a-card.json" in written and "out/trace-a-card.json.gz" in written
    assert machine.file_name("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"


def test_without_dali_steps_are_measured_without_data():
    for one in gpu_parts.plan(Machine(Path("out"), Path("work"), dali=False)):
        if "benchmarks/throughput.py" in one.command:
            assert one.command.count("--no-data") == 1
