"""One process and two gloo ranks solve the same problem: losses, gradients and state at the same global batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from semisonic.algorithms.registry import ALGORITHMS

WORKER = Path(__file__).with_name("worker.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict]:
    folder = tmp_path_factory.mktemp("world")
    found = {}
    for processes in (1, 2):
        file = folder / f"{processes}.pt"
        starter = [sys.executable]
        if processes > 1:
            starter += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        done = subprocess.run(
            [*starter, str(WORKER), str(file)], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found[processes] = torch.load(file, weights_only=False)
    return found


def difference(one: torch.Tensor, two: torch.Tensor) -> float:
    """Largest difference relative to the largest value."""
    return float((one - two).abs().max() / one.abs().max().clamp(min=1e-30))


@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.parametrize("frozen", [True, False], ids=["evaluation BatchNorm", "synchronised BatchNorm"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=["fp64", "fp32"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_two_ranks_equal_one_process(
    results: dict[int, dict], algorithm: str, dtype: torch.dtype, tolerance: float, frozen: bool, micro: int
):
    one, two = (results[processes][algorithm, str(dtype), frozen, micro] for processes in (1, 2))
    assert one["names"] != two["names"] == ["DistributedDataParallel"]
    exact = dtype == torch.float64 or frozen
    # In fp32 a max-pool or ReLU that flips on a rounding error moves a training network's later steps by more.
    assert difference(one["loss"][: 5 if exact else 2], two["loss"][: 5 if exact else 2]) < tolerance
    if not exact:
        return
    slack = tolerance if frozen else 10 * tolerance
    for step, (a, b) in enumerate(zip(one["gradients"], two["gradients"], strict=True)):
        scale = max(float(value.abs().max()) for value in a.values())
        for name in a:
            assert float((a[name] - b[name]).abs().max()) < slack * scale, (step, name)
    for name, value in one["state"].items():
        assert difference(value.double(), two["state"][name].double()) < slack or not value.any(), name
    if algorithm == "fixmatch":
        torch.testing.assert_close(one["mask"], two["mask"])
        assert ((one["mask"] > 0) & (one["mask"] < 1)).any()  # thresholds decided something


def test_micro_batches_change_nothing_where_batch_norm_is_frozen(results: dict[int, dict]):
    for algorithm in ALGORITHMS:
        one, two = (results[1][algorithm, "torch.float64", True, micro] for micro in (1, 2))
        assert difference(one["loss"], two["loss"]) < 1e-10
