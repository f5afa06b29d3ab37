"""A head on pairs of images: what was done to the first to get the second.

Shape suffixes: N pairs.
"""

import torch
from torch import Tensor, nn


class Decoder(nn.Module):
    """Finds a transformation's parameters in what an encoder makes of images and of the transformed images."""

    def __init__(self, stage: nn.Module | None, width: int, parameters: int):
        """stage: from maps to features [2N, width], and then a linear layer; None where the encoder gives features,
        on which is one hidden layer.
        """
        super().__init__()
        self.stage = nn.Identity() if stage is None else stage
        hidden = [nn.Linear(2 * width, width), nn.ReLU()] if stage is None else []
        self.find = nn.Sequential(*hidden, nn.Linear(width if hidden else 2 * width, parameters))

    def forward(self, both: Tensor) -> Tensor:
        """The images' maps or features and then the transformed images' [2N, ...] -> [N, parameters]."""
        original, transformed = self.stage(both).chunk(2)
        return self.find(torch.cat([original, transformed], 1))
