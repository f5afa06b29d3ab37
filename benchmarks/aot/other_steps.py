"""The part `other-steps`: the same as `step` for algorithms of other forms.

MixMatch mixes images inside its graph, MPL has two roles with three graphs, FlexMatch reads and writes a table.
"""

from collections.abc import Sequence

from aot import Row
from aot.step import SECONDS, VERSIONS, Case, broken, grown, rows_of

__all__ = ["ABOUT", "CASES", "SECONDS", "VERSIONS", "broken", "grown", "rows"]

ABOUT = "the generated CUDA code of a step of MixMatch, MPL and FlexMatch, counted as that of FixMatch, and compiled"
TABLE = {f"{name}, wrn-28-2": Case(name) for name in ("mixmatch", "mpl", "flexmatch")}
CASES = tuple(TABLE)


def rows(names: Sequence[str]) -> dict[str, Row]:
    return rows_of({name: TABLE[name] for name in names})
