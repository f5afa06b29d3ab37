"""A large teacher's stored predictions: both formats, what does not fit, and the small teacher on top of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from semisonic.algorithms.mpl import MPL
from semisonic.algorithms.predictions import read_predictions
from semisonic.schema import UserError
from tests.support.algorithms import CLASSES, batch, make
from tests.support.fuzz import INPUTS, attack, damaged, npy_files, odd_files
from tests.support.meta_pseudo_labels import FIELDS, part, step


@pytest.fixture
def table(tmp_path: Path) -> Path:
    probabilities = torch.randn(40, CLASSES, generator=torch.Generator().manual_seed(0)).mul(3).softmax(-1)
    np.save(tmp_path / "table.npy", probabilities.numpy())
    save_file({"predictions": probabilities}, tmp_path / "table.safetensors")
    return tmp_path / "table.npy"


def test_a_small_teacher_begins_with_the_stored_labels_and_learns_from_progress(table: Path):
    algorithm = make(MPL, **FIELDS, variant="reduced", predictions=table)
    assert sum(p.numel() for p in algorithm.teacher.parameters()) < 2000 and algorithm.table.shape == (40, CLASSES)
    views = algorithm.views(algorithm.cfg)
    assert views.labeled.keys() == {"weak"} and views.unlabeled.keys() == {"strong"}
    given = batch(u={"strong": batch().u["strong"]}, u_index=torch.arange(12) + 20)
    stored = torch.from_numpy(np.load(table))[20:32].argmax(-1)
    assert torch.equal(algorithm.label(given), stored)
    run = step(algorithm, given=given, progress=0.5)
    assert max(float(value.abs().max()) for value in part(run.gradients, "teacher").values()) > 0
    logits = algorithm.teacher(algorithm.table[given.u_index])
    assert (algorithm.table[given.u_index] - logits.softmax(-1)).abs().max() > 1e-6  # it has moved
    assert not any(
        value.any() for value in part(step(algorithm, given=given, progress=0.0).gradients, "teacher").values()
    )


def test_both_formats_are_read(table: Path):
    one, two = (make(MPL, variant="reduced", predictions=path) for path in (table, table.with_suffix(".safetensors")))
    assert torch.equal(one.table, two.table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            np.full((39, CLASSES), 1 / CLASSES),
            r"holds float64 \[39, 4\]; the pool needs floating \[40, 4\]",
        ),
        (np.full((40, CLASSES), 0.5), "rows must be probabilities that sum to 1"),
        (np.full((40, CLASSES), np.nan), "rows must be probabilities that sum to 1"),
        (np.full((40, CLASSES), 1), r"holds int64"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, content: np.ndarray, message: str):
    np.save(tmp_path / "bad.npy", content)
    with pytest.raises(UserError, match=rf"algorithm\.predictions: .*{message}"):
        make(MPL, variant="reduced", predictions=tmp_path / "bad.npy")


def test_files_that_are_no_tables_are_refused(tmp_path: Path):
    for name in ("bad.npy", "bad.safetensors"):
        (tmp_path / name).write_bytes(b"no table")
        with pytest.raises(UserError, match=r"algorithm\.predictions: .* is no \.(npy|safetensors), or damaged"):
            make(MPL, variant="reduced", predictions=tmp_path / name)
    with pytest.raises(UserError, match=r"algorithm\.predictions: .*No such file"):
        make(MPL, variant="reduced", predictions=tmp_path / "none.npy")


HEADERS = {
    "another tensor": (save({"table": torch.zeros(2)}), "has no tensor predictions"),
    "another shape": (save({"predictions": torch.zeros(2)}), r"holds F32 \[2\]; the pool needs floating \[40, 4\]"),
    "whole numbers": (save({"predictions": torch.zeros(40, 4, dtype=torch.int64)}), r"holds I64 \[40, 4\]; the pool"),
    "a terabyte in a header": (
        save({"predictions": torch.zeros(40, 4)}).replace(b"[40,4]", b"[9999999,9]"), "is no .safetensors, or damaged"
    ),
    "a header that is longer than the file": (b"\xff" * 16, "is no .safetensors, or damaged"),
}  # fmt: skip


@pytest.mark.parametrize("what", HEADERS)
def test_a_header_is_looked_at_before_the_table_is_read(what: str, tmp_path: Path):
    content, message = HEADERS[what]
    (tmp_path / "t.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_predictions(tmp_path / "t.safetensors", 40, CLASSES)


@INPUTS
@pytest.mark.parametrize("ending", ["npy", "safetensors"])
def test_no_content_surprises(ending: str, inputs: int, tmp_path: Path):
    table = np.full((8, 4), 0.25, np.float32)
    content = save({"predictions": torch.from_numpy(table)})
    files = npy_files(table) if ending == "npy" else st.one_of(damaged(content), odd_files(content))
    attack(lambda path: read_predictions(path, 8, 4), tmp_path / f"t.{ending}", files, inputs)
