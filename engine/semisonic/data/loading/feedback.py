"""Tables that the model gives to the drawing of augmentations (CTAugment's rates), with a fixed lag.

The batch of step t is drawn by the table after t - lag steps, whatever the speeds of device and host, the steps per
DALI call and the number of ranks. A table leaves the device by a copy that nobody waits for but the thread that draws
by it, `lag` steps later. Drawing begins no call whose tables were not sent before: it is never in wait of a step, so
that neither the end of a run nor an error can leave a thread waiting.
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor


class Remembered(Protocol):
    """What an algorithm keeps of its tables, in buffers."""

    lag: int
    rates: Tensor
    """The newest table."""
    history: Tensor
    """[lag + 1, ...]: row k % (lag + 1) is the table after k steps."""


class Sent(NamedTuple):
    table: Tensor
    """On the host."""
    arrived: torch.cuda.Event | None
    """When its copy is done; None: it is."""


class Feedback:
    """Between the steps of one process, which send tables, and its loader, which draws by them."""

    def __init__(self, remembered: Remembered, step: int = 0):
        self.remembered, self.lag = remembered, remembered.lag
        self.sent: dict[int, Sent] = {}
        self.restart(step)

    def restart(self, step: int) -> None:
        """Takes over what the algorithm remembers after `step` steps; waits for the device."""
        rows = self.remembered.history.detach().cpu()
        first = max(0, step - self.lag)
        self.sent = {number: Sent(rows[number % (self.lag + 1)].clone(), None) for number in range(first, step)}
        self.sent[step] = Sent(self.remembered.rates.detach().cpu().clone(), None)
        self.remembered.history[step % (self.lag + 1)].copy_(self.remembered.rates)

    def send(self, step: int) -> None:
        """After `step` steps: remembers the newest table and begins its way to the host. Waits for nothing."""
        rates = self.remembered.rates.detach()
        self.remembered.history[step % (self.lag + 1)].copy_(rates)
        if rates.is_cuda:
            table = torch.empty_like(rates, device="cpu", pin_memory=True).copy_(rates, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record(torch.cuda.current_stream(rates.device))
            self.sent[step] = Sent(table, arrived)
        else:
            self.sent[step] = Sent(rates.clone(), None)
        # All steps before this one have been drawn.
        self.sent.pop(step - self.lag - 1, None)

    def table(self, step: int) -> np.ndarray:
        """What the batch of step `step` (0 = the first) is drawn by."""
        number = max(0, step - self.lag)
        if number not in self.sent:
            raise RuntimeError(
                f"the batch of step {step} is drawn by the rates after {number} steps, which are not known (only those "
                f"after {min(self.sent)} to {max(self.sent)}): every batch must be followed by its training step"
            )
        sent = self.sent[number]
        if sent.arrived is not None:
            sent.arrived.synchronize()
        return sent.table.numpy()
