"""Weights of labeled images in a CSV: read by name, carried to the loss, and strict about what is no weight."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.registry import data_problems
from semisonic.schema import UserError
from semisonic.training.build import build_algorithm, draw_split
from tests.support.command_line import config
from tests.support.image_folders import errors_of, load_it, write_images


def table(folder: Path, weights: dict[str, str], header: str = "path,label,split,trust") -> Path:
    """A CSV of images of two classes, one unlabeled and two for the test, and their weights where they are given."""
    rows = {"a0": "a,", "a1": "a,", "a2": "a,", "b0": "b,", "b1": "b,", "u0": ",", "t0": "a,test", "t1": "b,test"}
    write_images(folder, [f"{name}.png" for name in rows])
    lines = [f"{name}.png,{rest},{weights.get(name, '')}" for name, rest in rows.items()]
    file = folder / "labels.csv"
    file.write_text("\n".join([header, *lines]) + "\n")
    return file


def test_weights_are_read_by_the_name_of_their_column(tmp_path: Path):
    file = table(tmp_path, {"a0": "0.5", "a2": " 2 ", "b1": "0"})
    data = load_it(None, csv=file, weight_column="trust")
    found = dict(zip(data.train.paths, data.train.weights.tolist(), strict=True))
    assert found == {"a0.png": 0.5, "a1.png": 1, "a2.png": 2, "b0.png": 1, "b1.png": 0, "u0.png": 1}
    assert data.test.weights is None
    assert load_it(None, csv=file).train.weights is None


def test_what_is_no_weight_is_told_with_its_row(tmp_path: Path):
    file = table(tmp_path, {"a0": "-1", "a1": "nan", "a2": "inf", "b0": "much", "b1": "1e308", "u0": "-3", "t0": "-3"})
    lines = errors_of(None, csv=file, weight_column="trust")
    begin, end = f"of {file} has the weight", "in its column trust; give a number of 0 to 1,000,000, or nothing for 1"
    assert lines == [
        f"data.csv: line {line} {begin} {found} {end}"
        for line, found in ((2, "-1"), (3, "nan"), (4, "inf"), (5, "much"), (6, "1e308"))
    ]


def test_weights_that_are_all_zero_are_told(tmp_path: Path):
    file = table(tmp_path, dict.fromkeys(("a0", "a1", "a2", "b0", "b1"), "0"))
    assert errors_of(None, csv=file, weight_column="trust") == [
        f"data.weight_column: every labeled image of {file} has the weight 0 in its column trust, from line 2 on; "
        "give some of them more"
    ]


def test_a_column_that_is_not_there_is_told(tmp_path: Path):
    (line,) = errors_of(None, csv=table(tmp_path, {}), weight_column="weight")
    assert line.startswith(f"data.csv: {tmp_path / 'labels.csv'} has no column weight; its first line must name")
    assert data_problems(DataConfig(weight_column="trust")) == [
        "data.weight_column: trust is a column of data.csv, which is not given"
    ]
    cfg = DataConfig(name="folder", csv=tmp_path / "labels.csv", size=16, weight_column="label")
    assert data_problems(cfg) == ["data.weight_column: the column label has another meaning; name one of weights"]


def test_weights_stay_with_their_images(tmp_path: Path):
    file = table(tmp_path, {"a0": "0.5", "a2": "2", "b0": "0"})
    (tmp_path / "a1.png").write_bytes((tmp_path / "a0.png").read_bytes())
    data = load_it(None, csv=file, weight_column="trust", duplicates="drop")
    found = dict(zip(data.train.paths, data.train.weights.tolist(), strict=True))
    assert found == {"a0.png": 0.5, "a2.png": 2, "b0.png": 0, "b1.png": 1, "u0.png": 1}


def test_a_run_has_them_by_the_positions_of_its_labeled_images(tmp_path: Path):
    file = table(tmp_path, {"a0": "0.5", "a2": "2", "b0": "0"})
    fields = ("--data", "folder", "--data.csv", file, "--data.size", 16, "--data.weight-column", "trust", "--steps", 5,
              "--algorithm", "fixmatch", "--model", "small", "--batch.labeled", 2, "--batch.unlabeled-ratio", 1)  # fmt: skip
    cfg = config(*fields, "--data.labels", 4)
    data = load_it(None, csv=file, weight_column="trust")
    split = draw_split(cfg, data)
    weights = build_algorithm(cfg, data, split).label_weights.by_image
    expected = {"a0.png": 0.5, "a1.png": 1, "a2.png": 2, "b0.png": 0, "b1.png": 1}
    assert weights.tolist() == [expected[data.train.paths[i]] for i in split.labeled.tolist()]
    assert len(weights) == 4
    with pytest.raises(UserError, match=r"data\.weight_column: simclr learns nothing from labels"):
        config(*fields, "--algorithm", "simclr")


def test_of_labeled_images_one_must_count(tmp_path: Path):
    file = table(tmp_path, dict.fromkeys(("a0", "a1", "b0", "b1"), "0"))
    data = load_it(None, csv=file, weight_column="trust")
    cfg = config("--data", "folder", "--data.csv", file, "--data.size", 16, "--steps", 5, "--data.labels", 2)
    splits = (draw(cfg, data, seed) for seed in range(20))
    split = next(found for found in splits if not data.train.weights[found.labeled].any())
    with pytest.raises(UserError, match=r"all 2 labeled images that were drawn have the weight 0"):
        build_algorithm(cfg, data, split)


def draw(cfg, data, seed: int):
    return draw_split(cfg.model_copy(update={"seed": seed}), data)


@pytest.mark.parametrize(
    "weights", [np.ones(3), np.ones(6, np.float32), np.array([1.0] * 5 + [-1]), np.full(6, np.nan)]
)
def test_a_data_set_with_other_weights_is_refused(tmp_path: Path, weights: np.ndarray):
    data = load_it(None, csv=table(tmp_path, {}))
    with pytest.raises(UserError, match=r"DataSet\.train\.weights"):
        replace(data, train=replace(data.train, weights=weights))
