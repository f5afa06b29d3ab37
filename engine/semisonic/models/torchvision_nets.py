"""Torchvision's classifiers with random weights, as `features` and a linear `head`, on small images too.

Shape suffixes: N batch, H height, W width, D features.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from semisonic.models.norm import convert_batch_norm
from semisonic.models.randomness import convert_dropout
from semisonic.schema import UserError

SMALL_IMAGE = 64
"""Up to this size in pixels, stem "auto" takes the 3x3 stem."""
NO_AUXILIARY_HEADS: dict[str, Any] = {"aux_logits": False, "init_weights": True}
RESIDUAL = ("resnet", "resnext", "wide_resnet")
SCALED_STEM = (*RESIDUAL, "efficientnet")
SMALLEST_IMAGE = {
    "alexnet": 63,
    "convnext": 32,
    "densenet": 29,
    "googlenet": 16,
    "inception": 75,
    "squeezenet": 21,
    "vgg": 32,
}
SIZE_MULTIPLE = {
    "vit_b_16": 16,
    "vit_b_32": 32,
    "vit_h_14": 14,
    "vit_l_16": 16,
    "vit_l_32": 32,
    "maxvit": 224,
}
"""Networks whose image size is fixed when they are built."""
REGISTERED = re.compile(r"""@register_model\((?:name=)?["']?(\w*)["']?\)\n(?:@.*\n)*def (\w+)\(""")
"""How torchvision lists a network in its source: under a name, or that of the function."""


@cache
def names() -> list[str]:
    """The name of every classifier in torchvision, in order."""
    # Read in its source files: importing torchvision takes as long as importing torch, and a list needs none of it.
    spec = find_spec("torchvision")
    assert spec is not None and spec.submodule_search_locations  # it is installed with this package
    files = (Path(spec.submodule_search_locations[0]) / "models").glob("*.py")
    found = [REGISTERED.findall(path.read_text()) for path in files]
    return sorted(alias or function for pairs in found for alias, function in pairs)


def has_small_stem(name: str) -> bool:
    """Whether stem "3x3" exists for the network."""
    return name.startswith(SCALED_STEM)


def size_error(name: str, image_size: int) -> str | None:
    """Why the network cannot take images of this size in pixels, or None."""
    for prefix, multiple in SIZE_MULTIPLE.items():
        if name.startswith(prefix) and image_size % multiple:
            return f"{name} needs an image size that is a multiple of {multiple}, not {image_size}"
    for prefix, smallest in SMALLEST_IMAGE.items():
        if name.startswith(prefix) and image_size < smallest:
            return f"{name} needs images of at least {smallest} px, not {image_size}"
    return None


class TorchvisionNet(nn.Module):
    """A torchvision classifier cut before its last linear layer: images [N, 3, H, W] -> logits [N, classes].

    name: torchvision's. stem "3x3" keeps the resolution that a small image has: for residual networks a 3x3
    convolution of stride 1 and no max-pooling, for efficientnets stride 1 in the first convolution. "7x7" is
    the network's own stem; "auto" takes "3x3" where it exists and images have at most 64 px.
    SqueezeNet's head is a linear layer on the pooled features, not a 1x1 convolution, ReLU and pooling.
    Inception and GoogLeNet are built without auxiliary heads. BatchNorm, dropout and stochastic depth are ours.
    Raises UserError where the network has no linear classifier to replace.
    """

    def __init__(
        self,
        name: str,
        classes: int,
        image_size: int,
        stem: Literal["auto", "3x3", "7x7"] = "auto",
    ):
        from torchvision import models as zoo

        from semisonic.models.stochastic_depth import convert_stochastic_depth

        super().__init__()
        options: dict[str, Any] = {}
        if name in ("googlenet", "inception_v3"):
            options = NO_AUXILIARY_HEADS
        elif name.startswith("vit"):
            options = {"image_size": image_size}
        elif name.startswith("maxvit"):
            options = {"input_size": (image_size, image_size)}
        body = zoo.get_model(name, weights=None, num_classes=classes, **options)
        self.name, self.options = name, options
        self.small_stem = has_small_stem(name) and (stem == "3x3" or (stem == "auto" and image_size <= SMALL_IMAGE))
        if self.small_stem:
            _shrink_stem(body, name)
        self.head_path, self.head = _detach_head(body, name, classes)
        self.body = convert_dropout(convert_stochastic_depth(convert_batch_norm(body)))
        self.feature_dim = self.head.in_features

    def features(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] -> the head's input [N, D]."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] -> logits [N, classes]."""
        return self.head(self.features(images))


def own_state(network: TorchvisionNet) -> dict[str, Tensor]:
    """The network's tensors under torchvision's own names, as the `load_state_dict` of `own_network` takes them."""
    places = {"body": "", "head": f"{network.head_path}."}
    parts = ((*key.partition(".")[::2], value) for key, value in network.state_dict().items())
    return {places[part] + rest: value for part, rest, value in parts}


def own_network(network: TorchvisionNet) -> nn.Module:
    """Torchvision's network of this kind, with the same first layers and random weights."""
    from torchvision import models as zoo

    made = zoo.get_model(network.name, weights=None, num_classes=network.head.out_features, **network.options)
    if network.small_stem:
        _shrink_stem(made, network.name)
    return made


def unlike_own(network: TorchvisionNet) -> str | None:
    """Why torchvision's own network cannot compute what this one does, or None."""
    if network.name.startswith("squeezenet"):
        return f"{network.name}'s head is a linear layer here, and a convolution in torchvision"
    return None


def stem_code(network: TorchvisionNet) -> list[str]:
    """Lines of Python that give torchvision's `network` the first layers for small images."""
    if network.name.startswith(RESIDUAL):
        width = network.body.get_submodule("conv1").out_channels
        return [
            f"network.conv1 = torch.nn.Conv2d(3, {width}, 3, 1, 1, bias=False)",
            "network.maxpool = torch.nn.Identity()",
        ]
    return ["network.features[0][0].stride = (1, 1)"]


def _shrink_stem(body: Any, name: str) -> None:
    if name.startswith(RESIDUAL):
        body.conv1 = nn.Conv2d(3, body.conv1.out_channels, 3, 1, 1, bias=False)
        nn.init.kaiming_normal_(body.conv1.weight, mode="fan_out", nonlinearity="relu")
        body.maxpool = nn.Identity()
    else:
        body.features[0][0].stride = (1, 1)


def _detach_head(body: Any, name: str, classes: int) -> tuple[str, nn.Linear]:
    """Torchvision's name of the classifier, and the classifier itself, which the body no longer contains."""
    if name.startswith("squeezenet"):
        dropout, convolution, _, pool = body.classifier
        body.classifier = nn.Sequential(dropout, pool)
        return "classifier.1", nn.Linear(convolution.in_channels, classes)
    linear = [(path, module) for path, module in body.named_modules() if isinstance(module, nn.Linear)]
    if not linear or linear[-1][1].out_features != classes:
        raise UserError(f"model.name: {name} has no linear classifier as its last layer; choose another network")
    path, head = linear[-1]
    parent, _, attribute = path.rpartition(".")
    setattr(body.get_submodule(parent), attribute, nn.Identity())
    return path, head
