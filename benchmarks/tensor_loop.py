"""A plain PyTorch loop without a data loader: FixMatch on images that stay in memory as one tensor, augmented by the
batch on the CPU. What somebody writes who knows PyTorch well and needs nothing else.

Torch's own layers, crops by one gather, torchvision's RandAugment(2, 10) with every operation done on all images of the
batch that drew it, one warp for all that move pixels, SGD and EMA over all tensors at once, and no value that is read
in a step.

Shape suffixes: N images, H height, W width, R images that drew one operation.
"""

import copy
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as V

from conventional import build_network, build_optimizer, learning_rate_factor
from conventional_data import Endless
from semisonic.config.run_config import RunConfig
from semisonic.data.sets.base import DataSet, Images
from semisonic.data.sets.splits import Split

LEVELS = 2
GRAY = 127
STRENGTH = 10 / 30
"""Of torchvision's magnitude 10."""
SIGNED: tuple[Callable[[Tensor, float], Tensor], ...] = (
    V.adjust_brightness, V.adjust_saturation, V.adjust_contrast, V.adjust_sharpness,
)  # fmt: skip
"""By a factor of 1 - 0.9 STRENGTH or 1 + 0.9 STRENGTH."""
PLAIN: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda images: V.posterize(images, 8 - round(4 * STRENGTH)),
    lambda images: V.solarize(images, 255 * (1 - STRENGTH)),
    V.autocontrast,
    V.equalize,
)
MOVES = 5
"""Shears and translations along x and y, and rotations; the last operation leaves the image as it is."""
COUNT = MOVES + len(SIGNED) + len(PLAIN) + 1


def moved(images_R: Tensor, operation_R: Tensor, sign_R: Tensor) -> Tensor:
    """uint8 [R, 3, H, W], each warped by its own operation, black around; the nearest pixel counts."""
    size = images_R.shape[-1]
    angle_R = torch.deg2rad(30 * STRENGTH * sign_R) * (operation_R == 4)
    shear_R, shift_R = 0.3 * STRENGTH * sign_R, 2 * round(150 / 331 * size * STRENGTH) / size * sign_R
    theta = torch.zeros(len(sign_R), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = angle_R.cos()
    theta[:, 0, 1] = shear_R * (operation_R == 0) - angle_R.sin()
    theta[:, 1, 0] = shear_R * (operation_R == 1) + angle_R.sin()
    theta[:, 0, 2], theta[:, 1, 2] = shift_R * (operation_R == 2), shift_R * (operation_R == 3)
    grid = F.affine_grid(theta, list(images_R.shape), align_corners=False)
    return F.grid_sample(images_R.float(), grid, mode="nearest", align_corners=False).to(torch.uint8)


def rand_augmented(images: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] after two operations of RandAugment at magnitude 10; in place."""
    for _ in range(LEVELS):
        operation_N, sign_N = torch.randint(COUNT, (len(images),)), torch.randint(2, (len(images),)) * 2 - 1
        rows = (operation_N < MOVES).nonzero().squeeze(1)
        images[rows] = moved(images[rows], operation_N[rows], sign_N[rows].float())
        for number, adjust in enumerate(SIGNED, start=MOVES):
            for sign in (-1, 1):
                rows = ((operation_N == number) & (sign_N == sign)).nonzero().squeeze(1)
                if len(rows):
                    images[rows] = adjust(images[rows], 1 + 0.9 * STRENGTH * sign)
        for number, change in enumerate(PLAIN, start=MOVES + len(SIGNED)):
            if len(rows := (operation_N == number).nonzero().squeeze(1)):
                images[rows] = change(images[rows])
    return images


def cut_out(images: Tensor) -> Tensor:
    """A gray square of half the image's width, its center uniform, clipped at the border."""
    size = images.shape[-1]
    first = torch.randint(size, (2, len(images), 1)) - size // 2 // 2
    place = torch.arange(size)
    inside_y, inside_x = (place >= first) & (place < first + size // 2)
    hole = inside_y[:, None, :, None] & inside_x[:, None, None, :]
    return images.masked_fill_(hole, GRAY)


class TensorLoop:
    """The training loop on a data set in memory."""

    def __init__(self, cfg: RunConfig, data: DataSet, split: Split):
        assert isinstance(data.train, Images)
        self.cfg, self.data, pad = cfg, data, data.pad
        padded = np.pad(data.train.pixels, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
        self.pixels, self.truth = torch.from_numpy(padded), torch.from_numpy(data.train.labels)
        self.mean, self.std = (255 * torch.tensor(values).view(1, 3, 1, 1) for values in (data.mean, data.std))
        self.orders = [
            (torch.from_numpy(rows), iter(Endless(len(rows), cfg.seed + number)))
            for number, rows in enumerate((split.labeled, split.unlabeled))
        ]
        self.network = build_network(cfg.model, len(data.classes), data.size).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = build_optimizer(self.network, cfg.optim)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, cfg.optim, cfg.steps)
        )
        self.updates = 0

    def draw(self, stream: int, count: int) -> Tensor:
        """Indices of the next images of a stream."""
        rows, order = self.orders[stream]
        return rows[list(islice(order, count))]

    def weak(self, index_N: Tensor) -> Tensor:
        """uint8 [N, 3, H, W]: random crops of the reflected images, half of them flipped where the data may be."""
        size, pad, count = self.data.size, self.data.pad, len(index_N)
        top, left = torch.randint(2 * pad + 1, (2, count, 1))
        place = torch.arange(size)
        columns = left + place
        if self.data.flip:
            columns = torch.where(torch.rand(count, 1) < 0.5, left + place.flip(0), columns)
        crops_NHWC = self.pixels[index_N[:, None, None], (top + place)[:, :, None], columns[:, None, :]]
        return crops_NHWC.permute(0, 3, 1, 2)

    def normalized(self, images: Tensor) -> Tensor:
        return (images.float() - self.mean) / self.std

    def step(self) -> None:
        batch, own = self.cfg.batch, self.cfg.algorithm
        labeled, unlabeled = self.draw(0, batch.labeled), self.draw(1, batch.unlabeled)
        strong = cut_out(rand_augmented(self.weak(unlabeled).contiguous()))
        views = torch.cat((self.weak(labeled), self.weak(unlabeled), strong))
        logits = self.network(self.normalized(views).contiguous(memory_format=torch.channels_last))
        seen, weak, strong = logits.split((len(labeled), len(unlabeled), len(unlabeled)))
        confidence, pseudo = weak.detach().softmax(-1).max(-1)
        unlabeled_loss = F.cross_entropy(strong, pseudo, reduction="none") * (confidence >= own.threshold)
        loss = F.cross_entropy(seen, self.truth[labeled]) + own.weight * unlabeled_loss.mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        self.follow()

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the average by a step."""
        decay = min(self.cfg.ema.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        torch._foreach_copy_(list(self.average.buffers()), list(self.network.buffers()))
        self.updates += 1


def predictions(network: Any, data: DataSet, images: np.ndarray) -> Tensor:
    """The classes that a network of normalized images sees in uint8 [N, H, W, 3]."""
    mean, std = (255 * torch.tensor(values).view(1, 3, 1, 1) for values in (data.mean, data.std))
    with torch.no_grad():
        parts = torch.from_numpy(images).split(256)
        return torch.cat([network((part.permute(0, 3, 1, 2).float() - mean) / std).argmax(1) for part in parts])
