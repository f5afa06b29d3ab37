"""Shared by all tests: which of them run, and what every one of them begins with."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton kernels on CPU tensors; read when a kernel is defined

from semisonic_kernels.fuse import set_kernels
from tests.support.processes import ROOT, Run, Start, starting

GPU_SECONDS = 100
"""Time limit of a test on a GPU, where a kernel or a collective that never ends would hold the card."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also the tests marked `full`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--full"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("full")])
        items[:] = [item for item in items if not item.get_closest_marker("full")]
    for item in items:
        if not item.get_closest_marker("gpu"):  # not a keyword: those hold the names of folders too
            continue
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(GPU_SECONDS))
        if not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def process_wide_settings() -> Iterator[None]:
    """What a run sets for its whole process: the next test starts with the defaults again."""
    # One family of TF32's switches, as in `runtime.set_arithmetic`.
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    yield
    set_kernels("fused")
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False
    inductor = sys.modules.get("torch._inductor.config")
    if getattr(inductor, "deterministic", False):
        inductor.deterministic = False
    if torch.backends.cudnn.allow_tf32 != convolutions:
        torch.backends.cudnn.allow_tf32 = convolutions
    if torch.get_float32_matmul_precision() != products:
        torch.set_float32_matmul_precision(products)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a command, of which nothing is left after the test."""
    with starting(tmp_path) as function:
        yield function


@pytest.fixture
def launch(start: Start) -> Run:
    """Runs `launch/SCRIPT ARGS` with this interpreter, on `processes` gloo ranks where there are several."""

    def run(
        script: str, *args: object, processes: int = 1, timeout: float = 300, **options: object
    ) -> subprocess.CompletedProcess:
        starter = [sys.executable]
        if processes > 1:
            starter += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        child = start(*starter, ROOT / "launch" / script, *args, stderr=subprocess.PIPE, **options)
        out, err = child.communicate(timeout=timeout)
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)

    return run
