"""The data path that the engine is compared with, as public PyTorch implementations of FixMatch run it: a DataLoader
whose worker processes turn one image after the other into PIL, augment it with torchvision and normalize it.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import transforms

Transform = Callable[[Any], Any]


class Cutout:
    """Fills a square of half the image's width with mid gray, its center uniform, clipped at the border."""

    def __call__(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        side = width // 2
        x, y = (int(torch.randint(length, ())) - side // 2 for length in (width, height))
        image = image.copy()
        ImageDraw.Draw(image).rectangle((x, y, x + side - 1, y + side - 1), (127, 127, 127))
        return image


class PilViews(Dataset):
    """Views of resident images uint8 [N, H, W, 3] with labels [N], at the given indices.

    "labeled": (weak, label); "unlabeled": ((weak, strong), label). Views are float32 [3, H, W], normalized. Weak is
    a flip (with `flip`) and a crop from the image reflected by `pad` pixels; strong is another weak view, two of
    torchvision's RandAugment operations at magnitude 10, and Cutout.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        labels: np.ndarray,
        indices: np.ndarray,
        mode: Literal["labeled", "unlabeled"],
        flip: bool,
        pad: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ):
        if mode not in ("labeled", "unlabeled"):
            raise ValueError(f"PilViews: mode must be 'labeled' or 'unlabeled', not {mode!r}")
        self.pixels, self.labels, self.indices, self.mode = pixels, labels, indices, mode
        moved: list[Transform] = [transforms.RandomHorizontalFlip()] if flip else []
        moved.append(transforms.RandomCrop(pixels.shape[1:3], padding=pad, padding_mode="reflect"))
        finished: list[Transform] = [transforms.ToTensor(), transforms.Normalize(mean, std)]
        self.weak = transforms.Compose([*moved, *finished])
        self.strong = transforms.Compose([*moved, transforms.RandAugment(2, 10), Cutout(), *finished])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Any, int]:
        index = self.indices[position]
        image, label = Image.fromarray(self.pixels[index]), int(self.labels[index])
        if self.mode == "labeled":
            return self.weak(image), label
        return (self.weak(image), self.strong(image)), label


class Endless(Sampler[int]):
    """Epoch after epoch without end, each a fresh permutation of the data set."""

    def __init__(self, size: int, seed: int):
        self.size, self.seed = size, seed

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            yield from torch.randperm(self.size, generator=generator).tolist()


def make_loader(dataset: PilViews, batch: int, workers: int, seed: int) -> DataLoader:
    """An endless loader of shuffled batches; page-locked where there is a GPU. `workers` = 0 works in this process."""
    return DataLoader(
        dataset,
        batch_size=batch,
        sampler=Endless(len(dataset), seed),
        num_workers=workers,
        drop_last=True,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        prefetch_factor=2 if workers else None,
        generator=torch.Generator().manual_seed(seed),
    )
