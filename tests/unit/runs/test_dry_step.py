"""What fails in a run's first step fails before its folder is made, in one line, and otherwise changes nothing."""

import random
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import semisonic
from semisonic import cli
from semisonic.runs import dry_step, first_step
from semisonic.runs.dry_step import data_bytes, free_bytes, generators_kept, memory_limited
from semisonic.schema import UserError
from tests.support.runs import QUICK, tensors

FIELDS = [*QUICK, "--log.trackers", "none", "--steps", "2", "--no-baseline"]


@pytest.mark.slow
def test_a_step_that_fails_is_one_line_and_nothing_is_written(tmp_path: Path, capfd: pytest.CaptureFixture):
    out = tmp_path / "run"
    shape = ["--batch.labeled", "1", "--model", "resnet18", "--model.stem", "7x7"]  # which a second image helps
    code = cli.main([*FIELDS, *shape, "--baseline", "--out", str(out)])
    shown = capfd.readouterr().err.splitlines()
    assert (code, len(shown)) == (2, 1), shown
    assert shown[0].startswith(
        "error: model.name, data.size, batch.labeled: the first step of supervised fails with resnet18, images of 16x16 "
        "and a batch of 1 labeled: ValueError: Expected more than 1 value per channel"
    )
    assert not out.exists()
    assert cli.main([*FIELDS, *shape, "--algorithm", "supervised", "--plan"]) == 2
    assert "the first step of supervised fails with resnet18" in capfd.readouterr().err


def test_a_network_of_the_user_s_own_that_fails_is_named_with_its_line(tmp_path: Path):
    class Own(nn.Module):
        def __init__(self, classes: int):
            super().__init__()
            random.random(), np.random.rand()
            self.head = nn.Linear(192, classes)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert len(images) < 3, "too many"  # two were tried before
            return self.head(images.flatten(1))

    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(UserError, match=r"network, data.size, .*AssertionError: too many.* \(test_dry_step.py, line"):
        semisonic.train(data=(images, np.arange(40) % 4), network=Own, out=tmp_path / "run", steps=1, device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_run_is_the_same_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fields = [*FIELDS, "--model", "small", "--out"]
    assert cli.main([*fields, str(tmp_path / "with")]) == 0
    monkeypatch.setattr(first_step, "dry_steps", lambda *_: None)
    assert cli.main([*fields, str(tmp_path / "without")]) == 0
    assert tensors(tmp_path / "with", 2) == tensors(tmp_path / "without", 2)


def test_memory_that_is_far_too_small_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    monkeypatch.setattr(dry_step, "free_bytes", lambda: 2**28)
    huge = ["--batch.labeled", "4096", "--model", "wrn-28-2", "--out", str(tmp_path / "run")]
    assert cli.main([*FIELDS, *huge]) == 2 and not (tmp_path / "run").exists()
    shown = capfd.readouterr().err
    assert (
        "batch.labeled: a step of 4096 + 8192 images does not fit into the memory that is free here, 256 MiB" in shown
    )


def test_what_is_free_is_known_and_a_limit_ends():
    assert free_bytes() > 2**27 and data_bytes() > 2**20
    with memory_limited() as free, pytest.raises(RuntimeError, match="memory"):
        torch.empty(2 * free + 2**30, dtype=torch.uint8)
    before = random.getstate(), np.random.get_state()[1].tolist()
    with generators_kept():
        random.random(), np.random.rand()
    assert before == (random.getstate(), np.random.get_state()[1].tolist())


@pytest.mark.parametrize("meminfo", [None, "MemFree: 1 kB\n", "MemAvailable:\n", "MemAvailable: 262144 kB\n"])
def test_where_a_system_does_not_say_what_is_free_nothing_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meminfo: str | None
):
    """Neither where it does not say what the process has."""
    monkeypatch.setattr(dry_step, "PROC", tmp_path)
    monkeypatch.setattr(dry_step, "CGROUP", tmp_path)
    if meminfo is not None:
        (tmp_path / "meminfo").write_text(meminfo)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory_limited():
        assert resource.getrlimit(resource.RLIMIT_DATA) == before
