"""Networks on torch's device `meta`: shapes without the memory that they take."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


@contextmanager
def without_memory() -> Iterator[None]:
    """Around what makes a network: its tensors are on device `meta`, and no random weights are drawn."""
    with torch.device("meta"), NothingDrawn():
        yield


class NothingDrawn(TorchDispatchMode):
    """Leaves tensors as they are that would be filled with random numbers in place: on `meta`, torch loads its compiler
    for that, 140 MB and a second."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch loads the compiler to leave this class out of what it compiles

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        in_place = func._schema.name.endswith("_")  # type: ignore[attr-defined]
        if in_place and torch.Tag.nondeterministic_seeded in func.tags:  # type: ignore[attr-defined]
            return args[0]
        return func(*args, **(kwargs or {}))
