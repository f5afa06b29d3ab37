"""Metrics on the device: sums while training, exact counts in evaluation. Reading them is the only host sync."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.contract import Rank
from semisonic.faults import reach
from semisonic.training.intervals import interval_of_few

Watcher = Callable[[Tensor, Tensor, Tensor], object]
"""Called with the logits [N, C], labels [N] and validity [N] of a slice of an evaluation."""
SUMS = "meter/sums"
"""What a checkpoint has of a meter: beside the state of the optimizers, which are named after roles."""


class Meter:
    """Means of named scalars and vectors since the last reading, over steps and ranks.

    Its tensors keep their addresses.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, int | None] = {}
        """Name -> length of a vector; None for a scalar."""
        self.sums: Tensor | None = None
        """Every metric's sum, one after the other, and the number of steps: [K + 1]."""
        self.saved: tuple[dict[str, int | None], Tensor] | None = None
        """Sizes and this rank's sums of a checkpoint, which the first step goes on from."""

    @torch.no_grad()
    def add(self, metrics: dict[str, Tensor]) -> None:
        """Accumulates 0-d and 1-d tensors without waiting for the device; the same names and sizes every time."""
        parts = [value.detach().float().reshape(-1) for value in metrics.values()]
        values = torch.cat([*parts, torch.ones_like(parts[0][:1])])
        if self.sums is None:
            self.sizes = {name: len(value) if value.ndim else None for name, value in metrics.items()}
            self.sums = torch.zeros_like(values)
            if self.saved and self.saved[0] == self.sizes:  # else another version's metrics: they start anew
                self.sums.copy_(self.saved[1])
        self.sums += values

    def read(self) -> dict[str, float | list[float]]:
        """Waits for the device, returns the means and starts anew; empty where nothing was added."""
        reach("meter")
        if self.sums is None:
            return {}
        totals = self.sums.clone()
        self.sums.zero_()
        if dist.is_initialized():
            dist.all_reduce(totals)
        *sums, count = totals.tolist()
        if not count:
            return {}
        means, metrics = iter([total / count for total in sums]), dict[str, float | list[float]]()
        for name, size in self.sizes.items():
            metrics[name] = next(means) if size is None else [next(means) for _ in range(size)]
        return metrics

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps beside `sizes`: the sums of every rank, [world, K + 1]; nothing before a first step.

        Waits for no device. All ranks must ask for it.
        """
        reach("sums")
        if self.sums is None:
            return {}
        if not dist.is_initialized():
            return {SUMS: self.sums[None]}
        sums_WK = self.sums.new_empty(dist.get_world_size(), len(self.sums))
        dist.all_gather(list(sums_WK.unbind()), self.sums)
        return {SUMS: sums_WK}

    def load_state(self, sizes: dict[str, int | None], tensors: Mapping[str, Tensor], rank: Rank) -> int:
        """The reverse of `state`, before the first step; returns for how many steps the sums stand.

        At another world size, rank 0 goes on with the sums of all. A checkpoint of earlier versions has none.
        """
        if SUMS not in tensors:
            return 0
        sums_WK = tensors[SUMS]
        if len(sums_WK) == rank.world_size:
            own = sums_WK[rank.rank]
        elif rank.is_main:  # as if as many ranks as there are now had added them, so that every step counts as much
            own = sums_WK.sum(0) * (rank.world_size / len(sums_WK))
        else:
            own = torch.zeros_like(sums_WK[0])
        self.saved = (sizes, own)
        return int(sums_WK[0, -1])


class Throughput:
    """Images a second and the share of time spent waiting for data, since the last reading and without pauses."""

    def __init__(self) -> None:
        self.mark = (time.perf_counter(), 0.0)
        self.images = 0
        """That were read since then."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time inside (evaluation, checkpoints) does not count."""
        begin = time.perf_counter()
        yield
        self.mark = (self.mark[0] + time.perf_counter() - begin, self.mark[1])

    def read(self, wait_seconds: float) -> dict[str, float]:
        """`wait_seconds`: the loader's total wait so far. Read after the device is waited for."""
        now = time.perf_counter()
        seconds = now - self.mark[0]
        result = {
            "images_per_second": self.images / seconds,
            "data_wait": (wait_seconds - self.mark[1]) / seconds,
        }
        self.mark, self.images = (now, wait_seconds), 0
        return result


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one network on one set of images; accuracies in percent."""

    top1: float
    top5: float
    loss: float
    per_class: list[float]
    """Accuracy of each class, which is its recall; nan where the set has no image of it."""
    confusion: list[list[int]]
    """[true class][predicted class] counts."""

    @property
    def count(self) -> int:
        """Images."""
        return self.counts[1]

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of top-1 where there are few images, in percent."""
        return interval_of_few(self.top1, self.count)

    @property
    def recall(self) -> list[float]:
        """Of each class: the share of its images that are predicted to be of it, in percent."""
        return self.per_class

    @property
    def precision(self) -> list[float]:
        """Of each class: the share of right ones among the predictions of it, in percent; nan where there are none."""
        predicted = [sum(row[c] for row in self.confusion) for c in range(len(self.confusion))]
        return [
            100 * row[c] / n if n else math.nan
            for c, (row, n) in enumerate(zip(self.confusion, predicted, strict=True))
        ]

    @property
    def f1(self) -> list[float]:
        """Of each class: 2 tp / (2 tp + fp + fn) in percent; nan where it has neither images nor predictions."""
        found = []
        for c, row in enumerate(self.confusion):
            total = sum(row) + sum(other[c] for other in self.confusion)
            found.append(200 * row[c] / total if total else math.nan)
        return found

    @property
    def counts(self) -> tuple[int, int]:
        """Images that are classified correctly, and all."""
        return sum(row[c] for c, row in enumerate(self.confusion)), sum(map(sum, self.confusion))

    def scalars(self) -> dict[str, float]:
        return {"top1": self.top1, "top5": self.top5, "loss": self.loss}


