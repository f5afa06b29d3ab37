"""What only shows a run: the console, trackers, pictures. None of it ends one.

All of them are called in one place, after the checkpoint of their step, through `Reporters`. What is part of a run's
results, such as metrics.jsonl and its tables, is none: where that cannot be written, the run ends.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from semisonic.reporting.output import lasting
from semisonic.text import printable

CONSOLE = "console"
MOST = 300
"""Characters of a reason that a line repeats."""


class Reporters:
    """Calls reporters by name; one that fails is told, once, with its reason, and left out for the rest of the process.

    It may be slow in failing, as a tracker whose server has gone is; a run that is resumed tries it again.
    """

    def __init__(self) -> None:
        self.left_out: dict[str, str] = {}
        """Why each was left out, and from which step on."""
        self._later: list[tuple[str, int, Callable[[], object]]] = []

    def later(self, name: str, step: int, action: Callable[..., object], *arguments: object) -> None:
        """Keeps a call until the next `report`. Its arguments must not change meanwhile."""
        self._later.append((name, step, partial(action, *arguments)))

    def report(self) -> None:
        """Does all that was kept, in order."""
        while self._later:
            name, step, action = self._later.pop(0)
            self.attempt(name, step, action)

    def attempt(self, name: str, step: int | None, action: Callable[[], object]) -> bool:
        """Whether it has worked. step: of a run that goes on. What a user's signal raises passes through."""
        if name in self.left_out:
            return False
        try:
            action()
        except Exception as error:  # it may be any library's
            since = "" if step is None else f" from step {step:,} on"
            self.left_out[name] = f"{since}: {reason(error)}"
            _warn(f"{name} is left out{self.left_out[name]}")
        return name not in self.left_out

    def attempt_again(self, name: str, step: int | None, action: Callable[[], object]) -> bool:
        """The same for what comes once, at the end: a full disk may have space a moment later."""
        with suppress(Exception):
            action()
            return True
        return self.attempt(name, step, action)

    def summary(self) -> list[str]:
        """A line for each that was left out, for the run's end."""
        return [f"{name} was left out{why}" for name, why in self.left_out.items()]


def reason(error: BaseException) -> str:
    """What an error says, in one line."""
    text = printable(" ".join(str(error).split()), MOST)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _warn(text: str) -> None:
    print(f"warning: {text}", file=lasting(sys.stderr))
