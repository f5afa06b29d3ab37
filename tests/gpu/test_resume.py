"""On a GPU: a deterministic run that is cut and resumed is the whole run, bit for bit, without its compiler's caches."""

import os
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.support.processes import Run

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]  # three runs, and each compiles everything

FIELDS = ["--no-baseline", "--deterministic", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--steps", "40",
          "--checkpoint.every", "20", "--eval.every", "20", "--log.every", "10", "--log.trackers", "none",
          "--algorithm.threshold", "0.2"]  # fmt: skip
CACHES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}


def train(launch: Run, caches: Path, *fields: object) -> None:
    """Trains with compiler caches of its own, as on a machine that has never compiled this step."""
    assert not caches.exists()
    done = launch("train.py", *fields, env=os.environ | {name: str(caches / own) for name, own in CACHES.items()})
    assert done.returncode == 0, done.stderr[-3000:]
    assert any((caches / "inductor").iterdir()), "nothing was compiled into the cache"


def check_resume(folder: Path, launch: Run, *fields: str) -> None:
    whole, cut = folder / "whole", folder / "cut"
    train(launch, folder / "first", *FIELDS, *fields, "--out", whole)
    train(launch, folder / "second", *FIELDS, *fields, "--max-hours", "1e-9", "--out", cut)  # ends after its first step
    assert (cut / "checkpoints" / "step-1").is_dir() and not (cut / "checkpoints" / "step-40").exists()
    train(launch, folder / "third", "--resume", "--max-hours", "null", "--out", cut)
    for name in ("model", "optimizer"):
        one, other = (load_file(run / "checkpoints" / "step-40" / f"{name}.safetensors") for run in (whole, cut))
        assert one.keys() == other.keys() and one
        different = [key for key, value in one.items() if value.numpy().tobytes() != other[key].numpy().tobytes()]
        assert different == [], f"{len(different)} of {len(one)} tensors of {name} differ, such as {different[:5]}"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resume_is_exact_with_separate_compiler_caches(tmp_path: Path, launch: Run, precision: str):
    check_resume(tmp_path, launch, "--device", "cuda", "--precision", precision)
