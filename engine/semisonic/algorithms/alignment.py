"""Distribution alignment: predictions are scaled so that their running mean becomes a target distribution
(Berthelot et al. 2020, arXiv 1911.09785, section 3.1).

Shape suffixes: U unlabeled batch, C classes, R rows of the window.
"""

import torch
from torch import Tensor, nn


def aligned(p_UC: Tensor, target_C: Tensor, running_C: Tensor, epsilon: float = 0.0) -> Tensor:
    """normalize(p * (target + epsilon) / (running + epsilon)), of the shape of p [U, C]."""
    p_UC = p_UC * (target_C + epsilon) / (running_C + epsilon)
    return p_UC / p_UC.sum(-1, keepdim=True)


class MeanWindow(nn.Module):
    """What a module inherits whose state holds the mean predictions of the last batches, in a ring.

    The mean of a batch is that of the global batch (`collectives.mean` of each rank's). A loss reads `running` of the
    batch's own mean and observes the mean as `mean_C[None]`; `update` commits it, by `push_mean(observed["mean"])`.
    """

    window_RC: Tensor
    """Mean predictions of the last batches."""
    batches: Tensor
    """How many there were in all, 0-d int64."""

    def open_window(self, rows: int, classes: int) -> None:
        """Registers the buffers, to be called by `setup`; rows: at least one."""
        self.register_buffer("window_RC", torch.zeros(rows, classes))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def running(self, mean_C: Tensor) -> Tensor:
        """The mean [C] of the last batches' means, this one's included; of fewer than R batches, of those."""
        return self.extended(mean_C).sum(0) / (self.batches + 1).clamp(max=len(self.window_RC))

    def extended(self, mean_C: Tensor) -> Tensor:
        """The window [R, C] after this batch, whose mean takes the place of the oldest."""
        rows_R = torch.arange(len(self.window_RC), device=mean_C.device)
        newest_R1 = (rows_R == self.batches % len(rows_R))[:, None]
        return torch.where(newest_R1, mean_C.to(self.window_RC.dtype), self.window_RC)

    def push_mean(self, mean_RC: Tensor) -> None:
        """Commits a step's mean, gathered: each rank's row is the global mean [C]."""
        self.window_RC.copy_(self.extended(mean_RC[0]))
        self.batches += 1