def or_null(values: Sequence[float]) -> list[float | None]:
    """Metrics by class as files have them: None, in JSON null, where there is none."""
    return [None if math.isnan(value) else value for value in values]


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Inside, a module and all that it holds is in evaluation mode; after it, each in the mode that it was in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@torch.no_grad()
def evaluate(
    predict: Callable[[Tensor], Tensor],
    slices: Iterable[tuple[Tensor, Tensor, Tensor]],
    classes: int,
    everywhere: bool = True,
    seen: Watcher | None = None,
) -> Evaluation:
    """Evaluates `predict` (images -> logits [N, C]) over (images, labels [N], valid [N]) slices of every rank.

    Integer counts and float64 loss sums are reduced over the ranks, so metrics do not depend on the world size;
    everywhere=False leaves other ranks out. Images without a label (-1) do not count. seen: hears of every slice.
    """
    counts: Tensor | None = None
    loss = torch.zeros(())
    for images, labels, valid in slices:
        reach("evaluation")
        logits = predict(images)
        valid = valid & (labels >= 0)
        labels = labels.clamp(min=0)
        if seen:
            seen(logits, labels, valid)
        if counts is None:
            counts = torch.zeros(classes * classes + 1, dtype=torch.int64, device=logits.device)
            loss = torch.zeros((), dtype=torch.float64, device=logits.device)
        cell = labels * classes + logits.argmax(-1)
        counts[:-1].scatter_add_(0, cell, valid.long())
        top5 = (logits.topk(min(5, classes), dim=-1).indices == labels[:, None]).any(-1)
        counts[-1] += (top5 & valid).sum()
        loss += (F.cross_entropy(logits.double(), labels, reduction="none") * valid).sum()
    if counts is None:
        raise ValueError("nothing to evaluate: no slices")
    reach("counts")
    if everywhere and dist.is_initialized():
        dist.all_reduce(counts)
        dist.all_reduce(loss)
    confusion = counts[:-1].view(classes, classes).cpu().double()
    total = confusion.sum().item()
    diagonal = confusion.diagonal()
    return Evaluation(
        top1=100 * diagonal.sum().item() / total,
        top5=100 * counts[-1].item() / total,
        loss=loss.item() / total,
        per_class=(100 * diagonal / confusion.sum(1)).tolist(),
        confusion=counts[:-1].view(classes, classes).tolist(),
    )
