"""SGD with momentum (Sutskever et al. 2013) and the moving average of its parameters, in one pass over memory.

    d <- g + decay * p;  m <- momentum * m + d;  p <- p - lr * (d + momentum * m, or m without Nesterov)
    a <- a + weight * (p - a)

as in torch.optim.SGD without dampening, whose first step equals one from momentum 0.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from semisonic_kernels.ema import TYPES, lerp
from semisonic_kernels.multi_tensor import BLOCK, Launch, laid_out_alike


class SgdWithAverage:
    """One launch of a Triton kernel on CUDA; for tensors on the CPU use torch's fused SGD and `MovingAverage`.

    parameters: T floating tensors of one dtype. momenta: as many of the same shapes. averages: as many, or None for
    parameters that have none. decays: T weight decays (coupled, L2). Raises ValueError where something does not fit.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        momenta: Sequence[Tensor],
        averages: Sequence[Tensor | None],
        decays: Sequence[float],
        momentum: float,
        nesterov: bool,
    ):
        self.parameters, self.momenta, self.averages = list(parameters), list(momenta), list(averages)
        self.decays, self.momentum, self.nesterov = list(decays), momentum, nesterov
        for column in (momenta, averages, decays):
            if len(column) != len(self.parameters):
                raise ValueError(f"sgd: {len(self.parameters)} parameters but {len(column)} of something else")
        for position in range(len(self.parameters)):
            _check(position, self.parameters, self.momenta[position], self.averages[position])
        device = self.parameters[0].device
        self.launch = Launch([parameter.numel() for parameter in self.parameters], device)
        self.decays_T = torch.tensor(self.decays, dtype=torch.float64, device=device)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], lr: Tensor | Sequence[Tensor], weight: Tensor) -> None:
        """gradients: T tensors; a parameter whose gradient is None stays, and its average still moves.

        lr: 0-d floating tensor, or one of a single dtype for each of the T parameters; weight: 0-d floating tensor,
        1 - decay of the average; all on the device. Nothing waits for the device.
        """
        rates = [] if isinstance(lr, Tensor) else list(lr)
        if rates and (len(rates) != len(self.parameters) or any(rate.dtype != rates[0].dtype for rate in rates)):
            raise ValueError(f"sgd: {len(rates)} rates of one dtype are needed for {len(self.parameters)} parameters")
        for position, gradient in enumerate(gradients):
            if gradient is not None:
                _check(position, self.parameters, gradient)
        columns = [self.parameters, gradients, self.momenta, self.averages, *([rates] if rates else [])]
        table = self.launch.addresses(*columns)
        _kernel[(self.launch.programs,)](
            table,
            self.launch.blocks,
            self.launch.sizes,
            self.decays_T,
            rates[0] if rates else lr,
            weight,
            len(columns),
            self.momentum,
            self.nesterov,
            TYPES[self.parameters[0].dtype],
            BLOCK,
        )


@torch.no_grad()
def sgd_with_average_reference(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    momenta: Sequence[Tensor],
    averages: Sequence[Tensor | None],
    decays: Sequence[float],
    lr: Tensor | Sequence[Tensor],
    momentum: float,
    nesterov: bool,
    weight: Tensor,
) -> None:
    """`SgdWithAverage.step`, one tensor after the other in plain torch."""
    rates = [lr] * len(parameters) if isinstance(lr, Tensor) else lr
    for p, g, m, average, decay, rate in zip(parameters, gradients, momenta, averages, decays, rates, strict=True):
        if g is not None:
            d = g + decay * p
            m.copy_(momentum * m + d)
            p -= rate.to(p.dtype) * (d + momentum * m if nesterov else m)
        if average is not None:
            average += weight.to(average.dtype) * (p - average)


@triton.jit
def _kernel(
    table, blocks, sizes, decays, lr, weight,
    COLUMNS: tl.constexpr, MOMENTUM: tl.constexpr, NESTEROV: tl.constexpr, DTYPE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    tensor, first = tl.load(blocks + 2 * program), tl.load(blocks + 2 * program + 1)
    offsets = first + tl.arange(0, BLOCK)
    inside = offsets < tl.load(sizes + tensor)
    parameters = tl.load(table + COLUMNS * tensor).to(tl.pointer_type(DTYPE)) + offsets
    gradient_at, average_at = tl.load(table + COLUMNS * tensor + 1), tl.load(table + COLUMNS * tensor + 3)
    parameter = tl.load(parameters, mask=inside)
    if gradient_at != 0:
        momenta = tl.load(table + COLUMNS * tensor + 2).to(tl.pointer_type(DTYPE)) + offsets
        direction = tl.load(gradient_at.to(tl.pointer_type(DTYPE)) + offsets, mask=inside)
        direction += tl.load(decays + tensor).to(DTYPE) * parameter
        velocity = MOMENTUM * tl.load(momenta, mask=inside) + direction
        velocity = velocity.to(DTYPE)
        tl.store(momenta, velocity, mask=inside)
        if NESTEROV:
            velocity = (direction + MOMENTUM * velocity).to(DTYPE)
        if COLUMNS == 5:  # a rate for each tensor
            lr = tl.load(table + COLUMNS * tensor + 4).to(lr.dtype)
        parameter = parameter - tl.load(lr).to(DTYPE) * velocity
        tl.store(parameters, parameter, mask=inside)
    if average_at != 0:
        averages = average_at.to(tl.pointer_type(DTYPE)) + offsets
        average = tl.load(averages, mask=inside)
        tl.store(averages, lerp(average, parameter, tl.load(weight).to(DTYPE)), mask=inside)


def _check(position: int, parameters: Sequence[Tensor], *others: Tensor | None) -> None:
    parameter, first = parameters[position], parameters[0]
    for other in (parameter, *others):
        if other is None:
            continue
        if other.shape != parameter.shape or other.dtype != first.dtype or other.device != first.device:
            raise ValueError(
                f"sgd: at position {position} a tensor is {other.dtype} {list(other.shape)} on {other.device}, but "
                f"{first.dtype} {list(parameter.shape)} on {first.device} is needed"
            )
        if other.dtype not in TYPES or not laid_out_alike(parameter, other):
            raise ValueError(f"sgd: at position {position} the tensors are not floating tensors laid out alike")
