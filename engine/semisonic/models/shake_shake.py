"""Shake-Shake residual networks (Gastaldi 2017, arXiv 1705.07485).

    training, forward     y = s(x) + a F1(x) + (1-a) F2(x)
    training, backward    dL/dF1 = b dL/dy,  dL/dF2 = (1-b) dL/dy
    evaluation            y = s(x) + (F1(x) + F2(x)) / 2

a and b ~ U(0, 1), independent of each other, one pair for each image and block; the EMA in training mode draws its own
too. F is ReLU, 3x3 convolution, BatchNorm, ReLU, 3x3 convolution, BatchNorm; s is the identity, or where the width
changes ReLU, two 1x1 convolutions of half the width, one on the pixels and one on the image shifted by a pixel,
side by side, and BatchNorm.

The numbers come from a counter over the images' places in the global batch, as those of all layers that draw do: see
`models/randomness.py`.
Shape suffixes: N batch, H height, W width, D features.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.models.norm import BatchNorm2d
from semisonic.models.randomness import RandomLayer, draws_now

STEM_WIDTH = 16
MOMENTUM = 0.1
EPS = 1e-5


DEEPEST, WIDEST = 1000, 1024
"""Largest depth and width."""


def parse(name: str) -> tuple[int, int] | None:
    """Blocks per stage and width of "shake-shake-D-2xWd" with D = 6n + 2 (26); None where the name is no such one."""
    match = re.fullmatch(r"shake-shake-([1-9]\d{0,5})-2x([1-9]\d{0,5})d", name)
    if match is None:
        return None
    depth, width = int(match[1]), int(match[2])
    if depth > DEEPEST or width > WIDEST:
        return None
    blocks, rest = divmod(depth - 2, 6)
    return (blocks, width) if rest == 0 and blocks >= 1 and width % 2 == 0 else None


class _Shake(torch.autograd.Function):
    """a one + (1-a) two, whose backward has another coefficient b in place of a.

    In the `setup_context` form because `torch.func.grad` accepts no other.
    """

    @staticmethod
    def forward(one: Tensor, two: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.lerp(two, one, a)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[3])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (b,) = ctx.saved_tensors
        return grad * b, grad * (1 - b), None, None


def shake(one: Tensor, two: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Two branches [N, D, H, W] mixed by a [N, 1, 1, 1], their gradients by b [N, 1, 1, 1]; all of one dtype."""
    return _Shake.apply(one, two, a, b)


class Branch(nn.Module):
    """One of a block's two branches, from its activated input on: [N, width_in, H, W] -> [N, width, ...]."""

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = BatchNorm2d(width, EPS, MOMENTUM, slope=0)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = BatchNorm2d(width, EPS, MOMENTUM)

    def forward(self, activated: Tensor) -> Tensor:
        return self.bn2(self.conv2(self.bn1(self.conv1(activated))))


class Shortcut(nn.Module):
    """Two pixel-shifted halves of an activated input, for another width or resolution."""

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(width_in, width // 2, 1, bias=False)
        self.conv2 = nn.Conv2d(width_in, width // 2, 1, bias=False)
        self.norm = BatchNorm2d(width, EPS, MOMENTUM)

    def forward(self, activated: Tensor) -> Tensor:
        """[N, width_in, H, W] -> [N, width, H / stride, W / stride]."""
        shifted = F.pad(activated[:, :, 1:, 1:], (0, 1, 0, 1))
        halves = (self.conv1(self._taken(activated)), self.conv2(self._taken(shifted)))
        return self.norm(torch.cat(halves, 1))

    def _taken(self, images: Tensor) -> Tensor:
        return images[:, :, :: self.stride, :: self.stride]


class Block(RandomLayer):
    """A residual block of two branches: [N, width_in, H, W] -> [N, width, H / stride, W / stride]."""

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__()
        self.branch1 = Branch(width_in, width, stride)
        self.branch2 = Branch(width_in, width, stride)
        self.shortcut = Shortcut(width_in, width, stride) if width_in != width or stride != 1 else None
        self.add_number()

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(x)
        one, two = self.branch1(activated), self.branch2(activated)
        if draws_now(self):
            a, b = self.uniforms(x, 2).to(one.dtype).view(2, -1, 1, 1, 1)
            mixed = shake(one, two, a, b)
        else:
            mixed = (one + two) / 2
        return mixed + (x if self.shortcut is None else self.shortcut(activated))


class ShakeShake(nn.Module):
    """A Shake-Shake network: images [N, 3, H, W] -> logits [N, classes]; any H and W from 4 px.

    blocks, width: as `parse` gives them; three stages of widths width, 2 width and 4 width, strides 1, 2, 2.
    """

    def __init__(self, blocks: int, width: int, classes: int):
        super().__init__()
        self.stem = nn.Conv2d(3, STEM_WIDTH, 3, 1, 1, bias=False)
        self.stem_norm = BatchNorm2d(STEM_WIDTH, EPS, MOMENTUM)
        width_in, layers = STEM_WIDTH, []
        for stage in range(3):
            for position in range(blocks):
                layers.append(Block(width_in, width * 2**stage, 2 if stage and position == 0 else 1))
                width_in = width * 2**stage
        self.blocks = nn.Sequential(*layers)
        self.feature_dim = width_in
        self.head = nn.Linear(width_in, classes)
        nn.init.zeros_(self.head.bias)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] -> pooled activations [N, D]."""
        return F.relu(self.blocks(self.stem_norm(self.stem(images)))).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] -> logits [N, classes]."""
        return self.head(self.features(images))
