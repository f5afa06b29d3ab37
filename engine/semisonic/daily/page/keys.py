"""The keys that classes have on the page unless a reviewer gives them others."""

from collections.abc import Sequence

DIGITS = "1234567890"
_DIGITS = frozenset(DIGITS)
TAKEN = frozenset("xunsghq")
"""Letters that are the page's own."""


def keys_of(names: Sequence[str]) -> list[str | None]:
    """A key for each class in its order: digits, then a free letter of its name. None: there is none for it.

    A class that is called by a digit has that digit: whoever sees a 3 presses 3, wherever the class 3 stands."""
    own = {name for name in names if name in _DIGITS}
    free = iter([digit for digit in DIGITS if digit not in own])
    used = set(TAKEN)
    found: list[str | None] = []
    for name in names:
        wanted = name if name in own else next(free, None) or _letter(name, used)
        found.append(wanted)
        if wanted is not None:
            used.add(wanted)
    return found


def _letter(name: str, used: set[str]) -> str | None:
    own = [letter for letter in name.lower() if letter.isascii() and letter.isalpha()]
    return next((letter for letter in (*own, *"abcdefghijklmnopqrstuvwxyz") if letter not in used), None)
