"""A DeepSpeed configuration: which files are accepted, what they may not say, and how they are completed."""

import json
from pathlib import Path

import pytest
import torch

from semisonic.config.command_line import resolve
from semisonic.config.run_config import RunConfig
from semisonic.distributed import deepspeed as deepspeed_config
from semisonic.distributed.deepspeed import ParallelConfig
from semisonic.schema import UserError
from semisonic.training.process import deepspeed_plugin
from tests.support.processes import ROOT

FILES = sorted((ROOT / "launch" / "deepspeed").glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_files_that_come_along_are_accepted(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cfg = resolve(["--parallel.deepspeed", str(path), "--device", "cpu"])[1]
    assert cfg.execution.zero_stage == int(path.stem[4]) and not cfg.compiled
    assert deepspeed_config.offloads_optimizer(json.loads(path.read_text())) == ("offload" in path.stem)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gradient_clipping": 1.0}, "gradient_clipping: 1.0, but optim.clip decides"),
        ({"fp16": {"enabled": True}}, "fp16: precision is that of --precision"),
        ({"optimizer": {"type": "Adam"}}, "optimizer: the optimizer is that of optim.name"),
        ({"train_batch_size": 64}, "train_batch_size: 64, but batch.labeled decides"),
        ({"prescale_gradients": True}, "prescale_gradients: True, but gradients are the mean over the ranks"),
        ({"zero_optimization": {"stage": 4}}, "needs a section zero_optimization with a stage of 1, 2 or 3"),
    ],
)
def test_a_file_that_says_what_the_run_decides_is_refused(tmp_path: Path, change: dict, message: str):
    path = tmp_path / "zero.json"
    path.write_text(json.dumps(json.loads(FILES[0].read_text()) | change))
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        resolve(["--parallel.deepspeed", str(path), "--device", "cpu"])


def test_clipping_may_be_said_twice_if_it_is_the_same(tmp_path: Path):
    path = tmp_path / "zero.json"
    path.write_text(json.dumps(json.loads(FILES[0].read_text()) | {"gradient_clipping": 2.0}))
    cfg: RunConfig = resolve(["--parallel.deepspeed", str(path), "--optim.clip", "2", "--device", "cpu"])[1]
    assert (
        deepspeed_plugin(cfg, deepspeed_config.read_deepspeed(cfg.parallel)).deepspeed_config["gradient_clipping"] == 2
    )


def test_nothing_is_left_for_accelerate_to_fill_in():
    """Left alone it clips to a norm of 1, and swaps an offloaded optimizer for one of DeepSpeed's."""
    cfg = RunConfig(parallel=ParallelConfig(deepspeed=FILES[0]))
    filled = deepspeed_plugin(cfg, deepspeed_config.read_deepspeed(cfg.parallel)).deepspeed_config
    assert filled["gradient_clipping"] == 0.0 and filled["zero_force_ds_cpu_optimizer"] is False


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["--precision", "fp16"], "precision: fp16 is not for DeepSpeed"),
        (["--optim", "lars"], "optim.name: lars takes norms of whole layers"),
        (["--replay", "step"], "replay: step cannot record DeepSpeed's step"),
        (["--compile", "whole"], "compile: whole cannot hold ZeRO-3"),
        (["--parallel.gradients", "bf16"], "parallel.gradients: is for DDP"),
    ],
)
def test_what_deepspeed_cannot_do_is_refused(fields: list[str], message: str):
    zero3 = next(path for path in FILES if path.stem == "zero3")
    with pytest.raises(UserError, match=message):
        resolve(["--parallel.deepspeed", str(zero3), *fields])


def test_a_file_that_is_missing_or_no_json(tmp_path: Path):
    with pytest.raises(UserError, match=r"parallel\.deepspeed: .*none\.json: No such file"):
        resolve(["--parallel.deepspeed", str(tmp_path / "none.json")])
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match=r"parallel\.deepspeed: .*bad\.json: line 1: is not JSON"):
        resolve(["--parallel.deepspeed", str(tmp_path / "bad.json")])


def test_deepspeed_without_a_file_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.delenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", raising=False)
    with pytest.raises(UserError, match="names no deepspeed_config_file"):
        resolve([])
