"""Wide residual networks (Zagoruyko and Komodakis 2016, arXiv 1605.07146) for semi-supervised learning.

wrn-D-K: a 3x3 stem of 16 channels, then stages of pre-activation blocks with widths 16K, 32K, 64K (and 128K),
BatchNorm and LeakyReLU(0.1) in one layer, global average pooling, a linear head. Convolutions have no bias.
Shape suffixes: N batch, H height, W width, D features.
"""

import re
from typing import Literal

from torch import Tensor, nn

from semisonic.models.norm import BatchNorm2d

SLOPE = 0.1
STEM_WIDTH = 16
MOMENTUM = 0.001
EPS = 1e-3


DEEPEST, WIDEST = 1000, 64
"""Largest depth and width factor."""


def parse(name: str) -> tuple[int, int, int] | None:
    """Stages, blocks per stage and widening factor of "wrn-D-K"; None where the name is not such a network.

    D = 6n + 4 gives three stages of n blocks (28, 40, ...), D = 8n + 5 gives four (37, 29, ...). Neither may be so
    large that no machine holds the network.
    """
    match = re.fullmatch(r"wrn-([1-9]\d{0,5})-([1-9]\d{0,5})", name)
    if match is None:
        return None
    depth, factor = int(match[1]), int(match[2])
    if depth > DEEPEST or factor > WIDEST:
        return None
    for stages in (3, 4):
        blocks, rest = divmod(depth - stages - 1, 2 * stages)
        if rest == 0 and blocks >= 1:
            return stages, blocks, factor
    return None


class Block(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm with its activation, added to a shortcut.

    activate_shortcut: the shortcut takes the activated input (first block of the network).
    skip_first_norm: conv1 takes the raw input and bn1 is never used, as in the `port` variant.
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        stride: int,
        activate_shortcut: bool,
        skip_first_norm: bool,
    ):
        super().__init__()
        self.activate_shortcut, self.skip_first_norm = activate_shortcut, skip_first_norm
        self.bn1 = BatchNorm2d(width_in, EPS, MOMENTUM, slope=SLOPE)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn2 = BatchNorm2d(width, EPS, MOMENTUM, slope=SLOPE)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        projects = width_in != width or stride != 1
        self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False) if projects else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, width_in, H, W] -> [N, width, H / stride, W / stride]."""
        activated = x if self.skip_first_norm else self.bn1(x)
        residual = self.conv2(self.bn2(self.conv1(activated)))
        return self.shortcut(activated if self.activate_shortcut else x) + residual


class WideResNet(nn.Module):
    """A wide residual network: images [N, 3, H, W] -> logits [N, classes]; any H and W.

    stages, blocks, factor: as `parse` gives them. first_stride: stride of the first stage.
    residual: "tf" has the semantics of the TensorFlow original: conv1 always takes the activated input, the
    shortcut takes it in the first block and the raw input in all others. "port" has those of the common
    PyTorch ports: the first block of every later stage feeds conv1 with the raw input, which leaves that
    block's bn1 without gradient. Both have the same state_dict.
    """

    def __init__(
        self,
        stages: int,
        blocks: int,
        factor: int,
        classes: int,
        residual: Literal["tf", "port"] = "tf",
        first_stride: int = 1,
    ):
        super().__init__()
        self.stem = nn.Conv2d(3, STEM_WIDTH, 3, 1, 1, bias=False)
        width, layers = STEM_WIDTH, []
        for stage in range(stages):
            for position in range(blocks):
                width_in, width = width, STEM_WIDTH * factor * 2**stage
                opens = position == 0
                layers.append(
                    Block(
                        width_in,
                        width,
                        stride=(2 if stage else first_stride) if opens else 1,
                        activate_shortcut=opens and stage == 0,
                        skip_first_norm=opens and stage > 0 and residual == "port",
                    )
                )
        self.blocks, self.last = nn.Sequential(*layers), blocks
        self.norm = BatchNorm2d(width, EPS, MOMENTUM, slope=SLOPE)
        self.feature_dim = width
        self.head = nn.Linear(width, classes)
        self.apply(_initialize)

    def features(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] -> pooled activations [N, D]."""
        return self.top(self.trunk(images))

    def trunk(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] -> what enters the last stage, [N, C, H', W']."""
        maps = self.stem(images)
        for block in list(self.blocks)[: -self.last]:
            maps = block(maps)
        return maps

    def top(self, maps: Tensor) -> Tensor:
        """What `trunk` gives -> pooled activations [N, D]."""
        for block in list(self.blocks)[-self.last :]:
            maps = block(maps)
        return self.norm(maps).mean((2, 3))

    def last_stage(self) -> nn.Module:
        """The modules of `top`, not copied, as one module: maps [N, C, H', W'] -> [N, D]."""
        return nn.Sequential(*list(self.blocks)[-self.last :], self.norm, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] -> logits [N, classes]."""
        return self.head(self.features(images))


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        nn.init.zeros_(module.bias)
