"""Loss curves of a tiny configuration, stored: a refactoring must not move them.

On the machine and with the versions that wrote the file they are bit-identical. Elsewhere kernels and instruction sets
differ, and a label or a ReLU that flips on a rounding error shows in later steps: without oneDNN the first five steps
differ by 5e-5 relative at most, the twelfth by 2e-2. `python -m tests.golden.test_losses` writes them anew.
"""

import json
from pathlib import Path

import pytest
import torch

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.building import build_algorithm
from semisonic.commandline import resolve
from semisonic.data.sources import load_data_set
from semisonic.data.splits import make_split
from semisonic.runtime import start
from semisonic.trainer import Trainer

FILE = Path(__file__).with_name("losses.json")


def losses(algorithm: str) -> list[float]:
    fields = ["--algorithm", algorithm, "--device", "cpu", "--threads", "1", "--batch.labelled", "8", "--log.trackers",
              "none", "--batch.unlabelled-ratio", "2", "--no-baseline", "--optim.lr", "0.01"]  # fmt: skip
    if algorithm == "fixmatch":
        fields += ["--algorithm.threshold", "0.3"]
    cfg = resolve(fields)[1]
    data = load_data_set(cfg.data)
    split = make_split(cfg.data, data.train.labels, len(data.classes), cfg.seed)
    torch.manual_seed(0)
    trainer = Trainer(cfg, build_algorithm(cfg, data, split), data, split, start(cfg))
    loader = trainer.loader()
    return [trainer.train_step(next(loader)).loss.item() for _ in range(12)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_losses_have_not_moved(algorithm: str):
    stored, found = json.loads(FILE.read_text())[algorithm], losses(algorithm)
    assert found[:5] == pytest.approx(stored[:5], rel=1e-3)
    assert found == pytest.approx(stored, rel=0.1)


if __name__ == "__main__":
    FILE.write_text(json.dumps({name: losses(name) for name in ALGORITHMS}, indent=1) + "\n")
