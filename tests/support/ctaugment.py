"""Tables of rates that differ from step to step, and the batches that are drawn by them."""

import time

import torch

from semisonic.data.loading.calls import Placement
from semisonic.data.loading.feedback import Feedback
from semisonic_kernels.ctaugment import BINS, MOST_BINS, first_rates


def table_after(steps: int) -> torch.Tensor:
    """Very different rates after every step, so that a draw by the wrong ones shows."""
    generator = torch.Generator().manual_seed(steps)
    return first_rates() * torch.rand(len(BINS), MOST_BINS, generator=generator)


class Scripted:
    """A remembered table that the test sets."""

    def __init__(self, lag: int):
        self.lag, self.rates = lag, table_after(0)
        self.history = first_rates().repeat(lag + 1, 1, 1)


def scripted_batches(steps: int, lag: int, per_call: int, start: int = 0, pause: float = 0.0) -> list[torch.Tensor]:
    from semisonic.contract import Views
    from semisonic.data.loading.loader import Loader, Sampling
    from tests.support.data import CPU, data_set, split

    remembered = Scripted(lag)
    for number in range(max(0, start - lag), start + 1):
        remembered.rates = table_after(number)
        remembered.history[number % (lag + 1)] = remembered.rates
    feedback = Feedback(remembered, start)
    views = Views(labeled={"weak": "weak"}, unlabeled={"strong": "ctaugment"}, params=("strong",))
    sampling, placement = Sampling(0, 4, 8, start=start), Placement(CPU, steps_per_call=per_call)
    loader = Loader(data_set(), split(), views, sampling, placement, feedback)
    found = []
    for step in range(start, steps):
        found.append(next(loader).params["strong"]["values"].clone())
        time.sleep(pause)
        remembered.rates = table_after(step + 1)
        feedback.send(step + 1)
    return found
