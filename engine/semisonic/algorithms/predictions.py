"""A large teacher's stored predictions on the unlabeled pool, and the small network that adjusts them (reduced MPL).

Shape suffixes: U unlabeled batch or pool, C classes.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from semisonic.schema import UserError

NAME = "predictions"
"""Of the tensor in a safetensors file."""
WIDTH = 128
"""Of the calibration's hidden layer."""


class Calibration(nn.Module):
    """A perceptron with one hidden layer that adjusts log-probabilities; to begin with it leaves them as they are."""

    def __init__(self, classes: int):
        super().__init__()
        self.hidden, self.out = nn.Linear(classes, WIDTH), nn.Linear(WIDTH, classes)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, probabilities_UC: Tensor) -> Tensor:
        """Probabilities [U, C] -> logits [U, C]."""
        log_q_UC = probabilities_UC.clamp(min=1e-6).log()
        adjusted_UC: Tensor = log_q_UC + self.out(self.hidden(log_q_UC).relu())
        return adjusted_UC


def read_predictions(path: Path, pool: int, classes: int) -> Tensor:
    """The table float32 [U, C] of a .npy or .safetensors file: a row of probabilities for each image of the pool.

    Raises `UserError` where the file cannot be read or does not fit.
    """
    try:
        if path.suffix == ".npy":
            table = torch.from_numpy(np.load(path, allow_pickle=False))
        else:
            table = load_file(path)[NAME]
    except OSError as error:
        raise UserError(f"algorithm.predictions: {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, EOFError, SafetensorError) as error:
        raise UserError(f"algorithm.predictions: {path} is neither .npy nor .safetensors ({error})") from error
    if table.shape != (pool, classes) or not table.is_floating_point():
        raise UserError(
            f"algorithm.predictions: {path} holds {table.dtype} {list(table.shape)}, but the pool needs floating "
            f"[{pool}, {classes}]; make it with predict.py --pool from a run with the same data and split"
        )
    table = table.float()
    if not (table >= 0).all() or not ((table.sum(1) - 1).abs() < 1e-3).all():
        raise UserError(f"algorithm.predictions: {path}: rows must be probabilities that sum to 1")
    return table
