"""The folds of a training: which labels each lacks, their runs, and what they say of the labels that they lack."""

from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from semisonic.daily import folds, given, training
from semisonic.daily.folds import assign, fold_runs, read_rows
from semisonic.daily.training import plan
from semisonic.schema import ExitCode, UserError
from tests.support.daily_runs import digit_project, train_options


def test_every_label_but_those_that_are_alone_is_missing_once():
    labels = ["a"] * 9 + ["b"] * 5 + ["c"] + [""] * 4 + ["d"] * 2
    fold_N = assign(labels, ["d", "c", "b", "a"], 4, seed=1)
    assert (fold_N[14:19] == -1).all()  # the only c, and those without a label
    sizes = np.bincount(fold_N[fold_N >= 0], minlength=4)
    assert sizes.sum() == 16 and sizes.max() - sizes.min() <= 1  # of all together
    for first, last in ((0, 9), (9, 14), (19, 21)):
        own = np.bincount(fold_N[first:last], minlength=4)
        assert own.max() - own.min() <= 1  # of each class
    assert (fold_N == assign(labels, ["d", "c", "b", "a"], 4, seed=1)).all()
    assert (fold_N != assign(labels, ["d", "c", "b", "a"], 4, seed=2)).any()


def test_folds_are_runs_of_their_own_and_what_is_there_is_kept(tmp_path: Path):
    project = digit_project(tmp_path, steps=1)
    found = plan(project, train_options("--folds", "2"))
    names = [job.cfg.run_folder.name for job in found.jobs]
    assert names == ["day-001", "day-001-fold-1", "day-001-fold-2"] and not any(job.resume for job in found.jobs)
    assert [job.cfg.checkpoint.snapshots for job in found.jobs] == [1, 0, 0]
    labels = [[row.label for row in read_rows(job.cfg.data.csv)] for job in found.jobs]
    missing = [[whole != own for whole, own in zip(labels[0], other, strict=True)] for other in labels[1:]]
    assert [sum(own) for own in missing] == [6, 6] and not any(map(all, zip(*missing, strict=True)))
    assert fold_runs(project, "day-001") == []  # not finished


@pytest.mark.slow
def test_folds_say_what_they_make_of_labels_that_they_have_not_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    project = digit_project(tmp_path, steps=1)
    assert training.run(project, train_options()) == ExitCode.OK
    before = parquet.read_table(given.table(project, "day-001")).to_pydict()
    assert np.isnan(before["folds"]).all()
    assert training.run(project, train_options("--folds", "2")) == ExitCode.OK  # of the finished run
    assert [path.name for path in fold_runs(project, "day-001")] == ["day-001-fold-1", "day-001-fold-2"]
    table = parquet.read_table(folds.table(project, "day-001")).to_pydict()
    assert sorted(table["image"]) == list(range(1, 13)) and sorted(table["fold"]) == [1] * 6 + [2] * 6
    with project.store() as store:
        numbers = [row.id for row in store.classes()]
    for label, own, proba in zip(table["class"], table["given"], table["probabilities"], strict=True):
        assert proba[numbers.index(label)] == pytest.approx(own) and sum(proba) == pytest.approx(1, abs=1e-4)
    folds.table(project, "day-001").unlink()
    given.table(project, "day-001").write_bytes(b"")
    training.run(project, train_options())  # killed before these were written: no run is left to be trained
    after = parquet.read_table(given.table(project, "day-001")).to_pydict()
    own = dict(zip(table["image"], table["given"], strict=True))
    assert after["folds"] == pytest.approx([own[image] for image in after["image"]])
    capsys.readouterr()
    assert training.run(project, train_options("--folds", "2")) == ExitCode.OK
    assert capsys.readouterr().out.startswith("Nothing has changed since day-001 was trained")
    with pytest.raises(UserError, match=r"^--folds: 3, but day-001 has 2; give as many, or train anew with --again$"):
        training.run(project, train_options("--folds", "3"))
    with pytest.raises(UserError, match=r"^--folds: 1; give 2 to 12, the number of labels$"):
        training.run(project, train_options("--folds", "1"))
