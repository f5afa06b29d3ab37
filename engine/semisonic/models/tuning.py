"""What of a network is trained, as `model.freeze` and `model.tune` say."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from semisonic.models.adapters import (
    add_adapters,
    chosen,
    is_adapter,
    linear_layers,
    merged_tensors,
    missing_package,
    plain_name,
    scale_of,
)
from semisonic.models.frozen import freeze
from semisonic.models.networks import ModelConfig
from semisonic.models.outline import sketch
from semisonic.schema import UserError

CLASSES = 2
"""Of the network by which linear layers are looked for."""


def frozen_part(cfg: ModelConfig) -> Literal["none", "stem", "backbone"]:
    """What of the network is not trained in any way; of adapters, `tune` says it."""
    return "backbone" if cfg.tune == "probe" else cfg.freeze


def tuned(network: nn.Module, cfg: ModelConfig, image_size: int) -> nn.Module:
    """A network with its weights, in place, such that only what is to be trained has gradients; with adapters, whose
    values are drawn from torch's generator, where `tune` is lora.

    Raises `UserError` where a network has no such part.
    """
    if cfg.tune == "lora":
        scale = scale_of(cfg.lora_rank, cfg.lora_alpha)
        add_adapters(network, image_size, cfg.lora_rank, scale * cfg.lora_rank, cfg.lora_layers)
    elif (part := frozen_part(cfg)) != "none":
        freeze(network, part)
    return network


def without_adapters(tensors: Mapping[str, Tensor], model: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a network as a run keeps them as those of the plain network: adapters are folded into the weights.

    model: the section of the run's configuration; earlier versions' say nothing of adapters.
    """
    if model.get("tune") != "lora":
        return dict(tensors)
    return merged_tensors(tensors, scale_of(model.get("lora_rank", 1), model.get("lora_alpha")))


def base_names(network: nn.Module) -> dict[str, str]:
    """Name of a tensor of the plain network -> its name in the network that is trained, which may have adapters."""
    return {plain_name(name): name for name in network.state_dict() if not is_adapter(name)}


def tuning_problems(
    cfg: ModelConfig, image_size: int, starts_from_weights: bool, own_task: bool, compile_blocks: bool
) -> list[str]:
    """What is wrong with what is to be trained, a line each; a network is built without its memory at most.

    starts_from_weights: whether the network's weights are not random. own_task: whether the method trains features on a
    task of its own. compile_blocks: whether each block is to be compiled by itself.
    """
    if cfg.tune == "lora":
        return _lora_problems(cfg, image_size, starts_from_weights)
    problems = []
    if cfg.tune == "probe" and cfg.freeze == "stem":
        problems.append("model.freeze: a probe (model.tune) trains the head alone; leave out freeze, or use backbone")
    field = "model.tune" if cfg.tune == "probe" else "model.freeze"
    if frozen_part(cfg) == "backbone" and own_task:
        problems.append(f"{field}: a pretext task trains the backbone, which would be frozen; use supervised, or full")
    if frozen_part(cfg) != "none" and not starts_from_weights:
        problems.append(f"{field}: would keep random weights as they are; give model.weights, model.pretrained or init")
    if frozen_part(cfg) == "backbone" and compile_blocks:
        problems.append(f"compile: no block of a frozen backbone ({field}) is trained; use whole")
    return problems


def _lora_problems(cfg: ModelConfig, image_size: int, starts_from_weights: bool) -> list[str]:
    problems = []
    if cfg.freeze != "none":
        problems.append("model.freeze: lora (model.tune) trains adapters and the head alone; leave out freeze")
    if not starts_from_weights:
        problems.append(
            "model.tune: lora would keep random weights as they are; give model.weights, model.pretrained or init"
        )
    if missing := missing_package():
        return [*problems, missing]
    try:
        network = sketch(cfg, CLASSES, image_size)
        if network is not None:
            chosen(linear_layers(network, image_size), cfg.lora_layers)
    except UserError as error:
        problems += [line for line in error.messages if line.startswith(("model.tune", "model.lora"))]
    except (NotImplementedError, RuntimeError):
        pass  # a plug-in's that looks at values: seen once it is built
    return problems
