"""The feedback from the steps to the drawing: a fixed lag, no deadlock, no waiting for the device."""

import numpy as np
import pytest
import torch

from semisonic.data.loading.draws import uniforms as counted
from semisonic.data.loading.feedback import Feedback
from semisonic.data.views.registry import build_view
from tests.support.ctaugment import Scripted, scripted_batches, table_after
from tests.support.views import geometry

pytestmark = pytest.mark.filterwarnings("ignore:The external source node")


def test_a_step_draws_by_the_rates_of_lag_steps_before():
    """Whatever the speed of the steps, the steps per call, and where the run is resumed."""
    lag, steps = 8, 20
    found = scripted_batches(steps, lag, per_call=1)
    view = build_view("ctaugment", geometry(16, pad=2), operations="kernel")
    for step, values in enumerate(found):
        numbers = np.arange(8 * step, 8 * step + 8)
        drawn = counted(0, "view/unlabeled/strong", numbers, view.uniforms)
        table = table_after(max(0, step - lag)).numpy()
        np.testing.assert_array_equal(values.numpy(), view.with_table(table).params(drawn, None)["values"])
    for others in (scripted_batches(steps, lag, 2, pause=0.01), scripted_batches(steps, lag, 1, start=11)):
        assert all(torch.equal(a, b) for a, b in zip(found[-len(others) :], others, strict=True))


def test_a_batch_without_its_step_is_an_error_and_not_a_deadlock():
    remembered = Scripted(4)
    feedback = Feedback(remembered)
    assert np.array_equal(feedback.table(4), table_after(0).numpy())
    with pytest.raises(RuntimeError, match="batch of step 5 is drawn by the rates after 1 steps"):
        feedback.table(5)


@pytest.mark.gpu
def test_tables_leave_the_gpu_without_waiting():
    remembered = Scripted(4)
    remembered.rates, remembered.history = remembered.rates.cuda(), remembered.history.cuda()
    feedback = Feedback(remembered)
    tables = [table_after(number).cuda() for number in range(1, 10)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number, table in enumerate(tables, start=1):
            remembered.rates.copy_(table)
            feedback.send(number)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for number in range(5, 10):
        assert np.array_equal(feedback.table(number + 4), table_after(number).numpy())
        assert torch.equal(remembered.history[number % 5].cpu(), table_after(number))
