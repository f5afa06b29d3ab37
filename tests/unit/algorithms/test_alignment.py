"""Distribution alignment: what windows and averages hold, and that on logits it is a vector of the classes."""

import pytest
import torch

from semisonic.algorithms.alignment import EPSILON, RunningMean, aligned, alignment, mean_prediction

TARGET = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def means(count: int) -> list[torch.Tensor]:
    bits = torch.Generator().manual_seed(0)
    return list(torch.rand(count, 3, generator=bits, dtype=torch.float64).softmax(-1))


def test_on_logits_it_is_a_vector_that_is_added():
    logits, running = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double(), means(1)[0]
    found = (logits + alignment(TARGET, running)).softmax(-1)
    torch.testing.assert_close(found, aligned(logits.softmax(-1), TARGET, running, EPSILON))
    torch.testing.assert_close(found[0], (p := logits[0].softmax(-1) * (TARGET + 1e-6) / (running + 1e-6)) / p.sum())


def test_where_the_mean_is_the_target_nothing_changes():
    assert not alignment(TARGET, TARGET).any()


def test_a_class_that_is_not_there_leaves_it_finite():
    for target, running in (([0.0, 0.5, 0.5], [0.0, 0.5, 0.5]), ([0.0, 0.5, 0.5], [1.0, 0.0, 0.0])):
        assert alignment(torch.tensor(target), torch.tensor(running)).isfinite().all()


def test_a_window_has_this_batch_and_the_last_ones_in_it():
    mean, given = RunningMean(3, 0.9, 3).double(), means(5)
    for k, new in enumerate(given):
        torch.testing.assert_close(mean.running(new), torch.stack(given[max(0, k - 2) : k + 1]).mean(0))
        mean.push_mean(new[None])
    assert mean.batches == 5


def test_a_window_that_begins_full_begins_uniform():
    """As an average does: its first batches count by their share of the window."""
    mean, given = RunningMean(3, 0.9, 3, full=True).double(), means(5)
    rows = [torch.full((3,), 1 / 3, dtype=torch.float64)] * 3
    for new in given:
        rows = [*rows[1:], new]
        torch.testing.assert_close(mean.running(new), torch.stack(rows).mean(0), atol=1e-7, rtol=0)
        mean.push_mean(new[None])
    torch.testing.assert_close(mean.window_RC.sum(0), torch.stack(given[2:]).sum(0))


def test_an_average_begins_uniform_and_has_this_batch_in_it():
    mean, expected = RunningMean(0, 0.9, 3).double(), torch.full((3,), 1 / 3, dtype=torch.float64)
    for new in means(4):
        expected = 0.9 * expected + 0.1 * new
        torch.testing.assert_close(mean.running(new), expected, atol=1e-7, rtol=0)
        mean.push_mean(new[None])
    torch.testing.assert_close(mean.average_C, expected, atol=1e-7, rtol=0)
    assert list(mean.state_dict()) == ["average_C"]


@pytest.mark.parametrize("rows", [0, 3])
def test_reading_it_writes_nothing(rows: int):
    mean = RunningMean(rows, 0.9, 3).double()
    before = {name: value.clone() for name, value in mean.state_dict().items()}
    mean.running(means(1)[0])
    assert all(torch.equal(value, before[name]) for name, value in mean.state_dict().items())


def test_a_mean_prediction_is_that_of_probabilities_and_carries_no_gradient():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    found = mean_prediction(logits)
    torch.testing.assert_close(found, logits.softmax(-1).mean(0).detach())
    assert not found.requires_grad
