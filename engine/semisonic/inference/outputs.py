"""What is computed of images, and the columns of a table of predictions.

Shape suffixes: N images, C classes, D features, K views.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from semisonic.inference.inputs import Inputs
from semisonic.schema import UserError
from semisonic.text import csv_cell, utf8_text

MOST_VIEWS = 1000


class Trained(Protocol):
    """What is used of a `Classifier`."""

    classes: list[str]
    image_size: int
    preprocess: dict[str, Any]
    weak: dict[str, Any]
    transform: Inputs
    network: Any

    @property
    def device(self) -> torch.device: ...
    @property
    def feature_dim(self) -> int: ...
    def __call__(self, images: Any) -> Tensor: ...
    def features(self, images: Tensor) -> Tensor: ...
    def head_of(self, features: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Wanted:
    """What to predict of every image."""

    top: int = 5
    """Classes that are named, the most probable first."""
    views: int = 0
    """Weak views whose mean is taken; 0: the image as evaluations see it."""
    probabilities: bool = False
    """Of every class."""
    logits: bool = False
    features: bool = False
    """What enters the network's last layer."""

    def check(self, classifier: Trained) -> None:
        """Raises `UserError` for what this classifier cannot give."""
        problems = []
        if not 1 <= self.top <= 10**9:
            problems.append(f"--top: {self.top}; give at least 1")
        if not 0 <= self.views <= MOST_VIEWS:
            problems.append(f"--views: {self.views}; give 1 to {MOST_VIEWS:,}, or leave it out for the plain image")
        elif self.views and not {"flip", "pad"} <= classifier.weak.keys():
            problems.append("--views: the checkpoint does not say how its run drew weak views; leave it out")
        if self.features and not callable(getattr(classifier.network, "features", None)):
            problems.append("--features: the network does not tell its features from its head; leave it out")
        if problems:
            raise UserError(problems)


class Outputs(NamedTuple):
    """Of some images, in their order: float32 arrays, None where they were not asked for."""

    probabilities: np.ndarray
    """[N, C]."""
    logits: np.ndarray | None = None
    """[N, C]."""
    features: np.ndarray | None = None
    """[N, D]."""


def joined(parts: Sequence[Outputs]) -> Outputs:
    columns = (None if part[0] is None else np.concatenate(part) for part in zip(*parts, strict=True))
    return Outputs(*columns)  # type: ignore[arg-type]  # probabilities are never None


@torch.no_grad()
def outputs_of(classifier: Trained, views: Sequence[Tensor], count: int, wanted: Wanted) -> Outputs:
    """The outputs of the first `count` images, by the mean over their views, each [N, 3, S, S] on the scale 0..255.

    The classifier is in evaluation mode.
    """
    sums: list[Tensor | None] = [None, None, None]
    for images in views:
        features = classifier.features(images) if wanted.features else None
        logits = classifier(images) if features is None else classifier.head_of(features)
        found = (logits.softmax(-1), logits if wanted.logits else None, features)
        sums = [value if total is None else total + value for total, value in zip(sums, found, strict=True)]  # type: ignore[operator]
    means = [None if total is None else (total / len(views))[:count].float().cpu().numpy() for total in sums]
    return Outputs(*means)  # type: ignore[arg-type]


class Best(NamedTuple):
    """The most probable classes of each image, best first; of equal ones the first."""

    classes: np.ndarray
    """int64 [N, top]."""
    probabilities: np.ndarray
    """float32 [N, top]."""


def best(probabilities_NC: np.ndarray, top: int) -> Best:
    order = np.argsort(-probabilities_NC, axis=1, kind="stable")[:, : min(top, probabilities_NC.shape[1])]
    return Best(order, np.take_along_axis(probabilities_NC, order, axis=1))


def columns_of(names: Sequence[str], outputs: Outputs, classes: Sequence[str], wanted: Wanted) -> dict[str, Any]:
    """The columns of a table: lists of text and float32 arrays. What they are is said in docs/use/predicting.md."""
    order, values = best(outputs.probabilities, min(wanted.top, len(classes)))
    columns: dict[str, Any] = {
        "path": list(names),
        "class": [classes[index] for index in order[:, 0].tolist()],
        "confidence": values[:, 0],
    }
    for place in range(1, order.shape[1]):
        columns[f"top{place + 1}_class"] = [classes[index] for index in order[:, place].tolist()]
        columns[f"top{place + 1}_probability"] = values[:, place]
    if wanted.probabilities:
        columns |= {f"probability_{name}": outputs.probabilities[:, c] for c, name in enumerate(classes)}
    if outputs.logits is not None:
        columns |= {f"logit_{name}": outputs.logits[:, c] for c, name in enumerate(classes)}
    if outputs.features is not None:
        columns |= {f"feature_{d}": outputs.features[:, d] for d in range(outputs.features.shape[1])}
    return columns


def no_rows(classifier: Trained, wanted: Wanted) -> dict[str, Any]:
    """The columns of a table without a row."""
    nothing = np.empty((0, len(classifier.classes)), np.float32)
    features = np.empty((0, classifier.feature_dim), np.float32) if wanted.features else None
    return columns_of([], Outputs(nothing, nothing if wanted.logits else None, features), classifier.classes, wanted)


def encoded(columns: dict[str, Any], kind: str) -> memoryview:
    """A table of lists of text and arrays of numbers as a CSV or Parquet file.

    Text is made safe for spreadsheets in a CSV. Parquet holds it as it is, but for bytes of a file's name that are not
    UTF-8, which it cannot hold: both write them the same way.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    text = csv_cell if kind == "csv" else utf8_text
    arrays = [
        pa.array([text(entry) for entry in values], pa.string())
        if isinstance(values, list)
        else pa.array(np.ascontiguousarray(values))
        for values in columns.values()
    ]
    table = pa.Table.from_arrays(arrays, names=[text(name) for name in columns])
    content = io.BytesIO()
    if kind == "csv":
        csv.write_csv(table, content)
    else:
        parquet.write_table(table, content)
    return content.getbuffer()
