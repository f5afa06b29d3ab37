"""A small convolutional network for images of 16 to 32 px: trains on the embedded digits in minutes on a CPU.

Shape suffixes: N batch, H height, W width, D features.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.models.norm import BatchNorm2d

WIDTHS = (16, 32, 64, 96)
STRIDES = (1, 2, 2, 1)
MOMENTUM = 0.1
EPS = 1e-5


class Small(nn.Module):
    """Four 3x3 convolutions with BatchNorm and ReLU, average pooling and a linear head: 80,000 parameters.

    Images [N, 3, H, W] -> logits [N, classes]; any H and W.
    """

    def __init__(self, classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for width_out, stride in zip(WIDTHS, STRIDES, strict=True):
            layers += [
                nn.Conv2d(width, width_out, 3, stride, 1, bias=False),
                BatchNorm2d(width_out, EPS, MOMENTUM),
                nn.ReLU(),
            ]
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
