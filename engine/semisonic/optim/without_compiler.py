"""torch's optimizers as they are, but for the compiler that each of them imports when it is made.

torch marks their bookkeeping as nothing to compile, and the mark imports the compiler: a second of a run's start, also
where nothing is compiled. So these call the functions below the mark. A step is torch's own; no graph holds it, since
`torch.compile` is given networks and losses alone.
"""

import inspect
from typing import Any

import torch
from torch.optim import Optimizer


class Bookkeeping:
    """What an optimizer does beside its steps, to stand before torch's class among its bases."""

    # inspect.unwrap: the function that a decorator was put around, which functools.wraps has noted.
    add_param_group: Any = inspect.unwrap(Optimizer.add_param_group)
    load_state_dict: Any = inspect.unwrap(Optimizer.load_state_dict)
    state_dict: Any = inspect.unwrap(Optimizer.state_dict)
    zero_grad: Any = inspect.unwrap(Optimizer.zero_grad)


class SGD(Bookkeeping, torch.optim.SGD):
    step: Any = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class AdamW(Bookkeeping, torch.optim.AdamW):
    step: Any = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
