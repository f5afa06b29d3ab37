"""What is computed of the images of a part: features alone, or labels with all that tells how sure they are.

Shape suffixes: N images, C classes, D features, T classes that are named, K weak views.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semisonic.daily.passes.images import Known
from semisonic.inference.batches import Batches, Found
from semisonic.inference.outputs import Trained
from semisonic.inference.reading import AS_USUAL, Reading
from semisonic.inference.sources import Sources

TOP = 5
"""Classes that are named of each image."""
VIEWS = 6
"""Weak views of each image."""


@dataclass(frozen=True, eq=False)
class Made:
    """What was made of the images of a part that are what they were."""

    rows: np.ndarray
    """int64 [N]: rows of the step's work."""
    changed: list[tuple[int, str]]
    """Rows of images that are others by now, and the reason."""
    arrays: dict[str, np.ndarray]
    """[N, ...] each; empty where there are no rows."""


class Maker:
    """Makes arrays of images, a batch at a time."""

    views = 0
    """Weak views of each image, which come after the plain one."""

    def __init__(self, network: Trained, images: Known, batch: int = 64, reading: Reading = AS_USUAL):
        self.network, self.images, self.batch, self.reading = network, images, batch, reading

    @property
    def sources(self) -> Sources:
        return self.images.sources

    def outputs(self, found: Found, check: Callable[[int], object]) -> Made:
        """Of the images that can be used. check: is called after each batch with the number of its images, and may
        raise. Raises `UserError` and `OSError` where a file is not any more what was found."""
        found, changed = self.images.unchanged(found)
        made: list[Mapping[str, np.ndarray]] = []
        with closing(Batches(self.network, self.sources, self.batch, self.views).of(found)) as batches:
            for images, count in batches:
                made.append({name: value[:count].cpu().numpy() for name, value in self.of(images).items()})
                check(count)
        arrays = {name: np.concatenate([batch[name] for batch in made]) for name in (made[0] if made else {})}
        return Made(found.rows, changed, arrays)

    def of(self, images: Sequence[Tensor]) -> dict[str, Tensor]:
        """Of the views of a batch, the plain one first, each [N, 3, S, S] on the scale 0..255."""
        raise NotImplementedError


def unit(features_ND: Tensor) -> Tensor:
    """Rows of length 1, float16; of one that is zero, zeros."""
    return torch.nn.functional.normalize(features_ND.float(), dim=1).half()


class Embedder(Maker):
    """What enters the network's head."""

    @torch.no_grad()
    def of(self, images: Sequence[Tensor]) -> dict[str, Tensor]:
        return {"features": unit(self.network.features(images[0]))}


class Labeler(Maker):
    """The label of each image and who agrees with it.

    top int64 [N, T] and p float32 [N, T]: the most probable classes on the plain image, of equal ones the first, and
    their probabilities; top[:, 0] is the label. views, run, folds float32 [N]: the mean probability of the label over
    weak views, over the run's snapshots and over the networks of its folds. calibrated float32 [N]: its probability at
    a temperature. features float16 [N, D].
    """

    views = VIEWS

    def __init__(
        self,
        network: Trained,
        images: Known,
        snapshots: Sequence[Trained] = (),
        folds: Sequence[Trained] = (),
        temperature: float | None = None,
        batch: int = 64,
        reading: Reading = AS_USUAL,
    ):
        """snapshots: none where the run kept but one network, whose own probability is then its mean."""
        super().__init__(network, images, batch, reading)
        self.snapshots, self.folds, self.temperature = snapshots, folds, temperature

    @torch.no_grad()
    def of(self, images: Sequence[Tensor]) -> dict[str, Tensor]:
        plain, *weak = images
        features = self.network.features(plain)
        logits_NC = self.network.head_of(features)
        p_NT, top_NT = logits_NC.softmax(-1).sort(dim=-1, descending=True, stable=True)
        p_NT, top_NT = p_NT[:, :TOP], top_NT[:, :TOP]
        label_N1 = top_NT[:, :1]
        made = {"top": top_NT, "p": p_NT, "features": unit(features)}
        made["views"] = _mean(self.network(view).softmax(-1).gather(1, label_N1)[:, 0] for view in weak)
        made["run"] = _agreement(self.snapshots, plain, label_N1) if self.snapshots else p_NT[:, 0]
        if self.folds:
            made["folds"] = _agreement(self.folds, plain, label_N1)
        if self.temperature is not None:
            made["calibrated"] = (logits_NC / self.temperature).softmax(-1).gather(1, label_N1)[:, 0]
        return made


def _agreement(networks: Sequence[Trained], plain: Tensor, label_N1: Tensor) -> Tensor:
    """The mean probability of the label, [N]."""
    return _mean(network(plain).softmax(-1).gather(1, label_N1)[:, 0] for network in networks)


def _mean(values: Iterator[Tensor]) -> Tensor:
    total, count = next(values), 1
    for value in values:
        total, count = total + value, count + 1
    return total / count
