"""Counts the messages of a few lines of code, by kind."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class _Counting(TorchDispatchMode):
    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True

    def __init__(self, sent: Counter[str]) -> None:
        super().__init__()
        self.sent = sent

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        space, _, name = func._schema.name.partition("::")
        if space == "_c10d_functional" and name.startswith(("all_", "reduce_")):
            self.sent[name.rstrip("_")] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def counted_messages() -> Iterator[Counter[str]]:
    """Inside, functional collectives are counted, in eager and in compiled code."""
    sent: Counter[str] = Counter()
    with _Counting(sent):
        yield sent
