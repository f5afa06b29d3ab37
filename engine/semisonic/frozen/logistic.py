"""Logistic regression on frozen features of length 1: scikit-learn's, its strength chosen on the labeled images alone.

Legend: N images, D values of a feature, C classes.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""What scikit-learn calls C, the inverse of the regularization: those that cross-validation chooses among."""
DEFAULT = 10.0
"""Where a class has a single label, and nothing can be left out."""
FOLDS, FEW = 5, 1000
"""Folds of up to so many images; of more, 3."""
CHOSEN_ON = 5000
"""Labeled images that the cross-validation uses, at most."""
ITERATIONS, FEWEST = 1000, 50
BUDGET = 2e13
"""Products of one fit, at most, in whose time other ranks wait: iterations are fewer for what is very large."""


@dataclass(frozen=True)
class Fitted:
    """A linear head."""

    model: Any
    strength: float
    converged: bool

    def classify(self, features_ND: np.ndarray) -> np.ndarray:
        """int64 [N]."""
        found: np.ndarray = self.model.predict(features_ND.astype(np.float32))
        return found


def fit(features_ND: np.ndarray, labels_N: np.ndarray, strength: float) -> Fitted:
    """Minimizes strength times the sum of cross-entropies plus half the squared length of the weights."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    images, width = features_ND.shape
    cost = 4.0 * images * width * max(2, len(np.unique(labels_N)))
    model = LogisticRegression(C=strength, max_iter=max(FEWEST, min(ITERATIONS, int(BUDGET / cost))))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(features_ND.astype(np.float32), labels_N)
    return Fitted(model, strength, not any(issubclass(warning.category, ConvergenceWarning) for warning in seen))


def choose_strength(features_ND: np.ndarray, labels_N: np.ndarray, seed: int) -> tuple[float, str]:
    """The strength that tells left-out labeled images best, and how that was found. Of equally good ones that with the
    higher likelihood, then the smaller."""
    from sklearn.model_selection import StratifiedKFold

    if len(labels_N) > CHOSEN_ON:
        kept = np.sort(np.random.default_rng([seed, 1]).permutation(len(labels_N))[:CHOSEN_ON])
        features_ND, labels_N = features_ND[kept], labels_N[kept]
    counts = np.unique(labels_N, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 2:
        return DEFAULT, "the default: a class has a single label"
    folds = min(FOLDS if len(labels_N) <= FEW else 3, int(counts.min()))
    parts = list(StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32).split(features_ND, labels_N))
    scores = []
    for strength in STRENGTHS:
        right, likelihood = 0, 0.0
        for known, left_out in parts:
            model = fit(features_ND[known], labels_N[known], strength).model
            shares = model.predict_proba(features_ND[left_out].astype(np.float32))
            right += int((model.classes_[shares.argmax(1)] == labels_N[left_out]).sum())
            own = shares[np.arange(len(left_out)), np.searchsorted(model.classes_, labels_N[left_out])]
            likelihood += float(np.log(np.maximum(own, 1e-12)).sum())
        scores.append((right, likelihood, -strength))
    best = max(range(len(STRENGTHS)), key=lambda place: scores[place])
    return STRENGTHS[best], f"cross-validation of the labeled images in {folds} folds"
