import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch

from semisonic.data.sets.base import DataSet, ImageFiles
from semisonic.data.sets.splits import Split
from semisonic.reporting.label_tables import write_label_table
from semisonic.schema import UserError
from semisonic.text import csv_text


def files() -> tuple[DataSet, Split]:
    labels = np.array([1, 0, -1, 1])
    train = ImageFiles(Path("/images"), ["b/1.png", "a/2.png", "3.png", "b/4.png"], labels, np.full((4, 2), 8, np.int32),
                       np.zeros(4, bool))  # fmt: skip
    test = replace(train, labels=np.array([1, 0, 0, 1]))
    data = DataSet("folder", ("a", "b"), 8, (0.5,) * 3, (0.2,) * 3, True, 1, train, test)
    return data, Split(np.array([0, 1, 3]), np.arange(4), np.empty(0, np.int64))


def test_a_row_for_each_labeled_image_by_its_path(tmp_path: Path):
    path = tmp_path / "labels" / "margins.parquet"
    for _ in range(2):  # replaces what an earlier part of the run wrote
        write_label_table(path, {"sum": torch.tensor([1.0, 2.0, 3.0]), "n": torch.tensor([1, 2, 3])}, *files())
    assert parquet.read_table(path).to_pydict() == {
        "index": [0, 1, 3], "path": ["b/1.png", "a/2.png", "b/4.png"], "class": ["b", "a", "b"],
        "sum": [1.0, 2.0, 3.0], "n": [1, 2, 3],
    }  # fmt: skip
    assert [entry.name for entry in path.parent.iterdir()] == ["margins.parquet"]


def test_a_name_that_is_not_utf8_is_written_so_that_it_can_be_read(tmp_path: Path):
    data, split = files()
    data = replace(data, train=replace(data.train, paths=[os.fsdecode(b"caf\xe9.png"), "b", "c", "d"]))
    write_label_table(tmp_path / "labels" / "margins.parquet", {}, data, split)
    (path, *_) = parquet.read_table(tmp_path / "labels" / "margins.parquet").to_pydict()["path"]
    assert path == "caf\\xe9.png" and csv_text(path) == os.fsdecode(b"caf\xe9.png")


def test_a_refusal_of_the_file_system_names_the_file(tmp_path: Path):
    (tmp_path / "labels").write_text("in the way")
    with pytest.raises(UserError, match=r"margins\.parquet could not be written"):
        write_label_table(tmp_path / "labels" / "margins.parquet", {}, *files())
