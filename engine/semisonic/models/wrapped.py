"""A network of the user's own: any module that ends in an nn.Linear, made what the networks of this package are.

Shape suffixes: N batch, D features.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from semisonic.models.randomness import RandomLayer
from semisonic.models.timm_layers import convert_layers, convert_timm_layers
from semisonic.schema import UserError

GIVEN = "given"
"""`model.name` of such a network, which no configuration can build."""

NetworkFactory = Callable[[int], nn.Module]
"""Number of classes -> a new network, its weights drawn from torch's generator: images [N, 3, H, W] -> logits
[N, classes]."""

PROBED = 2
"""Images in the forward by which a network is checked."""


class WrappedNetwork(nn.Module):
    """A module without its last linear layer, and that layer: images [N, 3, H, W] -> logits [N, classes].

    The layer's place in the module, `head_path`, is taken by an nn.Identity. BatchNorm and dropout become ours. The
    state dict is the module's: `body.NAME`, and `head.weight` and `head.bias`.
    """

    def __init__(self, body: nn.Module, head: nn.Linear, head_path: str):
        super().__init__()
        self.body, self.head, self.head_path = body, head, head_path
        self.feature_dim = head.in_features

    def features(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] -> the head's input [N, D]."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] -> logits [N, classes]."""
        return self.head(self.features(images))


def build_given(factory: NetworkFactory, classes: int, image_size: int) -> nn.Module:
    """The network that a factory makes, with `features`, `head` and `feature_dim`, in training mode.

    Raises UserError where its output is not what its last nn.Linear makes of [N, D], one number for each class; tried
    with two images, in evaluation mode.
    """
    module = factory(classes)
    if not isinstance(module, nn.Module):
        raise UserError(f"network: called with {classes}, it returned no nn.Module but {type(module).__name__}")
    _with_errors_told(convert_timm_layers, module)  # attention that computes otherwise from here on is probed so
    module.eval()
    if _is_ours(module):
        ours: Any = module
        made = _probe(lambda images: ours.head(ours.features(images)), image_size)
        if not made.equal(_probe(module, image_size)):
            raise UserError("network: it has features and a head, but head(features(images)) is not what it makes")
        return _converted(module).train()
    path, head, features, logits = _find_head(module, classes, image_size)
    if not _probe(module, image_size).equal(logits):
        raise UserError("network: in evaluation mode it gives two answers for the same images; nothing may draw there")
    _check_training(module, head, path, image_size)
    for parent in list(module.modules()):
        for name, child in parent._modules.items():
            if child is head:
                parent._modules[name] = nn.Identity()
    network = WrappedNetwork(_converted(module), head, path).eval()
    again = _probe(network.features, image_size)
    if not again.equal(features) or not _probe(network, image_size).equal(logits):
        raise UserError(
            f"network: what enters its last nn.Linear ({path}) changes where something else takes its place"
        )
    return network.train()


def _is_ours(module: nn.Module) -> bool:
    """Whether a module has what this package's networks have: then it stays as it is."""
    made = isinstance(getattr(module, "head", None), nn.Linear) and callable(getattr(module, "features", None))
    return made and isinstance(getattr(module, "feature_dim", None), int)


def _check_training(module: nn.Module, head: nn.Linear, path: str, image_size: int) -> None:
    """Raises UserError where the output in training is not that of the head, or no parameter is trained."""
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise UserError("network: none of its parameters is trained (requires_grad)")
    made: list[Tensor] = []
    before = [buffer.clone() for buffer in module.buffers()]
    hook = head.register_forward_hook(lambda _, inputs, output: made.append(output))
    try:
        with torch.random.fork_rng(devices=[]):
            output: object = _probe(module.train(), image_size)
    finally:
        hook.remove()
        module.eval()
        for buffer, value in zip(module.buffers(), before, strict=True):
            buffer.copy_(value)
    if not isinstance(output, Tensor) or len(made) != 1 or not output.equal(made[0]):
        raise UserError(
            f"network: in training its output is not that of its last nn.Linear ({path}); let it end there too"
        )


def _probe(network: Callable[[Tensor], Tensor], image_size: int) -> Tensor:
    images = torch.randn(PROBED, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            return network(images)
    except Exception as error:  # whatever code of the user raises
        raise UserError(
            f"network: its forward fails on float images {list(images.shape)}: {type(error).__name__}: {error}"
        ) from error


def _find_head(module: nn.Module, classes: int, image_size: int) -> tuple[str, nn.Linear, Tensor, Tensor]:
    """The layer that makes the output, where it stands, its input [2, D] and the output [2, classes] for two images."""
    called: list[tuple[str, nn.Linear, Tensor, Tensor]] = []

    def watch(name: str, layer: nn.Linear) -> torch.utils.hooks.RemovableHandle:
        return layer.register_forward_hook(lambda _, inputs, output: called.append((name, layer, inputs[0], output)))

    hooks = [watch(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    try:
        logits = _probe(module, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    kind = type(module).__name__
    if not called:
        raise UserError(f"network: no nn.Linear of {kind} is called; its output must be that of one, the classifier")
    path, head, features, output = called[-1]
    if not isinstance(logits, Tensor) or logits.shape != (PROBED, classes):
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(
            f"network: {kind} makes {shape} of {PROBED} images; logits [{PROBED}, {classes}] are needed, one for each "
            "class (it is called with their number)"
        )
    alone = sum(layer is head for _, layer, *_ in called) == 1
    if not alone or features.ndim != 2 or not output.equal(logits):
        raise UserError(
            f"network: the output of {kind} is not that of its last nn.Linear ({path}); let it end there, once, with "
            "logits: no softmax and no other layer after it"
        )
    return path, head, features, logits


def _converted(body: nn.Module) -> nn.Module:
    return _with_errors_told(convert_layers, body)


def _with_errors_told(convert: Callable[[nn.Module], nn.Module], module: nn.Module) -> nn.Module:
    try:
        return convert(module)
    except ValueError as error:
        raise UserError(f"network: {error}") from error


def network_fingerprint(network: nn.Module) -> str:
    """What tells networks apart that cannot continue each other's runs (hex): names, shapes and types of all tensors,
    and the modules as they are printed. Weights and code do not count."""
    digest = hashlib.sha256()
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        path, _, own = name.rpartition(".")
        if own == "layer" and isinstance(network.get_submodule(path), RandomLayer):
            continue  # the number of a layer, which those of earlier versions had not
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}\n".encode())
    digest.update(re.sub(r"0x[0-9a-fA-F]+", "", repr(network)).encode())
    return digest.hexdigest()[:32]
