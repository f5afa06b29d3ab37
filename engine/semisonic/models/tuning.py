"""What of a network is trained, as `model.freeze` and `model.tune` say."""

from typing import Literal

from torch import nn

from semisonic.models.frozen import freeze
from semisonic.models.networks import ModelConfig


def frozen_part(cfg: ModelConfig) -> Literal["none", "stem", "backbone"]:
    """What of the network is not trained in any way; of adapters, `tune` says it."""
    return "backbone" if cfg.tune == "probe" else cfg.freeze


def tuned(network: nn.Module, cfg: ModelConfig) -> nn.Module:
    """A network with its weights, in place, such that only what is to be trained has gradients.

    Raises `UserError` where a network has no such part.
    """
    if (part := frozen_part(cfg)) != "none":
        freeze(network, part)
    return network


def tuning_problems(cfg: ModelConfig, starts_from_weights: bool, pretext: bool, compile_blocks: bool) -> list[str]:
    """What is wrong with what is to be trained, a line each; builds nothing.

    starts_from_weights: whether the network's weights are not random. pretext: whether the method trains features on a
    task of its own. compile_blocks: whether each block is to be compiled by itself.
    """
    problems = []
    if cfg.tune == "probe" and cfg.freeze == "stem":
        problems.append("model.freeze: a probe (model.tune) trains the head alone; leave out freeze, or use backbone")
    field = "model.tune" if cfg.tune == "probe" else "model.freeze"
    if frozen_part(cfg) == "backbone" and pretext:
        problems.append(f"{field}: a pretext task trains the backbone, which would be frozen; use supervised, or full")
    if frozen_part(cfg) != "none" and not starts_from_weights:
        problems.append(f"{field}: would keep random weights as they are; give model.weights, or init")
    if frozen_part(cfg) == "backbone" and compile_blocks:
        problems.append(f"compile: no block of a frozen backbone ({field}) is trained; use whole")
    return problems
