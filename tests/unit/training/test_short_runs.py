"""A run that is too short for an average that is not corrected says so, and what to set."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from semisonic import cli
from semisonic.training.build import build_algorithm
from semisonic.training.short_runs import short_run_notes
from tests.support.runs import QUICK
from tests.support.trainers import make_trainer

OFF = ("--ema.start-up", "none", "--model.norm-start-up", "0")


@pytest.mark.parametrize(
    ("fields", "fields_to_set"),
    [
        (["--model", "wrn-10-1", "--steps", "4999", "--ema.decay", "0.999"], ["ema.start-up", "model.norm-start-up"]),
        (["--model", "wrn-10-1", "--steps", "4999", "--ema.decay", "0.9"], ["model.norm-start-up"]),
        (["--model", "wrn-10-1", "--steps", "5000", "--ema.decay", "0.999"], []),
        (["--model", "small", "--steps", "50", "--ema.decay", "0.9"], []),
        (["--model", "small", "--steps", "49", "--ema.decay", "0.9"], ["ema.start-up", "model.norm-start-up"]),
        (["--model", "small", "--steps", "49", "--batch.micro", "2"], ["ema.start-up", "model.norm-start-up"]),
        (["--model", "small", "--steps", "50", "--batch.micro", "2", "--ema.decay", "0"], []),
        (["--model", "small", "--steps", "1", "--ema.start-up", "mean_teacher"], ["model.norm-start-up"]),
        (["--model", "small", "--steps", "1", "--model.norm-start-up", "5"], ["ema.start-up"]),
    ],
)
def test_what_a_short_run_is_told(fields: list[str], fields_to_set: list[str], tmp_path: Path):
    trainer = make_trainer(tmp_path, *OFF, *fields)
    notes = short_run_notes(trainer.cfg, trainer.algorithm)
    assert [
        field for field in ("ema.start-up", "model.norm-start-up") if any(f"--{field} " in n for n in notes)
    ] == fields_to_set
    assert len(notes) == len(fields_to_set) and all(note.startswith(f"steps: {trainer.cfg.steps:,} ") for note in notes)


def test_corrected_averages_are_never_too_slow(tmp_path: Path):
    trainer = make_trainer(tmp_path, "--model", "wrn-10-1", "--steps", "1", "--ema.decay", "0.999")
    assert short_run_notes(trainer.cfg, trainer.algorithm) == []


def test_statistics_that_were_loaded_have_no_start_to_correct(tmp_path: Path):
    trainer = make_trainer(tmp_path, *OFF, "--model", "small", "--steps", "9", "--ema.start-up", "tf")
    loaded = trainer.cfg.model_copy(update={"init": tmp_path})
    assert short_run_notes(loaded, build_algorithm(loaded, trainer.data, trainer.split)) == []
    assert len(short_run_notes(trainer.cfg, trainer.algorithm)) == 1
    without = nn.Module()
    without.network = nn.Linear(1, 1)
    assert short_run_notes(trainer.cfg, without) == []


def test_a_run_says_it_as_it_begins_and_no_more(tmp_path: Path, capfd: pytest.CaptureFixture):
    fields = [*QUICK, "--no-baseline", "--log.trackers", "none", "--steps", "1", *OFF, "--out", str(tmp_path / "run")]
    assert cli.main(fields) == 0
    output = capfd.readouterr().out
    assert "steps: 1 are few for the EMA, which with a decay of 0.99 takes 500 to forget what it begins with" in output
    assert "which with a momentum of 0.1 take 50; correct them by --model.norm-start-up 10" in output
    assert cli.main([*fields, "--resume", "--extend", "--steps", "2"]) == 0
    assert "are few for" not in capfd.readouterr().out


COLORS = {"cat": (160, 90, 90), "dog": (90, 160, 90), "fox": (90, 90, 160)}


@pytest.mark.slow
def test_after_60_steps_on_one_s_own_images_the_average_is_as_good_as_the_weights(tmp_path: Path):
    """The recipe's EMA and start-up, on a small network."""
    bits = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 20)):
        for name, color in COLORS.items():
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(bits.normal(color, 60, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    data = [
        "--data",
        "folder",
        "--data.root",
        str(tmp_path),
        "--data.size",
        "32",
        "--data.labels",
        "6",
        "--device",
        "cpu",
    ]
    shape = [
        "--model",
        "small",
        "--batch.labeled",
        "6",
        "--batch.unlabeled-ratio",
        "2",
        "--steps",
        "60",
        "--threads",
        "1",
        "--optim.lr",  # by the recipe's, for larger networks, this one learns or not as its arithmetic rounds
        "0.01",
    ]
    assert cli.main([*data, *shape, "--no-baseline", "--log.trackers", "none", "--out", str(tmp_path / "run")]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["test_top1_raw"] > 90 and abs(summary["test_top1"] - summary["test_top1_raw"]) <= 2
