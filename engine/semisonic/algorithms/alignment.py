"""Distribution alignment: predictions are scaled so that their running mean becomes a target distribution
(Berthelot et al. 2020, arXiv 1911.09785, section 3.1). On logits that is a vector of the classes, which is added.

Shape suffixes: U unlabeled batch, C classes, R rows of the window.
"""

import torch
from torch import Tensor, nn

from semisonic_kernels import collectives

EPSILON = 1e-6
"""Added to both distributions where they are divided."""


def aligned(p_UC: Tensor, target_C: Tensor, running_C: Tensor, epsilon: float = 0.0) -> Tensor:
    """normalize(p * (target + epsilon) / (running + epsilon)), of the shape of p [U, C]."""
    p_UC = p_UC * (target_C + epsilon) / (running_C + epsilon)
    return p_UC / p_UC.sum(-1, keepdim=True)


def alignment(target_C: Tensor, running_C: Tensor, epsilon: float = EPSILON) -> Tensor:
    """log((target + epsilon) / (running + epsilon)) [C]: logits with it added are those of `aligned` probabilities."""
    return (target_C + epsilon).log() - (running_C + epsilon).log()


def mean_prediction(logits_UC: Tensor) -> Tensor:
    """The mean probabilities [C] of the global batch, of which the logits are this rank's share; detached."""
    return collectives.mean(logits_UC.detach().softmax(-1).mean(0))


class MeanWindow(nn.Module):
    """What a module inherits whose state holds the mean predictions of the last batches, in a ring.

    The mean of a batch is that of the global batch (`collectives.mean` of each rank's). A loss reads `running` of the
    batch's own mean and observes the mean as `mean_C[None]`; `update` commits it, by `push_mean(observed["mean"])`.
    """

    window_RC: Tensor
    """Mean predictions of the last batches."""
    batches: Tensor
    """How many there were in all, 0-d int64."""

    def open_window(self, rows: int, classes: int, full: bool = False) -> None:
        """Registers the buffers, to be called by `setup`; rows: at least one.

        full: it begins with R batches that had all classes alike, and not empty.
        """
        self.register_buffer("window_RC", torch.full((rows, classes), 1 / classes if full else 0.0))
        self.register_buffer("batches", torch.full((), rows if full else 0, dtype=torch.int64))

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


class RunningMean(MeanWindow):
    """The running mean of predictions, as a submodule: that of a window, or an exponential average.

    Both have a batch in them before it is aligned.
    """

    average_C: Tensor
    """In place of a window."""

    def __init__(self, rows: int, momentum: float, classes: int, full: bool = False):
        """rows: batches of the window; 0 = an average that begins at 1 / C and keeps `momentum` of itself in a step.
        full: whether a window begins at 1 / C, too, or empty (`open_window`)."""
        super().__init__()
        self.rows, self.momentum = rows, momentum
        if rows:
            self.open_window(rows, classes, full)
        else:
            self.register_buffer("average_C", torch.full((classes,), 1 / classes))

    def running(self, mean_C: Tensor) -> Tensor:
        if self.rows:
            return super().running(mean_C)
        return self.momentum * self.average_C + (1 - self.momentum) * mean_C

    def push_mean(self, mean_RC: Tensor) -> None:
        if self.rows:
            super().push_mean(mean_RC)
        else:
            self.average_C.copy_(self.running(mean_RC[0]))
