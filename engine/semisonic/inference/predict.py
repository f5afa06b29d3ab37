"""Predictions one by one, for Python: of a folder, files or arrays of any number, while memory holds a part of them."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from torch import nn

from semisonic.inference.decoding import Predictor, found_parts, predicted
from semisonic.inference.outputs import Outputs, Trained, Wanted, best
from semisonic.inference.reading import Reading
from semisonic.inference.sources import FileSources, Names, Sources, find_sources
from semisonic.schema import UserError, given_path
from semisonic.training.metrics import evaluation_mode

ROWS = 1024
"""Files that are read at a time."""


DEFAULT = Wanted()


@dataclass(frozen=True)
class Prediction:
    """What a classifier makes of one file."""

    path: str
    label: str | None
    """The most probable class; None where the file cannot be used."""
    confidence: float
    """Its probability; 0 where the file cannot be used."""
    top: list[tuple[str, float]]
    """(class, probability), most probable first."""
    reason: str = ""
    """Why the file cannot be used."""
    features: np.ndarray | None = None
    """float32 [D], where they were asked for."""


def predict(
    classifier: Trained,
    images: str | Path | Sequence[str | Path],
    batch: int = 64,
    wanted: Wanted = DEFAULT,
    workers: int | None = None,
) -> Generator[Prediction, None, None]:
    """A prediction for every file, in order; those that cannot be used say why. To be closed where not exhausted.

    images: a folder, a file, a CSV with a column `path`, an .npy file of images, or paths. Files are decoded as the
    run's own evaluation decodes them, by processes of their own where they are many.
    """
    wanted.check(classifier)
    return _each(classifier, _sources(classifier, images), batch, wanted, workers)


def _each(
    classifier: Trained, sources: Sources, batch: int, wanted: Wanted, workers: int | None
) -> Generator[Prediction, None, None]:
    parts = [range(first, min(first + ROWS, len(sources))) for first in range(0, len(sources), ROWS)]
    predictor = Predictor(classifier, sources, wanted, batch, Reading(workers))
    with closing(found_parts(sources, parts, predictor.reading, lambda: None)) as coming:
        for found in coming:
            with evaluation_mode(cast(nn.Module, classifier)):
                final, outputs = predicted(predictor, found, lambda count: None)
            made = iter(_predictions(classifier, outputs, wanted))
            reasons = dict(final.left_out)
            for row in final.part:
                name = sources.name(row)
                if row in reasons:
                    yield Prediction(name, None, 0.0, [], reasons[row])
                else:
                    top, features = next(made)
                    yield Prediction(name, *top[0], top, features=features)


def _sources(classifier: Trained, images: str | Path | Sequence[str | Path]) -> Sources:
    if isinstance(images, str | Path):
        return find_sources(given_path("images", images), None, classifier.transform)
    if not isinstance(images, list | tuple) or not all(isinstance(path, str | Path) for path in images):
        raise UserError("images: give a folder, a file, or a list of paths; arrays are for predict and predict_proba")
    if not images:
        raise UserError("images: none were given")
    return FileSources(Path(), Names(str(given_path("images", path)) for path in images))


def _predictions(
    classifier: Trained, outputs: Outputs | None, wanted: Wanted
) -> Generator[tuple[list[tuple[str, float]], np.ndarray | None], None, None]:
    if outputs is None:
        return
    order, values = best(outputs.probabilities, wanted.top)
    for number, (classes, own) in enumerate(zip(order.tolist(), values.tolist(), strict=True)):
        top = [(classifier.classes[index], value) for index, value in zip(classes, own, strict=True)]
        yield top, None if outputs.features is None else outputs.features[number]
