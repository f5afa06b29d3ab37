"""What methods remember of images: a queue of the newest ones' rows, and a bank with a row for each labeled one.

Both are one for all ranks: they are written from rows gathered in global order, identically everywhere, and read by
losses. Unit vectors are of an embedding, whose scalar products are cosines.
Shape suffixes: N rows of the global batch, R rows of a queue, L labeled set, U unlabeled batch, P dimensions,
C classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic_kernels.losses import one_hot


class Queue(nn.Module):
    """The newest R rows of several tables, such as Queue(2560, z=64, p=10); to begin with all are 0.

    After any number of pushes of any numbers of rows, exactly the newest R are there, in a ring.
    """

    pushed: Tensor
    """How many rows there were in all, 0-d int64."""

    def __init__(self, rows: int, **widths: int):
        super().__init__()
        self.rows = rows
        self.tables = tuple(widths)
        for name, width in widths.items():
            self.register_buffer(name, torch.zeros(rows, width))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))

    def table(self, name: str) -> Tensor:
        """[R, width]; rows that two tables have at the same place were pushed together."""
        return self.get_buffer(name)

    def full(self) -> Tensor:
        """Whether R rows were pushed, 0-d bool."""
        return self.pushed >= self.rows

    def push(self, **rows: Tensor) -> None:
        """Adds rows [N, width] to every table in the place of the oldest."""
        count = len(rows[self.tables[0]])
        kept = min(count, self.rows)  # of more than there is room for, the last
        place_N = (self.pushed + count - kept + torch.arange(kept, device=self.pushed.device)) % self.rows
        for name in self.tables:
            self.table(name)[place_N] = rows[name][count - kept :].to(self.table(name).dtype)
        self.pushed += count


class Bank(nn.Module):
    """A unit vector and the label of every labeled image that was visited."""

    vectors: Tensor
    """[L, P]; 0 of images not visited yet."""
    labels: Tensor
    """int64 [L]; -1 of images not visited yet."""

    def __init__(self, images: int, width: int):
        super().__init__()
        self.register_buffer("vectors", torch.zeros(images, width))
        self.register_buffer("labels", torch.full((images,), -1, dtype=torch.int64))

    def visited(self) -> Tensor:
        """bool [L]."""
        return self.labels >= 0

    def similarities(self, z_UP: Tensor, temperature: float) -> Tensor:
        """Logits [U, L] by which an image finds the like among those that were visited."""
        cosine_UL = z_UP @ self.vectors.T.to(z_UP.dtype)
        # Not -inf: where none was visited, a softmax would be NaN.
        return (cosine_UL / temperature).masked_fill(~self.visited(), torch.finfo(z_UP.dtype).min)

    def by_class(self, share_UL: Tensor, classes: int) -> Tensor:
        """Sums of shares over the images of a class [U, C]."""
        return share_UL @ one_hot(self.labels, classes).to(share_UL.dtype)

    def of_label(self, p_UC: Tensor) -> Tensor:
        """The probability of every image's label [U, L]; 0 of images not visited yet."""
        return p_UC @ one_hot(self.labels, p_UC.shape[1]).to(p_UC.dtype).T

    def visit(self, index_N: Tensor, z_NP: Tensor, label_N: Tensor, momentum: float) -> None:
        """b <- normalize(momentum b + (1 - momentum) z) of the images visited, over the dimensions of the embedding.

        z of an image that comes several times is the mean of its z.
        """
        order_N = torch.arange(len(index_N), device=index_N.device)
        same_NN = index_N[:, None] == index_N
        first_N = torch.where(same_NN, order_N, len(order_N)).amin(1)
        # A product, not a sum by index, whose order is not fixed on a GPU; float64, so that it is one on all devices.
        mean_NP = same_NN.double() @ z_NP.double() / same_NN.sum(1, keepdim=True)
        mixed_NP = momentum * self.vectors[index_N].double() + (1 - momentum) * mean_NP
        # The rows of an image that comes several times are written from one and the same.
        self.vectors[index_N] = F.normalize(mixed_NP, dim=1)[first_N].to(self.vectors.dtype)
        self.labels[index_N] = label_N
