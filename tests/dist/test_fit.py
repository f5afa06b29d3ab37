"""Two ranks, one of which runs out of memory: both cut the step alike, and train as with micro-batches from the start."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from tests.support.processes import starting

WORKER = Path(__file__).with_name("fit_worker.py")


def launch(folder: Path, case: str) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        str(WORKER),
        str(folder),
        case,
    ]
    with starting(folder) as start:
        child = start(*command, stderr=subprocess.PIPE)
        out, err = child.communicate(timeout=600)
    return subprocess.CompletedProcess(command, child.returncode, out, err)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess, Path]:
    folder = tmp_path_factory.mktemp("fit")
    result = launch(folder, "possible")
    assert result.returncode == 0, result.stderr[-3000:]
    return result, folder


def tensors(run: Path) -> dict[str, bytes]:
    folder = run / "checkpoints" / "step-5"
    found = load_file(folder / "model.safetensors") | load_file(folder / "optimizer.safetensors")
    return {name: value.numpy().tobytes() for name, value in found.items()}


def test_all_ranks_cut_the_step_that_one_cannot_hold(done: tuple[subprocess.CompletedProcess, Path]):
    result, folder = done
    lines = [
        line for line in result.stdout.splitlines() if line.startswith("A step of 16 + 32 images did not fit into")
    ]
    assert len(lines) == 1 and "(rank 1): it is cut into 4 micro-batches" in lines[0]
    assert yaml.safe_load((folder / "cut" / "config.yaml").read_text())["batch"]["micro"] == 4
    assert tensors(folder / "cut") == tensors(folder / "given")


@pytest.mark.slow
def test_a_step_that_no_cut_helps_ends_all_ranks_with_one_line(tmp_path: Path):
    result = launch(tmp_path, "impossible")
    # torchrun lists one rank or both, as it finds them when it looks, and ends one that is late itself.
    codes = set(re.findall(r"exitcode  : (\S+)", result.stderr))
    assert result.returncode == 1 and "2" in codes and codes <= {"2", "-15"}
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "(rank 1)" in errors[0] and not (tmp_path / "impossible").exists()
    assert "batch.labeled: a step of 16 + 32 images in 8 micro-batches does not fit" in errors[0]


def test_a_plan_of_two_ranks_is_printed_once(done: tuple[subprocess.CompletedProcess, Path]):
    result, folder = done
    assert result.stdout.count("Plan: nothing was written") == 1 and not (folder / "planned").exists()
    assert "of the worst rank" in " ".join(result.stdout.split())
