"""A small convolutional network for images of 16 to 32 px: trains on the embedded digits in minutes on a CPU.

Shape suffixes: N batch, H height, W width, D features.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.models.norm import BatchNorm2d

WIDTHS = (16, 32, 64, 96)
POOLED = (True, True, False, False)
MOMENTUM = 0.1
EPS = 1e-5


class Small(nn.Module):
    """Four 3x3 convolutions with BatchNorm and ReLU, average pooling and a linear head: 80,000 parameters.

    Max-pooling follows the first two convolutions: with strided ones instead, errors on the digits are
    twice as frequent at the same speed. Images [N, 3, H, W] -> logits [N, classes]; H and W from 4 px.
    """

    def __init__(self, classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for width_out, pooled in zip(WIDTHS, POOLED, strict=True):
            layers += [
                nn.Conv2d(width, width_out, 3, padding=1, bias=False),
                BatchNorm2d(width_out, EPS, MOMENTUM, slope=0),
                nn.Identity(),  # the place of an activation of its own, so that saved weights keep their names
            ]
            if pooled:
                layers.append(nn.MaxPool2d(2))
            width = width_out
        self.layers = nn.Sequential(*layers)
        self.feature_dim = width
        self.head = nn.Linear(width, classes)
        for module in self.layers:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] -> pooled activations [N, D]."""
        return F.adaptive_avg_pool2d(self.layers(images), 1).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] -> logits [N, classes]."""
        return self.head(self.features(images))
