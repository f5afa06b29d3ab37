"""torch's optimizers as they are, but for the compiler that each of them imports when it is made.

torch marks their bookkeeping as nothing to compile, and the mark imports the compiler: a second of a run's start, also
where nothing is compiled. So these call the functions below the mark. A step is torch's own; no graph holds it, since
`torch.compile` is given networks and losses alone.
"""

import inspect
from typing import Any

import torch
from torch.optim import Optimizer

# inspect.unwrap: the function that a decorator was put around, which functools.wraps has noted.
_SGD_STEP: Any = inspect.unwrap(torch.optim.SGD.step)
_ADAMW_STEP: Any = inspect.unwrap(torch.optim.AdamW.step)


class Bookkeeping:
    """What an optimizer does beside its steps, to stand before torch's class among its bases."""

    add_param_group: Any = inspect.unwrap(Optimizer.add_param_group)
    load_state_dict: Any = inspect.unwrap(Optimizer.load_state_dict)
    state_dict: Any = inspect.unwrap(Optimizer.state_dict)
    zero_grad: Any = inspect.unwrap(Optimizer.zero_grad)


class SGD(Bookkeeping, torch.optim.SGD):
    """`torch.optim.SGD`, whose step takes no closure."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        _SGD_STEP(self)


class AdamW(Bookkeeping, torch.optim.AdamW):
    """`torch.optim.AdamW`, whose step takes no closure."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        _ADAMW_STEP(self)
