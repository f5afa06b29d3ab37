"""Steps that are recorded and replayed: the order of events here, the graph itself in tests/gpu."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from semisonic.schema import UserError
from semisonic.training.cuda_graph import GraphedFunction
from tests.support.trainers import OnTheHost


def test_batches_are_copied_into_fixed_tensors():
    seen = []

    def action(batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        seen.append((batch["u"]["weak"].data_ptr(), batch["u"]["weak"].sum().item(), batch["none"].numel()))
        assert batch["u"]["weak"].is_contiguous(memory_format=torch.channels_last)
        return {"sum": batch["u"]["weak"].sum()}

    recorder = OnTheHost()
    replay = GraphedFunction(action, recorder, warm_up=2)
    for step in range(5):
        image = torch.full((2, 3, 4, 4), float(step)).to(memory_format=torch.channels_last)
        replay({"u": {"weak": image}, "none": torch.empty(0)})
    assert recorder.events == ["warm-up", "warm-up", "capture", "replay", "replay", "replay"]
    assert [total for _, total, _ in seen] == [96.0 * step for step in range(5)]
    assert len({address for address, _, _ in seen[2:]}) == 1


def test_another_shape_is_an_error():
    replay = GraphedFunction(lambda batch: batch, OnTheHost(), warm_up=0)
    replay({"x": torch.zeros(4)})
    with pytest.raises(ValueError, match="size"):
        replay({"x": torch.zeros(5)})


def test_what_cannot_be_recorded_says_what_to_change():
    class Refuses(OnTheHost):
        def capture(self, action: Callable[[], Any]) -> Any:
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(UserError, match=r"--replay off .*not permitted"):
        GraphedFunction(lambda batch: batch, Refuses(), warm_up=0)({"x": torch.zeros(1)})


def test_a_batch_that_grows_has_a_graph_for_each_size():
    recorder, found = OnTheHost(), []
    replay = GraphedFunction(lambda batch: found.append(batch["x"].sum().item()), recorder, warm_up=1, sizes=2)
    for size in (2, 2, 2, 4, 4, 4):
        replay({"x": torch.ones(size)})
    one = ["warm-up", "capture", "replay", "replay"]
    assert recorder.events == [*one, "release", *one]  # two graphs' memory is never held at once
    assert found == [2.0] * 3 + [4.0] * 3 and len(replay.seen) == 2
    with pytest.raises(ValueError, match="size"):
        replay({"x": torch.ones(6)})
