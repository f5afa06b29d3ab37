"""A network that draws random numbers as the EfficientNets do, of a size for tests."""

from functools import partial

from torch import nn
from torchvision.models.efficientnet import EfficientNet, MBConvConfig

from semisonic.models.networks import NETWORKS, register_network
from semisonic.models.norm import convert_batch_norm
from semisonic.models.randomness import convert_dropout
from semisonic.models.stochastic_depth import convert_stochastic_depth

MBCONV = "tiny-mbconv"


class TinyEfficientNet(nn.Module):
    """Two stages of MBConv blocks with stochastic depth, and dropout before the pooled features' head."""

    feature_dim = 32

    def __init__(self, classes: int):
        super().__init__()
        stages = [MBConvConfig(1, 3, 1, 8, 8, 2, 1, 1), MBConvConfig(2, 3, 2, 8, 8, 2, 1, 1)]
        body = EfficientNet(stages, 0.3, 0.5, classes, partial(nn.BatchNorm2d, momentum=0.1), last_channel=32)
        body.classifier[1], self.head = nn.Identity(), nn.Linear(self.feature_dim, classes)
        self.body = convert_dropout(convert_stochastic_depth(convert_batch_norm(body)))

    def features(self, images):
        return self.body(images)

    def forward(self, images):
        return self.head(self.features(images))


def register() -> None:
    if MBCONV not in NETWORKS:
        register_network(MBCONV, TinyEfficientNet, "MBConv blocks")
