"""Networks that draw random numbers as the EfficientNets and ConvNeXts do, of a size for tests."""

from functools import partial

import torch
from torch import nn
from torchvision.models.efficientnet import EfficientNet, MBConvConfig

from semisonic.models.networks import NETWORKS, register_network
from semisonic.models.norm import convert_batch_norm
from semisonic.models.randomness import convert_dropout
from semisonic.models.stochastic_depth import convert_stochastic_depth
from semisonic.models.timm_layers import convert_layers

MBCONV, CONVNEXT = "tiny-mbconv", "tiny-convnext"


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


class TinyConvNeXt(nn.Module):
    """One of timm for images of 16 px, which brings weights along as a plug-in may: the same each time."""

    feature_dim = 32

    def __init__(self, classes: int):
        from timm.models.convnext import ConvNeXt

        super().__init__()
        shape = {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, self.feature_dim), "patch_size": 1}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.body = convert_layers(ConvNeXt(num_classes=0, drop_path_rate=0.2, **shape))
        self.head = nn.Linear(self.feature_dim, classes)

    def features(self, images):
        return self.body(images)

    def forward(self, images):
        return self.head(self.features(images))


def register() -> None:
    if CONVNEXT not in NETWORKS:
        register_network(CONVNEXT, TinyConvNeXt, "ConvNeXt blocks")
    if MBCONV not in NETWORKS:
        register_network(MBCONV, TinyEfficientNet, "MBConv blocks")
