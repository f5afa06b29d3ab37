"""A gradient inside the loss, by an image in place of the parameters."""

from collections.abc import Callable

import torch
from torch import Tensor


def input_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of a scalar function at x, detached: for a step inside the step, as VAT's power iteration is.

    Leaves every parameter's .grad and all that hangs on it (hooks of DDP and DeepSpeed) alone, in eager code and
    inside one compiled graph, where torch.autograd.grad cannot be. What the function reads besides x is a constant;
    it must change nothing, so its forwards have `track=False`.
    """
    if torch.compiler.is_compiling():
        with torch.no_grad():  # holds outside of the transform only: no graph of the gradient itself
            gradient: Tensor = torch.func.grad(function)(x.detach())
            return gradient
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(function(x), x)[0]
