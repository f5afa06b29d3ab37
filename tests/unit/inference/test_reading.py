"""How files are read and checked, in processes that start fast and stay small."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.trainers import make_trainer

LOADED = "import sys; {lines}; print(*sorted({{'torch', 'nvidia', 'torch._dynamo', 'accelerate'}} & set(sys.modules)))"


def loaded(lines: str, *arguments: object) -> str:
    """Which of the big packages a process has loaded after these lines; the last of what it prints."""
    command = [sys.executable, "-c", LOADED.format(lines=lines), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]


def test_processes_that_check_files_load_neither_torch_nor_dali():
    assert (
        loaded("from semisonic.inference.reading import Reading; import pickle; pickle.dumps(Reading(2).examine)") == ""
    )


@pytest.mark.long
def test_a_prediction_loads_no_compiler_and_nothing_of_training(tmp_path: Path):
    trainer = make_trainer(tmp_path / "run", "--algorithm", "supervised", "--model", "small", "--threads", "1")
    trainer.save()
    trainer.checkpoint_writer.finish()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    lines = "from semisonic.cli import predict; predict(sys.argv[1:])"
    found = loaded(lines, tmp_path / "run", tmp_path / "a.png", "--out", tmp_path / "out.csv")
    assert found == "nvidia torch"
