"""Out of memory is recognized in every form, and told with rank, step and the fields to lower."""

from pathlib import Path

import pytest
import torch
import yaml

from semisonic import cli
from semisonic.contract import Batch
from semisonic.reporting import errors
from semisonic.schema import UserError
from semisonic.training import out_of_memory as memory
from semisonic.training.step import TrainingStep
from tests.support.trials import TRIAL_RUN

FORMS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    MemoryError(),
    OSError(12, "Cannot allocate memory"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("HIP out of memory"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("NCCL error: unhandled cuda error. Last error:\nFailed to CUDA calloc 67108864 bytes"),
    RuntimeError("NCCL Error 1: unhandled cuda error, Cuda failure 2 'out of memory'"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 5 bytes"),
    RuntimeError("CUDA allocation failed"),
    RuntimeError("std::bad_alloc"),
]


@pytest.mark.parametrize("error", FORMS, ids=str)
def test_every_form_is_recognized_also_inside_another_error(error: Exception):
    assert memory.out_of_memory(error)
    outer = UserError("replay: this step cannot be recorded")
    outer.__cause__ = error
    assert memory.out_of_memory(outer)


def test_torch_s_own_error_is_recognized():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert memory.out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("out of resource: shared memory, Required: 262144"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        UserError("data.root: there is a folder called out of memory"),
        KeyError("out of memory"),
    ],
    ids=str,
)
def test_other_errors_are_not(error: Exception):
    assert not memory.out_of_memory(error)


def test_running_out_later_names_rank_step_and_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd):
    inner, out = TrainingStep.__call__, tmp_path / "run"

    def failing(self: TrainingStep, batch: Batch):
        if self.number == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
        return inner(self, batch)

    monkeypatch.setattr(TrainingStep, "__call__", failing)
    monkeypatch.setattr(errors, "rank", lambda: 1)  # the rank that ran out is the one that knows
    assert cli.main([*TRIAL_RUN, "--no-baseline", "--out", str(out), "--checkpoint.every", "2"]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    line = next(line for line in lines if line.startswith("error: batch.labeled: rank 0 of 1 ran out of memory ("))
    assert "in step 3, of 8 labeled + 16 unlabeled images" in line and "Tried to allocate 2.00 GiB." in line
    assert (
        all(field in line for field in ("batch.micro", "bf16", "model.name")) and "more" not in line.split("GiB.")[-1]
    )
    assert (out / "checkpoints" / "latest").read_text().strip() == "step-2"
    assert yaml.safe_load((out / "status.json").read_text())["status"] == "failed"
