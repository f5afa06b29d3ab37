"""`--plan` predicts memory first, and takes no step that would end the process."""

from pathlib import Path

import pytest
import torch

from semisonic import cli
from semisonic.config.run_config import RunConfig
from semisonic.runs import plan_memory
from semisonic.runs.memory_fit import queue_bytes
from semisonic.runs.plan_memory import Foreseen, foresee, predicted_row, remedy_rows
from semisonic.runs.predicted_memory import Predicted, Unpredictable
from semisonic.training.build import build_algorithm
from semisonic.training.trainer import Trainer
from tests.support.memory import configuration
from tests.support.trials import TRIAL_RUN, digits

WIDE = ["--model", "wrn-10-1", "--eval.batch", "16"]


def foreseen(cfg: RunConfig) -> Foreseen:
    data, split = digits()
    return foresee(cfg, data, split, lambda own: build_algorithm(own, data, split, fresh=False), torch.device("cpu"))


def have_free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(plan_memory, "free_memory_of", lambda device: size)


def test_a_run_that_fits_has_its_row():
    cfg = configuration(*WIDE)
    found = foreseen(cfg)
    own = found.own
    assert own is not None and not found.refused and found.helps == ()
    assert found.queue == queue_bytes(cfg, 16, 1, torch.device("cpu")) == 4 * (8 + 2 * 16) * 3 * 16**2
    name, row = predicted_row(found)
    assert name == "predicted peak" and "MiB activations" in row and "in an evaluation" in row


def test_what_would_make_it_fit_is_found(monkeypatch: pytest.MonkeyPatch):
    plain = foreseen(configuration(*WIDE))
    cut = foreseen(configuration(*WIDE, "--batch.micro", "4"))
    assert plain.own is not None and cut.own is not None
    have_free(monkeypatch, cut.own.peak + plain.queue)
    found = foreseen(configuration(*WIDE))
    assert found.refused
    rows = dict(remedy_rows(found))
    assert next(iter(rows)) == "--recompute" and rows["--batch.micro 4"].endswith("predicted: fits")
    assert rows["--batch.micro 2"].endswith("does not fit")
    everything = ["--recompute", "--batch.micro", "8", "--precision", "bf16"]
    least = foreseen(configuration(*WIDE, *everything)).own
    assert least is not None
    have_free(monkeypatch, least.peak + plain.queue)
    rows = dict(remedy_rows(foreseen(configuration(*WIDE))))
    assert [name for name, row in rows.items() if row.endswith("predicted: fits")] == [" ".join(everything)]


def test_slices_of_an_evaluation_are_made_to_fit(monkeypatch: pytest.MonkeyPatch):
    fields = ["--model", "wrn-10-1", "--eval.batch", "1024"]
    plain = foreseen(configuration(*fields))
    assert plain.own is not None and plain.own.evaluation > plain.own.peak
    have_free(monkeypatch, plain.own.peak + plain.queue)
    ((name, row),) = remedy_rows(foreseen(configuration(*fields)))
    assert name.startswith("--eval.batch ") and row.endswith("predicted: fits")


def test_no_step_is_taken_where_it_would_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    plain = foreseen(configuration(*WIDE, "--recompute"))
    assert plain.own is not None
    have_free(monkeypatch, plain.own.peak + plain.queue)
    monkeypatch.setattr(Trainer, "__init__", lambda *_: pytest.fail("a trainer was built"))
    monkeypatch.chdir(tmp_path)
    assert cli.main([*TRIAL_RUN, "--no-baseline", *WIDE, "--plan"]) == 2
    shown = capfd.readouterr()
    assert "batch.labeled: a step of 8 + 16 images takes" in shown.err and "it fits with --recompute" in shown.err
    assert "predicted peak" in shown.out and "--recompute" in shown.out
    assert list(tmp_path.iterdir()) == []


def test_the_host_is_not_filled_to_its_last_byte(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plan_memory, "free_bytes", lambda: 1000)
    monkeypatch.setattr(plan_memory, "local_world_size", lambda: 3)
    assert plan_memory.free_memory_of(torch.device("cpu")) == 250


def test_what_cannot_be_predicted_is_said(monkeypatch: pytest.MonkeyPatch):
    def unable(*_: object) -> Predicted:
        raise Unpredictable("it reads values of tensors")

    monkeypatch.setattr(plan_memory, "predict", unable)
    found = foreseen(configuration(*WIDE))
    assert not found.refused and predicted_row(found)[1].startswith("not predicted: ")
