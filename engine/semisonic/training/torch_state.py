"""What whoever calls has set in torch for the whole process or for a block of code, and what must not reach a run.

A notebook may have set another default type or device, or have called inside `torch.no_grad()` or an autocast: training
would end with torch's traceback, or, worse, go on and compute something else than the same call elsewhere.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

AUTOCAST = ("cpu", "cuda")
"""Devices whose autocast a run's arithmetic may meet."""


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Inside, new tensors are float32 on the CPU where nothing else is said, as in a new process."""
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))  # which costs something at each call, so not where it is so anyway
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        yield


@contextmanager
def plain_torch() -> Iterator[None]:
    """Inside, torch is as in a new process: plain tensors, gradients, and no autocast but that of who asks for one."""
    with ExitStack() as stack:
        stack.enter_context(plain_tensors())
        for device in AUTOCAST:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield
