"""What `auto` stands for is settled once, and anew in a copy whose fields have changed."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from semisonic.config.execution import Execution, Surroundings, settle
from semisonic.config.run_config import SETTLED, RunConfig
from semisonic.schema import UserError
from tests.support.command_line import config, mistakes

GPU = Surroundings(gpu=True, world_size=1, cores=3)
CPU = Surroundings(gpu=False, world_size=1, cores=3)
RANKS = Surroundings(gpu=True, world_size=2, cores=3)
ZERO: dict[int, dict[str, Any]] = {stage: {"zero_optimization": {"stage": stage}} for stage in (2, 3)}


def settled(around: Surroundings, zero: dict[str, Any] | None = None, **fields: Any) -> Execution:
    return settle(RunConfig.model_validate(fields), around, zero)


def test_where_and_how_a_run_computes():
    assert (settled(GPU).device, settled(GPU).graphs, settled(GPU).replayed) == ("cuda", "whole", "step")
    assert (settled(CPU).device, settled(CPU).graphs, settled(CPU).replayed) == ("cpu", "off", "off")
    assert settled(GPU, device="cpu").device == "cpu" and settled(CPU, device="cuda").graphs == "whole"
    assert settled(CPU, compile="blocks", replay="backward").graphs == "blocks"
    assert settled(CPU).threads == 3 and settled(CPU, threads=2).threads == 2
    assert settled(CPU).operations == "kernel" and settled(CPU, kernels="reference").operations == "dali"
    assert settled(CPU, kernels="reference", data={"operations": "kernel"}).operations == "kernel"


@pytest.mark.parametrize("fields", [{"precision": "fp16"}, {"algorithm": {"name": "mpl"}}])
def test_what_cannot_be_recorded_is_not_replayed(fields: dict[str, Any]):
    assert settled(GPU, **fields).replayed == "off" and settled(GPU, **fields).graphs == "whole"


def test_several_ranks_and_deepspeed():
    assert settled(RANKS).replayed == "off" and settled(RANKS).graphs == "whole"
    assert settled(GPU, ZERO[2]).zero_stage == 2 and settled(GPU, ZERO[2]).replayed == "off"
    assert settled(GPU, ZERO[2]).graphs == "whole" and settled(GPU, ZERO[3]).graphs == "off"
    assert settled(GPU).zero_stage == 0


def test_the_process_is_looked_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cfg = config("--no-baseline")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "7")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "7")
    assert cfg.torch_device == "cpu" and cfg.execution.world_size == 1
    assert cfg.model_copy(update={"seed": 4}).torch_device == "cpu"
    anew = RunConfig.model_validate(cfg.model_dump())
    assert anew == cfg and anew.torch_device == "cuda" and anew.execution.world_size == 7


def test_a_copy_is_settled_anew():
    cfg = config("--no-baseline", "--device", "cpu")
    assert (cfg.graphs, cfg.loading.operations, cfg.execution.threads) == ("off", "kernel", cfg.surroundings.cores)
    other = cfg.model_copy(update={"compile": "whole", "kernels": "reference", "threads": 7})
    assert (other.graphs, other.loading.operations, other.execution.threads) == ("whole", "dali", 7)
    assert cfg.graphs == "off" and other.surroundings is cfg.surroundings
    data = cfg.data.model_copy(update={"operations": "dali"})
    assert cfg.model_copy(update={"data": data}).loading.operations == "dali"


def test_another_process_settles_for_itself():
    cfg = config("--no-baseline", "--device", "cpu")
    assert cfg.loading and cfg.arithmetic and cfg.__dict__.keys() >= SETTLED
    sent = pickle.loads(pickle.dumps(cfg))
    assert sent == cfg and not sent.__dict__.keys() & SETTLED
    assert copy.deepcopy(cfg).graphs == cfg.graphs


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "zero.json"
    path.write_text(json.dumps(ZERO[2]))
    return path


def test_the_deepspeed_file_is_read_once(file: Path, tmp_path: Path):
    cfg = config("--no-baseline", "--device", "cpu", "--parallel.deepspeed", file)
    other = tmp_path / "other.json"
    file.rename(other)
    assert cfg.execution.zero_stage == 2 and cfg.model_copy(update={"compile": "off"}).execution.zero_stage == 2
    parallel = cfg.parallel.model_copy(update={"deepspeed": None})
    assert cfg.model_copy(update={"parallel": parallel}).execution.zero_stage == 0


@pytest.mark.parametrize("content", [None, "{", "{}", '{"zero_optimization": {"stage": 4}}'])
def test_a_deepspeed_file_that_says_nothing_is_never_taken_for_none(file: Path, content: str | None):
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    cfg = RunConfig.model_validate({"parallel": {"deepspeed": str(file)}})
    for _ in range(2):
        with pytest.raises(UserError, match=r"^parallel.deepspeed: "):
            cfg.execution  # noqa: B018
    lines = mistakes("--parallel.deepspeed", file, "--precision", "fp16", "--device", "cpu", "--kernels", "reference",
                     "--data.operations", "kernel")  # fmt: skip
    assert [line.split(":")[0] for line in lines] == ["parallel.deepspeed", "precision", "data.operations"]
