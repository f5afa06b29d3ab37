"""`precision auto`: settled once, alike on all ranks, kept in config.yaml, and told with its reason."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from semisonic import cli
from semisonic.config import execution
from semisonic.config.execution import Precision, common_precision, settle_precision
from semisonic.runs import precision
from semisonic.runs.precision import with_precision
from semisonic.runs.run_folder import as_begun
from tests.support.command_line import config
from tests.support.runs import QUICK

AUTO = ("--no-baseline", "--device", "cpu", "--model", "wrn-16-1", "--precision", "auto")
Cpu = Callable[[bool], None]


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> Cpu:
    """Gives the machine a CPU with instructions for bf16, or without."""
    return lambda has_bf16: monkeypatch.setattr(execution, "multiply_bf16", lambda: has_bf16)


def test_it_fits_the_processor(cpu: Cpu):
    cpu(True)
    assert settle_precision("auto", "cpu", "wrn-28-2") == ("bf16", "auto: the CPU has instructions for it")
    assert settle_precision("fp32", "cpu", "wrn-28-2") == ("fp32", "")
    cpu(False)
    assert settle_precision("auto", "cpu", "wrn-28-2") == ("fp32", "auto: the CPU has no instructions for bf16")
    assert settle_precision("bf16", "cpu", "wrn-28-2").text == "bf16"


@pytest.mark.parametrize(("found", "expected"), [([(7, 5)], "fp32"), ([(8, 0)], "bf16"), ([(9, 0), (7, 0)], "fp32")])
def test_on_gpus_from_ampere_on(found: list[tuple[int, int]], expected: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
    monkeypatch.setattr(torch.cuda, "get_device_capability", found.__getitem__)
    assert settle_precision("auto", "cuda", "wrn-28-2").name == expected


@pytest.mark.parametrize(("model", "small"), [("small", True), ("wrn-10-2", True), ("wrn-16-2", False),
                                              ("resnet18", False), ("timm/small", False)])  # fmt: skip
def test_small_networks_stay_in_fp32(model: str, small: bool, cpu: Cpu):
    cpu(True)
    assert (settle_precision("auto", "cpu", model).name == "fp32") == small


@pytest.mark.parametrize("data", ["digits", "mnist", "fashion-mnist"])
def test_recipes_of_small_images_stay_in_fp32_whatever_the_network(data: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("semisonic.config.checks.data_sets.data_problems", lambda cfg: [])
    assert config("--data", data, "--model", "wrn-28-2", "--no-baseline").precision == "fp32"


def test_a_configuration_that_no_run_has_settled_computes_in_what_it_comes_to(cpu: Cpu):
    cpu(True)
    cfg = config(*AUTO)
    assert cfg.precision == "auto" and cfg.autocast is torch.bfloat16
    assert cfg.model_copy(update={"precision": "fp32"}).autocast is None


def test_ranks_of_different_hardware_take_what_all_have(cpu: Cpu, monkeypatch: pytest.MonkeyPatch):
    cpu(True)
    others = [Precision("fp32", "auto: the CPU has no instructions for bf16")]
    monkeypatch.setattr(precision, "of_ranks", lambda own: [own, *others, own])
    cfg, why = with_precision(config(*AUTO), "auto")
    assert cfg.precision == "fp32" and why.text == "fp32 (auto: rank 1 has no instructions for bf16)"
    others += others
    assert with_precision(config(*AUTO), "auto")[1].reason == "auto: ranks 1 and 2 have no instructions for bf16"
    assert common_precision(others) == others[0] and common_precision([Precision("bf16", "x")] * 2).name == "bf16"


def test_a_run_keeps_what_it_has_come_to(tmp_path: Path, cpu: Cpu, capfd: pytest.CaptureFixture):
    """On a CPU without bf16, too, it goes on as it was begun, by the command that began it or by its folder alone."""
    out = tmp_path / "run"
    command = [*QUICK, *AUTO, "--log.trackers", "none", "--out", str(out), "--steps", "4"]
    cpu(True)
    assert cli.main([*command, "--max-hours", "1e-9"]) == 0
    assert "bf16 (auto: the CPU has instructions for it)" in capfd.readouterr().out
    assert yaml.safe_load((out / "config.yaml").read_text())["precision"] == "bf16"
    cpu(False)
    assert as_begun(config(*command)).precision == "bf16"
    assert cli.main([*command, "--resume", "--max-hours", "1e-9"]) == 0
    assert "bf16 (auto: the run was begun so)" in capfd.readouterr().out
    assert cli.main(["--resume", "--out", str(out), "--precision", "fp32"]) == 2
    assert "precision: 'fp32'" in capfd.readouterr().err


def test_an_older_run_s_precision_stands(tmp_path: Path, cpu: Cpu):
    cpu(True)
    cfg = config(*AUTO, "--out", tmp_path)
    fields = yaml.safe_load(cfg.dump()) | {"schema": 3, "precision": "fp32"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(fields))
    assert as_begun(cfg).precision == "fp32"
