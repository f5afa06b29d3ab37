"""The kept batch of a step, as it is read: what does not fit the run is named, and nothing of it reaches torch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from semisonic.checkpoint.tensor_files import write_tensors
from semisonic.config.command_line import resolve
from semisonic.contract import Info
from semisonic.runs.kept_batch import load_batch
from semisonic.schema import UserError

INFO = Info(4, 8, 12, 40, 100, 3, 6, (0.25,) * 4, (0.5,) * 3, (0.5,) * 3)


def whole(numbers: range) -> Tensor:
    return torch.tensor(list(numbers))


VALID: dict[str, Tensor] = {
    "x/weak": torch.zeros(3, 3, 8, 8, dtype=torch.uint8),
    "u/weak": torch.zeros(6, 3, 8, 8, dtype=torch.uint8),
    "u/strong": torch.zeros(6, 3, 8, 8, dtype=torch.uint8),
    "y": whole(range(1, 4)), "x_index": whole(range(9, 12)), "u_index": whole(range(34, 40)),
    "u_true": whole(range(-1, 0)).repeat(6), "u_key": whole(range(6)) * 2**60,
}  # fmt: skip
WRONG: dict[str, dict[str, Any]] = {
    "y is missing": {"y": None},
    "x/weak is missing": {"x/weak": None},
    "other/name is none of its tensors": {"other/name": torch.zeros(3)},
    "y/deep is none of its tensors": {"y/deep": torch.zeros(3)},
    "x/weak: torch.uint8 [3, 3, 8, 9], where torch.uint8 [3, 3, 8, 8] is needed": {
        "x/weak": torch.zeros(3, 3, 8, 9, dtype=torch.uint8)
    },
    "u_index: torch.float32 [6], where torch.int64 [6] is needed": {"u_index": torch.zeros(6)},
    "u_key: torch.int64 [], where torch.int64 [6] is needed": {"u_key": torch.tensor(0)},
    "y: 1 to 4, where 0 to 3 is needed": {"y": whole(range(1, 5))[[0, 1, 3]]},
    "x_index: -1 to 1, where 0 to 11 is needed": {"x_index": whole(range(-1, 2))},
    "u_index: 35 to 40, where 0 to 39 is needed": {"u_index": whole(range(35, 41))},
}  # fmt: skip


def load(folder: Path, tensors: dict[str, Tensor], *fields: str, step: int = 0) -> Any:
    sizes = ["--batch.labeled", "3", "--batch.unlabeled-ratio", "2", "--device", "cpu", "--model", "small"]
    cfg = resolve(["--data", "digits", *sizes, *fields])[1]
    write_tensors(folder / "batch-0.safetensors", tensors)
    return load_batch(folder / "batch-0.safetensors", cfg, INFO, 1, step)


def test_a_batch_of_the_run_is_read(tmp_path: Path):
    batch = load(tmp_path, VALID)
    assert batch.y.tolist() == [1, 2, 3] and set(batch.u) == {"weak", "strong"} and batch.draws == {}


def test_a_batch_that_grows_is_as_large_as_its_step_s(tmp_path: Path):
    growing = ("--batch.unlabeled-schedule", "growing", "--batch.unlabeled-stages", "2", "--steps", "10")
    with pytest.raises(UserError, match=r"u/weak: torch.uint8 \[6, 3, 8, 8\], where torch.uint8 \[3, 3, 8, 8\]"):
        load(tmp_path, VALID, *growing)
    assert len(load(tmp_path, VALID, *growing, step=9).u_index) == 6


@pytest.mark.parametrize(("problem", "change"), WRONG.items(), ids=WRONG)
def test_what_is_not_of_the_run_is_named(tmp_path: Path, problem: str, change: dict[str, Any]):
    tensors = {name: tensor for name, tensor in {**VALID, **change}.items() if tensor is not None}
    with pytest.raises(UserError) as caught:
        load(tmp_path, tensors)
    assert caught.value.messages == [f"{tmp_path / 'batch-0.safetensors'}: is no batch of this run: {problem}"]
