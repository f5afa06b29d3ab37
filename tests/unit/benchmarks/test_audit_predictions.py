"""Predictions are those of a real run: of images without a label, with a certainty that tells right from wrong."""

from pathlib import Path

import numpy as np
import pytest

import audit_predictions


@pytest.mark.long
def test_predictions_of_a_short_run(tmp_path: Path):
    file = tmp_path / "predictions.npz"
    arguments = ["--steps", "40", "--runs", "digits-4", "--out", str(file)]
    found = audit_predictions.run(audit_predictions.parse(arguments))
    certainty, right = found["digits-4/certainty"], found["digits-4/right"]
    assert certainty.shape == right.shape == (1_357,) and certainty.dtype == np.float16
    assert 0 < certainty.min() < certainty.max() <= 1
    assert certainty[right].mean() > certainty[~right].mean()
    assert np.load(file)["digits-4/right"].sum() == right.sum()
