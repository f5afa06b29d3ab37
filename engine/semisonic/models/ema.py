"""The exponential moving average of a network: a copy whose parameters are float32 buffers, and its updates."""

import copy
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from semisonic.models.frozen import frozen_tensors
from semisonic.schema import Config, UsedWith


class EmaConfig(Config):
    decay: float = Field(0.999, ge=0, lt=1)
    """Weight of the old average in each update."""
    start_up: Annotated[Literal["none", "tf", "mean_teacher"], UsedWith("decay")] = "tf"
    """Start-up correction at update t: none; tf = min(decay, (1+t)/(10+t)); mean_teacher = min(decay, t/(t+1))."""
    buffers: Annotated[Literal["copied", "averaged"], UsedWith("decay")] = "copied"
    """Floating BatchNorm buffers of the EMA model: copied from the live network, or averaged like parameters."""


def ema_decay(cfg: EmaConfig, updates: Tensor) -> Tensor:
    """Decay of the next update after `updates` of them (0-d), with the start-up correction: a 0-d float64 tensor."""
    t = updates.double()
    decay = torch.full_like(t, cfg.decay)
    if cfg.start_up == "tf":
        decay = torch.minimum(decay, (1 + t) / (10 + t))
    elif cfg.start_up == "mean_teacher":
        decay = torch.minimum(decay, t / (t + 1))
    return decay


class Averages:
    """Pairs the tensors of a network with those of its shadow, and moves the shadow's, in place.

    Made anew after the network was moved or cast, which makes new tensors.
    """

    def __init__(
        self,
        pairs: Mapping[Tensor, Tensor],
        network: nn.Module,
        shadow: nn.Module,
        buffers: Literal["copied", "averaged"],
    ):
        """pairs: parameter -> its average, as `averaged_parameters` says, and maybe others than the network's."""
        from semisonic_kernels.ema import MovingAverage  # Triton takes long to import

        own = dict(shadow.named_buffers())
        averaged: dict[Tensor, Tensor] = {}
        copied: dict[torch.dtype, dict[Tensor, Tensor]] = {}
        for name, buffer in network.named_buffers():
            if own[name] is buffer:
                continue  # shared
            mean = buffers == "averaged" and buffer.is_floating_point()
            (averaged if mean else copied.setdefault(buffer.dtype, {}))[buffer] = own[name]
        self.parameters = MovingAverage(list(pairs.values()), list(pairs))
        self.buffers = MovingAverage(list(averaged.values()), list(averaged))
        self.copied = [(list(group.values()), list(group)) for group in copied.values()]
        """(to, from), in groups of one dtype."""

    def update(self, weight: Tensor, parameters: bool = True) -> None:
        """shadow <- (1 - weight) shadow + weight network (0-d weight); buffers as configured.

        `parameters=False` leaves out the parameters, where the optimizer has moved their averages itself.
        """
        if parameters:
            self.parameters.update(weight)
        self.buffers.update(weight)
        for shadows, live in self.copied:
            torch._foreach_copy_(shadows, live)


def averaged_parameters(network: nn.Module, shadow: nn.Module) -> dict[Tensor, Tensor]:
    """Parameter of the network that is trained -> its average, both kept in place."""
    own = dict(shadow.named_buffers())
    return {parameter: own[name] for name, parameter in network.named_parameters() if parameter.requires_grad}


def share_frozen(network: nn.Module, shadow: nn.Module) -> None:
    """Has the shadow hold the network's own tensors where those are never trained, in place of copies of them.

    Done anew after the network was moved or cast, which makes new tensors. Where a rank holds a part of the network's,
    or they are of another type than an average, the shadow keeps its own.
    """
    for path, name, tensor in frozen_tensors(network):
        buffers = shadow.get_submodule(path)._buffers
        kept = buffers[name]
        if kept is not None and (kept.shape, kept.dtype) == (tensor.shape, tensor.dtype):
            buffers[name] = tensor.detach() if isinstance(tensor, nn.Parameter) else tensor


def shadow_of(network: nn.Module) -> nn.Module:
    """A deep copy of the network whose parameters are float32 buffers.

    As buffers they stay out of optimizers, gradients and DDP buckets, and DeepSpeed does not cast them: an
    average with decay 0.999 kept in bfloat16 would stand still. Tensors that are never trained are the network's own.
    """
    shadow = copy.deepcopy(network)
    for module in shadow.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            value = parameter.detach()
            module.register_buffer(name, value.to(torch.promote_types(value.dtype, torch.float32)).clone())
    share_frozen(network, shadow)
    return shadow
