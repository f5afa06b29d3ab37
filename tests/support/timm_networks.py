"""Networks of timm as `wrapped` has them, with a head of five classes."""

import timm
from torch import nn

from semisonic.models.wrapped import WrappedNetwork

VIT = ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "embed_dim": 24, "num_heads": 2})
"""With its 12 blocks."""


def timm_network(name: str, **options: object) -> WrappedNetwork:
    body = timm.create_model(name, num_classes=5, **options)
    path = body.pretrained_cfg["classifier"]
    body.reset_classifier(0)
    return WrappedNetwork(body, nn.Linear(body.num_features, 5), path)
