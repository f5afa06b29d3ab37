"""On a GPU: one rank of NCCL, under DDP and under ZeRO-2, trains what one process trains; ranks that draw."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.draws import check_draws, run_draws
from tests.support.processes import ROOT, Run, free_port

pytestmark = pytest.mark.gpu

FIELDS = ["--no-baseline", "--device", "cuda", "--deterministic", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2",
          "--steps", "12", "--checkpoint.every", "6", "--eval.every", "12", "--log.every", "6", "--replay", "off",
          "--algorithm.threshold", "0.2", "--optim.lr", "0.003"]  # fmt: skip
RANK = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


def join_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of a launcher that starts one rank, at a port that no test beside this one uses."""
    for name, value in {**RANK, "MASTER_PORT": str(free_port())}.items():
        monkeypatch.setenv(name, value)


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
    join_alone(monkeypatch)
    done = launch("train.py", *fields, "--out", ranked)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((ranked / "summary.json").read_text())["device"] == "cuda"
    one, other = network(alone), network(ranked)
    assert one.keys() == other.keys()
    scale = max(float(value.abs().max()) for value in one.values())
    for name, value in one.items():
        assert float((value.double() - other[name].double()).abs().max()) < 1e-2 * scale, name


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_replayed_backward_draws_the_numbers_of_its_step_and_rank(
    tmp_path: Path, launch: Run, monkeypatch: pytest.MonkeyPatch, ranks: int
):
    """Under DDP over NCCL, which wants a GPU for each rank; one rank has all of it but the messages."""
    if ranks > torch.cuda.device_count():
        pytest.skip(f"needs {ranks} GPUs")
    if ranks == 1:
        join_alone(monkeypatch)
    fields = ["--device", "cuda", "--deterministic", "--compile", "off", "--algorithm.threshold", "0.2"]
    plain, replayed = (
        run_draws(launch, monkeypatch, tmp_path / mode, ranks, *fields, "--replay", mode)
        for mode in ("off", "backward")
    )
    check_draws(plain)
    check_draws(replayed)
    for rank in range(ranks):
        expected, found = plain[rank]["state"], replayed[rank]["state"]
        assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
