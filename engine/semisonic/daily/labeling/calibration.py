"""A temperature that makes a network's probabilities as high as it is right, fitted on labels that networks have not
seen: of images of which people labeled, not of random ones, so that what comes of it is an estimate.

Shape suffixes: N images, C classes.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semisonic.schema import UserError

if TYPE_CHECKING:
    from semisonic.daily.project import Project

FILE = "folds.parquet"
"""Of a run's folder of auto-labels: what its folds' networks say of labels that they have not seen."""
LEAST = 10
"""Labels from which a temperature is fitted."""
BOUNDS = (-3.0, 3.0)
"""Of its logarithm."""


def fit(proba_NC: np.ndarray, label_N: np.ndarray) -> float:
    """The temperature of the smallest cross-entropy; probabilities of unseen labels, whose rows they are."""
    from scipy.optimize import minimize_scalar

    logits_NC = np.log(np.maximum(proba_NC.astype(np.float64), 1e-30))

    def loss(logarithm: float) -> float:
        scaled_NC = logits_NC / np.exp(logarithm)
        top_N1 = scaled_NC.max(1, keepdims=True)
        total_N = top_N1[:, 0] + np.log(np.exp(scaled_NC - top_N1).sum(1))
        return float((total_N - scaled_NC[np.arange(len(label_N)), label_N]).mean())

    found = minimize_scalar(loss, bounds=BOUNDS, method="bounded", options={"xatol": 1e-4})
    return round(float(np.exp(found.x)), 4)


def temperature(project: "Project", run: str, classes: list[int]) -> float | None:
    """Of a run whose folds have told of the labels that they have not seen; None where there are none, or too few.

    classes: ids, in the order of the run's head.
    """
    path = project.auto / run / FILE
    if not path.is_file():
        return None
    proba_NC, label_N = _read(path)
    place = {number: index for index, number in enumerate(classes)}
    if len(label_N) < LEAST or proba_NC.shape[1] != len(classes) or any(label not in place for label in label_N):
        return None
    return fit(proba_NC, np.array([place[label] for label in label_N]))


def _read(path: Path) -> tuple[np.ndarray, list[int]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path, columns=["probabilities", "class"])
        rows = table["probabilities"].to_pylist()
        return np.array(rows, np.float64).reshape(len(rows), -1), table["class"].to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove it and run `train` again") from error
