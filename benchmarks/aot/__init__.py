"""What can be known of the GPU path without a GPU. `without_gpu.py` runs the parts, each a module with these names:

    ABOUT: str                        what its table holds, in one line
    VERSIONS: tuple[str, ...]         what its numbers depend on, as `measure.environment` calls it ("torch", "triton");
                                      () where they are the engine's own and are compared always
    SECONDS: float                    time limit of its process
    CASES: tuple[str, ...]            names of its rows, in order
    rows(names) -> {name: row}        makes these rows; a row is plain data, as JSON has it (no tuples, keys are text)
    broken(name, row) -> [str]        the rules that the row breaks, one line each; they hold with every version
    grown(name, row, stored) -> [str] the numbers of the row that are worse than in the stored row of its name

`rows` runs in a process of its own, and may change it as it likes: it mocks CUDA or a process group. Importing the
module must do neither, and must be quick: the parent reads the other names. What goes wrong is raised.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

Row = dict[str, Any]


class Part(Protocol):
    """A module of this package."""

    ABOUT: str
    VERSIONS: tuple[str, ...]
    SECONDS: float
    CASES: tuple[str, ...]
    rows: Callable[[tuple[str, ...]], dict[str, Row]]
    broken: Callable[[str, Row], list[str]]
    grown: Callable[[str, Row, Row], list[str]]


def larger(name: str, row: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """A line for each number of the stored row, however deep, that is larger in the new one or missing there."""
    found: list[str] = []
    for key, before in stored.items():
        own, now = f"{name}: {key}", row.get(key)
        if isinstance(before, Mapping):
            found += larger(own, now if isinstance(now, Mapping) else {}, before)
        elif isinstance(before, bool) or not isinstance(before, int | float):
            continue
        elif not isinstance(now, int | float):
            found.append(f"{own} was {before:g} and is missing")
        elif now > before:
            found.append(f"{own} was {before:g} and is {now:g}")
    return found
