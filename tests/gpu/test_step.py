"""On a GPU: a step never makes the host wait, training goes on over DALI's GPU pipeline, and resuming is exact."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from semisonic import cli
from semisonic.commandline import resolve
from semisonic.data.sources import load
from semisonic.data.splits import make_split
from semisonic.run import build_algorithm
from semisonic.runtime import start
from semisonic.trainer import Trainer

pytestmark = pytest.mark.gpu

FIELDS = [
    "--no-baseline",
    "--device",
    "cuda",
    "--batch.labelled",
    "8",
    "--batch.unlabelled-ratio",
    "2",
    "--log.trackers",
    "none",
]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("compiled", ["off", "whole"])
@pytest.mark.parametrize("algorithm", ["supervised", "fixmatch"])
def test_a_step_does_not_synchronise(algorithm: str, compiled: str, precision: str):
    cfg = resolve([*FIELDS, "--algorithm", algorithm, "--compile", compiled, "--precision", precision])[1]
    data = load(cfg.data)
    split = make_split(cfg.data, data.train.labels, len(data.classes), cfg.seed)
    trainer = Trainer(cfg, build_algorithm(cfg, data, split), data, split, start(cfg))
    batch = next(trainer.loader())
    for _ in range(3):
        trainer.train_step(batch)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            trainer.train_step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int(trainer.first_bad_step) == -1 and int(trainer.algorithm.step) == 6


def test_a_deterministic_run_repeats_bit_for_bit(tmp_path: Path):
    fields = [
        *FIELDS,
        "--deterministic",
        "--steps",
        "20",
        "--checkpoint.every",
        "10",
        "--eval.every",
        "10",
        "--log.every",
        "10",
    ]
    found = []
    for name in ("a", "b"):
        assert cli.main([*fields, "--out", str(tmp_path / name)]) == 0
        found.append(load_file(tmp_path / name / "checkpoints" / "step-20" / "model.safetensors"))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
