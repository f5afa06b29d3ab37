"""On a GPU: one rank of NCCL, under DDP and under ZeRO-2, trains what one process trains."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.support.processes import ROOT, Run

pytestmark = pytest.mark.gpu

FIELDS = ["--no-baseline", "--device", "cuda", "--deterministic", "--batch.labelled", "8", "--batch.unlabelled-ratio", "2",
          "--steps", "12", "--checkpoint.every", "6", "--eval.every", "12", "--log.every", "6", "--replay", "off",
          "--algorithm.threshold", "0.2", "--optim.lr", "0.003"]  # fmt: skip
RANK = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


def network(run: Path) -> dict:
    tensors = load_file(run / "checkpoints" / "step-12" / "model.safetensors")
    return {name: value for name, value in tensors.items() if name.startswith("network.")}


@pytest.mark.parametrize(("strategy", "compiled"), [("ddp", "whole"), ("zero2", "whole"), ("zero3", "off")])
def test_one_rank_of_nccl(tmp_path: Path, launch: Run, monkeypatch: pytest.MonkeyPatch, strategy: str, compiled: str):
    fields = [*FIELDS, "--compile", compiled]
    if strategy != "ddp":
        pytest.importorskip("deepspeed")
        fields += ["--parallel.deepspeed", str(ROOT / "launch" / "deepspeed" / f"{strategy}.json")]
    alone, ranked = tmp_path / "alone", tmp_path / "ranked"
    done = launch("train.py", *FIELDS, "--compile", compiled, "--out", alone)
    assert done.returncode == 0, done.stderr[-2000:]
    for name, value in {**RANK, "MASTER_PORT": "29517"}.items():
        monkeypatch.setenv(name, value)
    done = launch("train.py", *fields, "--out", ranked)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((ranked / "summary.json").read_text())["device"] == "cuda"
    one, other = network(alone), network(ranked)
    assert one.keys() == other.keys()
    scale = max(float(value.abs().max()) for value in one.values())
    for name, value in one.items():
        assert float((value.double() - other[name].double()).abs().max()) < 1e-2 * scale, name
