"""Predictions one by one from Python: in order, with what cannot be used among them, while memory holds a part."""

from pathlib import Path

import numpy as np
import pytest

import semisonic
from semisonic.inference import predict as streaming
from semisonic.schema import UserError


def test_files_are_predicted_one_by_one_and_those_that_cannot_be_used_say_why(
    folder_run: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, folder = folder_run
    classifier = semisonic.load(run)
    paths = sorted(folder.rglob("*.png"))
    listed = [*paths[:5], tmp_path / "gone.png", *paths[5:]]
    monkeypatch.setattr(streaming, "ROWS", 7)
    found = list(classifier.predict_files(listed, batch=3, top=2))
    assert [one.path for one in found] == [str(path) for path in listed]
    assert (found[5].label, found[5].top) == (None, []) and "No such file or directory" in found[5].reason
    expected = classifier.predict_proba(paths)
    for one, row in zip([*found[:5], *found[6:]], expected, strict=True):
        assert one.label == classifier.classes[int(row.argmax())] == one.top[0][0] and len(one.top) == 2
        assert one.confidence == pytest.approx(float(row.max()), abs=2e-2) and one.reason == "" and one.features is None
    assert [one.path for one in classifier.predict_files(folder)] == [str(path.relative_to(folder)) for path in paths]
    assert not classifier.training


def test_views_and_features_are_options(folder_run: tuple[Path, Path]):
    run, folder = folder_run
    classifier = semisonic.load(run)
    once, again = (list(classifier.predict_files(folder, views=2, features=True, batch=size)) for size in (64, 5))
    for one, other in zip(once, again, strict=True):
        assert one.features is not None and other.features is not None
        assert one.features.shape == (classifier.feature_dim,) and np.allclose(one.features, other.features, atol=1e-4)


def test_arrays_in_a_file_and_mistakes(folder_run: tuple[Path, Path], tmp_path: Path):
    classifier = semisonic.load(folder_run[0])
    np.save(tmp_path / "images.npy", np.zeros((3, 20, 20, 3), np.uint8))
    assert [one.path for one in classifier.predict_files(tmp_path / "images.npy")] == [
        f"images.npy[{number}]" for number in range(3)
    ]
    for images, problem in (
        (np.zeros((2, 20, 20, 3), np.uint8), "arrays are for predict"), ([], "none were given"), ("nowhere", "no such file"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=problem):  # at once, and not when the first is asked for
            classifier.predict_files(images)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--views"):
        classifier.predict_files(tmp_path / "images.npy", views=5000)
