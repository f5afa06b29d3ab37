"""A trained network as the library that it comes from has it: tensors under that library's names, and the lines of
Python that make the same network there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from semisonic.inference.classifier import Classifier
from semisonic.models import timm_nets, torchvision_nets
from semisonic.models.networks import ModelConfig, build
from semisonic.schema import UserError


@dataclass(frozen=True)
class Elsewhere:
    """How a network is had without the run."""

    library: str
    """What makes it: torchvision, timm or semisonic."""
    state: dict[str, Tensor]
    """Its tensors, as `load_state_dict` of that network takes them."""
    make: Callable[[], nn.Module]
    """The library's own network, with random weights."""
    imports: list[str]
    """Lines of Python, the first ones of a program."""
    code: list[str]
    """Lines that make `network`."""
    notes: list[str]
    """What is unlike that library's usual network, one line each."""


def elsewhere(classifier: Classifier, model: ModelConfig) -> Elsewhere:
    """Raises `UserError` for a network that its library cannot hold."""
    network, classes, size = classifier.network, len(classifier.classes), classifier.image_size
    if isinstance(network, torchvision_nets.TorchvisionNet):
        found = _torchvision(network, classes)
    elif isinstance(network, timm_nets.TimmNet):
        found = _timm(network, classes)
    else:
        return _ours(network, model, classes, size)
    theirs, own = _deviations(found.make()), _deviations(network)
    if theirs != own:
        raise UserError(
            f"model.norm_eps: {found.library}'s own {model.name} adds {_shown(theirs)} to BatchNorm's variance, this "
            f"run {_shown(own)}, which no file of weights says; use --to pt2 or onnx"
        )
    return found


def _torchvision(network: torchvision_nets.TorchvisionNet, classes: int) -> Elsewhere:
    if (problem := torchvision_nets.unlike_own(network)) is not None:
        raise UserError(f"--to safetensors: {problem}; use pt2 or onnx")
    options = "".join(f", {key}={value!r}" for key, value in network.options.items())
    code = [f"network = torchvision.models.get_model({network.name!r}, num_classes={classes}{options})"]
    notes = []
    imports = ["import torchvision"]
    if network.small_stem:
        lines = torchvision_nets.stem_code(network)
        imports = ["import torch, torchvision"] if "torch." in "".join(lines) else imports
        code += lines
        notes.append(
            "The first layers are not torchvision's own: they keep the resolution of small images (model.stem 3x3), so "
            "its network is changed before it takes these weights, as the code shows."
        )
    state = torchvision_nets.own_state(network)
    return Elsewhere("torchvision", state, lambda: torchvision_nets.own_network(network), imports, code, notes)


def _timm(network: timm_nets.TimmNet, classes: int) -> Elsewhere:
    # Without the tag of the weights that the run began with: those are in the file.
    name, options = network.name.removeprefix(timm_nets.PREFIX).partition(".")[0], dict[str, Any](network.options)
    given = "".join(f", {key}={value!r}" for key, value in options.items())
    code = [f"network = timm.create_model({name!r}, num_classes={classes}{given})"]

    def make() -> nn.Module:
        import timm

        return timm.create_model(name, num_classes=classes, **options)

    return Elsewhere("timm", timm_nets.own_state(network), make, ["import timm"], code, [])


def _ours(network: nn.Module, model: ModelConfig, classes: int, size: int) -> Elsewhere:
    # Adapters are part of the weights by now, and what is trained is no matter any more.
    plain = model.model_copy(update={name: ModelConfig.model_fields[name].default for name in ("tune", "freeze")})
    fields = {
        name: value
        for name, value in plain.model_dump(mode="json", exclude_defaults=True).items()
        if name not in ("name", "weights")
    }
    given = "".join(f", {name}={value!r}" for name, value in fields.items())
    code = [f"network = build(ModelConfig(name={model.name!r}{given}), classes={classes}, image_size={size})"]
    note = "The network is this package's own, and its tensors have their names here; semisonic.load takes the run."
    imports = ["from semisonic.models.networks import ModelConfig, build"]
    return Elsewhere(
        "semisonic", dict(network.state_dict()), lambda: build(plain, classes, size), imports, code, [note]
    )


def _deviations(network: nn.Module) -> list[float]:
    """What every normalization adds to its variance, in order."""
    return [float(layer.eps) for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def _shown(values: list[float]) -> str:
    return " and ".join(f"{value:g}" for value in dict.fromkeys(values)) or "nothing"
