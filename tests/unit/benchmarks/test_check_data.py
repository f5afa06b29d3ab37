"""The check of batches made on a GPU finds what differs, and names step and tensor."""

from collections.abc import Iterator

import pytest
import torch

import check_data
from semisonic.contract import Batch

CPU = torch.device("cpu")


@pytest.mark.filterwarnings("ignore:The external source node")
def test_the_check_of_batches_finds_them_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Both on the CPU; on a GPU the check compares what can differ."""
    monkeypatch.setattr(check_data, "VARIANTS", check_data.VARIANTS[1:3])
    assert check_data.check(CPU, steps=4) == 0
    found = capsys.readouterr().out
    assert found.count("the same") == 2 and "--algorithm.strong augmix - images" in found


def batches(steps: int) -> Iterator[Batch]:
    none = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        image = torch.full((4, 3, 8, 8), step, dtype=torch.uint8)
        keys = torch.arange(4) + step
        yield Batch({"weak": image}, keys, keys, {"strong": image + 1}, keys, none, keys, {}, {})


def test_the_check_of_batches_names_step_and_tensor():
    found = check_data.late_copies(batches(3), 3, CPU)
    assert check_data.differences(found, batches(3), 0.0) == []
    found[1][".u['strong']"][0, 0, 0, 0] += 1
    found[2][".u_key"][3] += 1
    image, key = check_data.differences(found, batches(3), 0.0)
    assert image == "step 1, .u['strong']: 0.13% of the values differ" and key.startswith("step 2, .u_key: 25.00%")
    assert check_data.differences(found, batches(3), 0.01) == [key]  # for keys there is no tolerance
