"""Shared by all tests: GPU tests skip without a GPU, and one way to run the command line as a user would."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton kernels on CPU tensors; read when a kernel is defined

from semisonic_kernels.fuse import set_kernels

ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def process_wide_settings() -> Iterator[None]:
    """What a run sets for its whole process: the next test starts with the defaults again."""
    convolutions = torch.backends.cudnn.conv.fp32_precision
    yield
    set_kernels("fused")
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.conv.fp32_precision = convolutions


Run = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def launch() -> Run:
    """Runs `launch/SCRIPT ARGS` with this interpreter, on `processes` gloo ranks where there are several."""

    def run(
        script: str, *args: object, processes: int = 1, timeout: float = 300, **kwargs: object
    ) -> subprocess.CompletedProcess:
        starter = [sys.executable]
        if processes > 1:
            starter += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        command = [*starter, str(ROOT / "launch" / script), *map(str, args)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, **kwargs)

    return run
