"""LARS: a learning rate for each layer, for batches of thousands (You et al. 2017, arXiv 1708.03888).

    g <- grad + decay w
    r  = 0.001 |w| / |g|, or 1 where either norm is 0        how far a layer may be trusted to go
    v <- momentum v + lr r g
    w <- w - v

As SimCLR's authors train: the rate is inside the momentum, which their schedule feels, and biases and the parameters of
normalization take part in neither decay nor adaptation (r = 1). Norms are over a whole parameter, so that no rank can
have a part of it.
"""

from typing import Any

import torch
from torch import Tensor

from semisonic.optim.without_compiler import Bookkeeping

TRUST = 0.001
"""Of a layer's norm, how much a step of rate 1 changes; the same in both papers."""
MOMENTUM = "momentum_buffer"


class LARS(Bookkeeping, torch.optim.Optimizer):
    """`adapted` of a group says whether its parameters have rates of their own; `lr` is a 0-d tensor on their device.

    Nothing waits for the device, so that a step may be part of a CUDA graph.
    """

    def __init__(self, groups: list[dict[str, Any]], momentum: float):
        super().__init__(groups, {"momentum": momentum, "adapted": True, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            weights = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not weights:
                continue
            for weight in weights:
                if MOMENTUM not in self.state[weight]:
                    self.state[weight][MOMENTUM] = torch.zeros_like(weight)
            momenta = [self.state[weight][MOMENTUM] for weight in weights]
            gradients: Any = [weight.grad for weight in weights]
            if group["weight_decay"]:
                gradients = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
            rates = trust_ratios(weights, gradients, group["lr"]) if group["adapted"] else group["lr"]
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, torch._foreach_mul(gradients, rates))
            torch._foreach_sub_(weights, momenta)


def trust_ratios(weights: list[Tensor], gradients: list[Tensor], lr: Tensor) -> list[Tensor]:
    """The learning rate of each parameter: 0-d tensors."""
    of_weights, of_gradients = (torch.stack(torch._foreach_norm(tensors)) for tensors in (weights, gradients))
    known = (of_weights > 0) & (of_gradients > 0)
    ratios = torch.where(known, TRUST * of_weights / of_gradients, 1.0)
    return list((ratios * lr.to(ratios.dtype)).unbind())
