"""On a GPU whose memory really ends: the step is cut before the run begins, and the run trains to its end."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from semisonic import cli
from semisonic.config.command_line import Invocation, resolve
from semisonic.config.run_config import RunConfig
from semisonic.data.sets.registry import load_data_set
from semisonic.data.sets.splits import make_split
from semisonic.runs.memory_fit import Trial
from semisonic.runs.run import execute
from semisonic.training.build import build_algorithm
from semisonic.training.memory_advice import with_micro

pytestmark = pytest.mark.gpu

FIELDS = ["--device", "cuda", "--no-baseline", "--model", "wrn-10-2", "--batch.labeled", "64", "--batch.unlabeled-ratio", "15",
          "--eval.batch", "64", "--steps", "20", "--checkpoint.every", "20", "--eval.every", "20", "--log.every", "10",
          "--log.trackers", "none"]  # fmt: skip


@pytest.fixture
def unlimited() -> Iterator[None]:
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def peak(trial: Trial, cfg: RunConfig) -> int:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    trial.step(cfg, False)
    return torch.cuda.max_memory_reserved()


@pytest.mark.parametrize("replay", ["off", "step"])
def test_a_step_that_does_not_fit_is_cut_and_trains(
    tmp_path: Path, capfd: pytest.CaptureFixture, unlimited: None, replay: str
):
    cfg = resolve([*FIELDS, "--compile", "off", "--replay", replay, "--out", str(tmp_path / "run")])[1]
    data = load_data_set(cfg.data)
    split = make_split(cfg.data, data.train.labels, len(data.classes), cfg.seed)
    trial = Trial(lambda cfg: build_algorithm(cfg, data, split), data, split, torch.device("cuda", 0))
    whole, eighth = (peak(trial, with_micro(cfg, micro)) for micro in (1, 8))
    assert whole > 2 * eighth
    torch.cuda.set_per_process_memory_fraction(0.5 * (whole + eighth) / torch.cuda.mem_get_info()[1])
    assert execute(Invocation(cfg)) == 0
    micro = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["batch"]["micro"]
    assert micro > 1 and f"it is cut into {micro} micro-batches" in capfd.readouterr().out
    assert (tmp_path / "run" / "checkpoints" / "step-20").is_dir()


def test_a_step_that_fits_changes_nothing_and_holds_nothing(tmp_path: Path):
    cfg = resolve([*FIELDS, "--compile", "whole", "--out", str(tmp_path / "run")])[1]
    data = load_data_set(cfg.data)
    split = make_split(cfg.data, data.train.labels, len(data.classes), cfg.seed)
    trial = Trial(lambda cfg: build_algorithm(cfg, data, split), data, split, torch.device("cuda", 0))
    trial.step(cfg, False)  # cuBLAS and cuDNN keep their workspaces
    before, numbers = torch.cuda.memory_allocated(), torch.cuda.get_rng_state()
    for compiled in (False, True):
        trial.step(cfg, compiled)
    assert torch.cuda.memory_allocated() <= before + 2**20 and torch.equal(torch.cuda.get_rng_state(), numbers)


def test_a_plan_measures_the_card(tmp_path: Path, capfd: pytest.CaptureFixture):
    assert cli.main([*FIELDS, "--plan", "--out", str(tmp_path / "run")]) == 0
    found = " ".join(capfd.readouterr().out.split())
    assert "allocated" in found and "reserved by torch" in found and "of the card in use" in found
    assert not (tmp_path / "run").exists()
