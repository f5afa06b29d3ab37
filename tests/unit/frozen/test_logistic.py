"""The linear head: what it minimizes, and that its strength is chosen on the labeled images alone."""

import numpy as np
import pytest

from semisonic.frozen import logistic


def clouds(per_class: int, classes: int = 3, noise: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features float16 of length 1, and labels."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(9).normal(size=(classes, 8))
    labels = np.repeat(np.arange(classes), per_class)
    features = centers[labels] + noise * generator.normal(size=(len(labels), 8))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float16), labels


def test_the_gradient_of_what_it_minimizes_is_zero():
    features, labels = clouds(20)
    head = logistic.fit(features, labels, 3.0)
    shares = head.model.predict_proba(features.astype(np.float32))
    wrong = shares - np.eye(3)[labels]
    gradient = 3.0 * wrong.T @ features.astype(np.float64) + head.model.coef_
    assert head.converged and np.abs(gradient).max() < 0.02 * np.abs(head.model.coef_).max()


def test_it_classifies_what_it_has_not_seen():
    head = logistic.fit(*clouds(10), 10.0)
    features, labels = clouds(100, seed=1)
    assert (head.classify(features) == labels).mean() > 0.95


def test_noisy_labels_choose_more_regularization_than_clean_ones():
    features, labels = clouds(40, noise=1.5)
    noisy = labels.copy()
    swapped = np.random.default_rng(3).permutation(len(labels))[:60]
    noisy[swapped] = (noisy[swapped] + 1) % 3
    clean, how = logistic.choose_strength(*clouds(40, noise=0.2), seed=0)
    assert logistic.choose_strength(features, noisy, seed=0)[0] < clean
    assert how == "cross-validation of the labeled images in 5 folds"


def test_folds_are_as_many_as_the_rarest_class_has_labels_and_drawn_by_the_seed():
    features, labels = clouds(3)
    found = logistic.choose_strength(features, labels, seed=5)
    assert found == logistic.choose_strength(features, labels, seed=5) and "in 3 folds" in found[1]


def test_with_one_label_a_class_the_strength_is_the_default():
    assert logistic.choose_strength(*clouds(1), seed=0) == (10.0, "the default: a class has a single label")


def test_a_fit_that_does_not_converge_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logistic, "BUDGET", 0.0)  # leaves the fewest iterations
    monkeypatch.setattr(logistic, "FEWEST", 3)
    features, labels = clouds(200, noise=1.5)
    assert not logistic.fit(features, labels, 1e6).converged
