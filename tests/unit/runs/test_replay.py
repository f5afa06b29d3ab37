"""`semisonic replay`: where a step that was not finite begins to be so, on this machine and without the data set."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from semisonic import cli
from semisonic.checkpoint.tensor_files import write_tensors
from semisonic.contract import Batch
from semisonic.runs.replay import joined, kept_step
from semisonic.schema import UserError
from tests.support.trainers import FIELDS

NONE = torch.empty(0, dtype=torch.int64)


def test_a_run_that_diverges_keeps_its_step_and_the_command_tells_where_it_begins(
    tmp_path: Path, capfd: pytest.CaptureFixture
):
    out = tmp_path / "run"
    fields = [*FIELDS, "--model", "small", "--steps", "6", "--log.every", "3", "--eval.every", "6"]
    assert cli.main([*fields, "--out", str(out), "--optim.lr", "1e19"]) == 3
    said = capfd.readouterr().err
    assert "the same both times: the mathematics is at fault" in said and f"semisonic replay {out}" in said
    assert "the mathematics is at fault" in json.loads((out / "status.json").read_text())["reason"]
    assert cli.replay([str(out), "--device", "cpu", "--out", str(tmp_path / "report.json")]) == 3
    shown = capfd.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    step = int(kept_step(out).name.removeprefix("step-"))
    assert f"Step {step} on cpu" in shown and report["step"] == step and not report["weights_before"]
    assert report["terms"]["loss"] in ("nan", "inf") and report["first_layer"] in shown
    assert {"nan", "inf"} & {str(norm) for norm in report["gradients"].values()} and report["weights_after"]
    assert cli.replay([str(out), "--out", str(tmp_path / "report.json")]) == 2  # nothing is overwritten
    assert "--out" in capfd.readouterr().err
    batch_file = kept_step(out) / "batch-0.safetensors"
    batch = {name: value[:-1].clone() for name, value in load_file(batch_file).items()}
    write_tensors(batch_file, batch)
    assert cli.replay([str(out), "--device", "cpu"]) == 2
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 5 and all(line.startswith(f"error: {batch_file}: is no batch of this run: ") for line in said)


def test_what_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(UserError, match=f"run: {tmp_path} has kept no step"):
        kept_step(tmp_path)
    with pytest.raises(UserError, match="run: there is no folder nowhere"):
        kept_step(Path("nowhere"))
    (tmp_path / "replay" / "step-7").mkdir(parents=True)
    assert kept_step(tmp_path, 7) == kept_step(tmp_path) == tmp_path / "replay" / "step-7"
    with pytest.raises(UserError, match="has kept step-7, not step-8"):
        kept_step(tmp_path, 8)


def test_the_batches_of_ranks_join_in_the_global_order():
    def batch(*numbers: int) -> Batch:
        y = torch.tensor(numbers)
        return Batch({"weak": y[:, None, None, None].expand(-1, 3, 2, 2)}, y, y, {}, NONE, NONE, NONE, {}, {})

    whole = joined([batch(0, 1, 4, 5), batch(2, 3, 6, 7)], micro=2)  # micro-batches 0..3 and 4..7, each over two ranks
    assert whole.y.tolist() == list(range(8)) and whole.x["weak"][:, 0, 0, 0].tolist() == list(range(8))
    assert whole.u_index.numel() == 0
