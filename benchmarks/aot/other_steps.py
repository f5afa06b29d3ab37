"""The part `other-steps`: the same as `step` for algorithms of other forms.

MixMatch mixes images inside its graph, MPL has two roles with three graphs, FlexMatch reads and writes a table.
"""

from collections.abc import Sequence

from aot import Row, step
from aot.step import SECONDS, VERSIONS, Case, grown, rows_of

__all__ = ["ABOUT", "CASES", "SECONDS", "VERSIONS", "broken", "grown", "rows"]

ABOUT = "the generated CUDA code of a step of MixMatch, MPL and FlexMatch, counted as that of FixMatch, and compiled"
TABLE = {f"{name}, wrn-28-2": Case(name) for name in ("mixmatch", "mpl", "flexmatch")}
CASES = tuple(TABLE)
SPILLING = "teacher teach forward: triton_per_fused__log_softmax__to_copy_eq_ge_mean_mul_nll_loss_forward"
"""A kernel of MPL's that spills: the compiler's own, of one program that ends the teacher's loss, with two values of a
thread in local memory. It takes microseconds; told in docs/measured/gpu.md."""


def rows(names: Sequence[str]) -> dict[str, Row]:
    return rows_of({name: TABLE[name] for name in names})


def broken(name: str, row: Row) -> list[str]:
    """As `step.broken`, but for the one kernel that is known to spill, as long as it spills no more than it did."""
    found = row["in local memory"]
    known = next((one for one in found if one["kernel"].startswith(SPILLING) and one["spills"] <= 2), None)
    return step.broken(name, row | {"in local memory": [one for one in found if one is not known]})
