"""The baselines themselves, on features that are there: fitted on the labeled images, and tried on all others.

One process computes them. Test and held-out images are classified once, at the end, and choose nothing.
"""

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semisonic.data.sets.base import DataSet
from semisonic.frozen import logistic, self_training
from semisonic.frozen.features import Rows
from semisonic.frozen.images import Chosen
from semisonic.frozen.neighbors import Bank, choose_count, classified
from semisonic.reporting.reporters import reason

Classify = Callable[[np.ndarray], np.ndarray]
"""Features [N, D] -> classes int64 [N]."""


class Learner:
    """Features and labels of a run's images on one process, and what can be learned from them."""

    def __init__(
        self, data: DataSet, chosen: Chosen, train: Rows, test: Rows | None, seed: int, device: torch.device
    ):  # fmt: skip
        self.classes, self.seed, self.device, self.chosen = len(data.classes), seed, device, chosen
        self.labels, self.train = data.train.labels, train
        self.labels_L = self.labels[chosen.labeled]
        self.labeled_LD = train.of(chosen.labeled)
        self.tried: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        """What is evaluated: (features, labels)."""
        if len(chosen.held_out):
            self.tried["held_out"] = train.of(chosen.held_out), self.labels[chosen.held_out]
        if data.test is not None and test is not None:
            self.tried["test"] = test.values, data.test.labels
        for values in (self.labeled_LD, *(features for features, _ in self.tried.values())):
            if not np.isfinite(values).all():
                raise ValueError("the network gives features that are not finite")
        if len(self.labeled_LD) > 1 and (self.labeled_LD == self.labeled_LD[0]).all():
            raise ValueError("the network gives all labeled images the same features")

    def neighbors(self) -> dict[str, Any]:
        """The k nearest of the labeled images."""
        k, how = self.count

        def classify(features_ND: np.ndarray) -> np.ndarray:
            return classified(self._tensor(features_ND), self.bank, k)[0].cpu().numpy()

        return {"k": k, "chosen_by": how, **self._accuracy(classify)}

    def logistic(self) -> dict[str, Any]:
        """A linear head on the labeled images."""
        strength, how = self.strength
        head = logistic.fit(self.labeled_LD, self.labels_L, strength)
        return {"strength": strength, "chosen_by": how, "converged": head.converged, **self._accuracy(head.classify)}

    def self_training(self) -> dict[str, Any] | None:
        """A linear head on the labeled images and the pool's pseudo-labels; None where there is no pool."""
        pool = self.chosen.pool
        if not len(pool):
            return None
        pool_ND = self.train.of(pool)
        given = list(self_training.rounds(self.bank, self._tensor(pool_ND), self.count[0]))
        right = [self_training.precision(labels, self.labels[pool]) for labels in given]
        rows, labels = given[-1].rows.cpu().numpy(), given[-1].labels.cpu().numpy()
        images = len(self.labels_L) + len(rows)
        strength = self.strength[0] * len(self.labels_L) / images
        head = logistic.fit(
            np.concatenate([self.labeled_LD, pool_ND[rows]]), np.concatenate([self.labels_L, labels]), strength
        )
        return {
            "rounds": len(given), "pool": len(pool), "pseudo_labels": len(rows), "pseudo_label_precision": right,
            "strength": strength, "converged": head.converged, **self._accuracy(head.classify),
        }  # fmt: skip

    @cached_property
    def bank(self) -> Bank:
        labels = torch.from_numpy(np.ascontiguousarray(self.labels_L)).to(self.device)
        return Bank(self._tensor(self.labeled_LD), labels, self.classes)

    @cached_property
    def count(self) -> tuple[int, str]:
        """Neighbors that vote, and how that was found."""
        return choose_count(self.bank)

    @cached_property
    def strength(self) -> tuple[float, str]:
        """Of the logistic regression, and how that was found."""
        return logistic.choose_strength(self.labeled_LD, self.labels_L, self.seed)

    def _tensor(self, features_ND: np.ndarray) -> Tensor:
        return torch.from_numpy(features_ND).to(self.device).float()

    def _accuracy(self, classify: Classify) -> dict[str, float]:
        """In percent, by what is evaluated."""
        return {
            f"{name}_top1": 100 * float((classify(features) == labels).mean())
            for name, (features, labels) in self.tried.items()
            if len(labels)
        }


def attempt(learner: Callable[[], Learner], name: str) -> dict[str, Any] | None:
    """A baseline by its name, with its seconds; `error` where it fails: a baseline does not end a run. None where there
    is nothing for it to do."""
    begin, cpu = time.perf_counter(), time.process_time()
    try:
        found: dict[str, Any] | None = getattr(learner(), name)()
    except Exception as error:  # any of scikit-learn's, NumPy's and torch's
        found = {"error": reason(error)}
    if found is None:
        return None
    spent = {"seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - cpu}
    return {**found, **{name: round(value, 3) for name, value in spent.items()}}
