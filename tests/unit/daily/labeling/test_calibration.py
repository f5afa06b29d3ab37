"""The temperature of predictions out of fold."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from semisonic.daily.labeling.calibration import FILE, fit, temperature
from semisonic.schema import UserError


def overconfident(count: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [N, 4] whose logits are `factor` times as large as they should be, and labels."""
    generator = np.random.default_rng(0)
    logits = 2 * generator.normal(size=(count, 4))
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(1)
    scaled = np.exp(factor * logits)
    return scaled / scaled.sum(1, keepdims=True), labels


@pytest.mark.parametrize("factor", [0.5, 1, 3])
def test_the_temperature_takes_back_what_a_network_is_too_sure(factor: float):
    assert fit(*overconfident(4000, factor)) == pytest.approx(factor, rel=0.1)


def test_a_run_with_folds_has_a_temperature_by_the_ids_of_its_classes(tmp_path: Path):
    proba, labels = overconfident(400, 2)
    project, ids = SimpleNamespace(auto=tmp_path), [7, 3, 9, 4]
    assert temperature(project, "day-001", ids) is None  # type: ignore[arg-type]
    (tmp_path / "day-001").mkdir()
    for count, expected in ((400, fit(proba, labels)), (9, None)):
        columns = {"probabilities": list(proba[:count]), "class": [ids[label] for label in labels[:count]]}
        parquet.write_table(pa.table(columns), tmp_path / "day-001" / FILE)
        assert temperature(project, "day-001", ids) == expected  # type: ignore[arg-type]
    (tmp_path / "day-001" / FILE).write_bytes(b"half")
    with pytest.raises(UserError, match=r"folds\.parquet: cannot be read .* remove it"):
        temperature(project, "day-001", ids)  # type: ignore[arg-type]


def test_what_is_certain_and_wrong_stays_a_number():
    found = fit(np.tile([1.0, 0.0], (20, 1)), np.array([0] * 19 + [1]))
    assert 0.04 < found < 21
