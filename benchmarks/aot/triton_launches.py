"""Every form in which the engine launches a Triton kernel: each calls a launcher as the engine does, on CPU tensors.

What the launcher gives its kernel is noted in place of a launch, so that signatures, constants and options are those of
the engine's own calls. Sizes are small where the signature does not depend on them.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from semisonic_kernels import augment_mix_triton, augment_triton, ema, sgd
from semisonic_kernels.multi_tensor import Launch

MODULES = (augment_mix_triton, augment_triton, ema, sgd)
FILL = (125, 123, 114)
ELEMENTS = 5000
"""Of a tensor that is averaged or moved: more than one program's."""


@dataclass(frozen=True)
class Launched:
    """One launch of a kernel."""

    kernel: Any
    name: str
    """MODULE.KERNEL."""
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    options: dict[str, Any]


class Noting:
    """Stands for a kernel: `kernel[grid](...)` notes the launch."""

    def __init__(self, kernel: Any, name: str, launches: list[Launched]):
        self.kernel, self.name, self.launches = kernel, name, launches

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def note(*arguments: Any, **options: Any) -> None:
            self.launches.append(Launched(self.kernel, self.name, grid, arguments, options))

        return note


def launches_of(name: str) -> list[Launched]:
    """What a form's launcher launches, in order."""
    launches: list[Launched] = []
    with ExitStack() as stack:
        for module in MODULES:
            for attribute in [own for own in vars(module) if own.endswith("_kernel")]:
                known = f"{module.__name__.rpartition('.')[2]}.{attribute}"
                noting = Noting(getattr(module, attribute), known, launches)
                stack.enter_context(mock.patch.object(module, attribute, noting))
        FORMS[name]()
    return launches


def _numbers(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.zeros(ELEMENTS, dtype=dtype)]


def _average(source: torch.dtype) -> None:
    launch = Launch([ELEMENTS], torch.device("cpu"))
    ema.lerp_launch(launch, _numbers(), _numbers(source), torch.tensor(0.01, dtype=torch.float64))


def _momentum(rates_by_layer: bool) -> None:
    rate = torch.tensor(0.03)
    optimizer = sgd.SgdWithAverage(_numbers(), _numbers(), _numbers(), [5e-4], momentum=0.9, nesterov=True)
    optimizer.step(_numbers(), [rate] if rates_by_layer else rate, torch.tensor(0.01, dtype=torch.float64))


def _augment(levels: int, holes: bool, size: int = 32, pillow: bool = False, extended: bool = False) -> None:
    images, count = torch.zeros(2, size, size, 3, dtype=torch.uint8), 2
    operations, values = torch.zeros(count, levels, dtype=torch.int32), torch.zeros(count, levels)
    hole = torch.zeros(count, 4, dtype=torch.int32) if holes else None
    augment_triton.augment_launch(
        images, operations, values, torch.zeros(count, levels, 2, 3), hole, FILL, pillow, extended
    )


def _mix(size: int = 32) -> None:
    images = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    augment_mix_triton.mix_chains_launch(images, torch.zeros(2, 3, size, size, 3, dtype=torch.uint8), torch.zeros(2, 4))


FORMS: dict[str, Callable[[], None]] = {
    "ema": partial(_average, torch.float32),
    "ema of bfloat16": partial(_average, torch.bfloat16),
    "sgd and ema": partial(_momentum, rates_by_layer=False),
    "sgd and ema, rates by layers": partial(_momentum, rates_by_layer=True),
    "augment": partial(_augment, 2, holes=True),
    "augment as pillow": partial(_augment, 2, holes=True, pillow=True),
    "augment without hole": partial(_augment, 2, holes=False),
    "augment, all operations": partial(_augment, 2, holes=True, extended=True),
    "augment, all operations, without hole": partial(_augment, 5, holes=False, extended=True),
    "augment of 28 pixels": partial(_augment, 2, holes=True, size=28),
    "hole alone": partial(_augment, 0, holes=True),
    "augmix": _mix,
}
"""28 pixels are no multiple of 16, which Triton compiles another kernel for; SimCLR's view has the third last form."""
