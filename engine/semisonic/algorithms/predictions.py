"""A large teacher's stored predictions on the unlabeled pool, and the small network that adjusts them (reduced MPL).

Shape suffixes: U unlabeled batch or pool, C classes.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from semisonic.records.arrays import read_array
from semisonic.records.files import open_regular
from semisonic.schema import UserError

NAME = "predictions"
"""Of the tensor in a safetensors file."""
FLOATS = ("F16", "BF16", "F32", "F64")
"""The types that it may have."""
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
            table = torch.from_numpy(read_array(path, (pool, classes), "f"))
        else:
            table = _safetensors_table(path, (pool, classes))
    except OSError as error:
        raise UserError(f"algorithm.predictions: {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise UserError(f"algorithm.predictions: {path} is no .safetensors, or damaged ({error})") from error
    except ValueError as error:
        raise UserError(
            f"algorithm.predictions: {path} {error}; the pool needs floating [{pool}, {classes}], which semisonic "
            "predict --pool makes from a run with the same data and split"
        ) from error
    table = table.float()
    if len(wrong := (~((table >= 0).all(1) & ((table.sum(1) - 1).abs() < 1e-3))).nonzero()):
        raise UserError(
            f"algorithm.predictions: {path}: rows must be probabilities that sum to 1; {len(wrong)} are not, the first "
            f"is row {int(wrong[0])}"
        )
    return table


def _safetensors_table(path: Path, shape: tuple[int, int]) -> Tensor:
    """Raises `SafetensorError`, and ValueError, before the table is read, where it is of another type or shape."""
    open_regular(path).close()  # a pipe, which safetensors would wait for
    with safe_open(path, "pt") as file:
        if NAME not in file.keys():  # noqa: SIM118  # it is no dict
            raise ValueError(f"has no tensor {NAME}")
        found = file.get_slice(NAME)
        if tuple(found.get_shape()) != shape or found.get_dtype() not in FLOATS:
            raise ValueError(f"holds {found.get_dtype()} {list(found.get_shape())}")
        table: Tensor = file.get_tensor(NAME)
    return table
