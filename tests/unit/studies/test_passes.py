"""Images that a step sends through networks, against counts on paper."""

import pytest

from semisonic.config.command_line import resolve
from semisonic.studies.passes import passes_of_run, passes_of_step

LABELED, UNLABELED = 16, 48
COUNTS = {
    "supervised": 3 * LABELED,
    "fixmatch": 3 * (LABELED + 2 * UNLABELED),
    # The weak view beside the labeled images without a gradient, then the strong one beside them with it.
    "fixmatch --algorithm.weak-pass separate": (LABELED + UNLABELED) + 3 * (LABELED + UNLABELED),
    "mean-teacher": 3 * (LABELED + UNLABELED) + (LABELED + UNLABELED),
    "mixmatch": 2 * UNLABELED + 3 * (LABELED + 2 * UNLABELED),
    "mixmatch --algorithm.views 3": 3 * UNLABELED + 3 * (LABELED + 3 * UNLABELED),
    # A guess; then mixed images of three views, the first strong view, and that turned.
    "remixmatch": UNLABELED + 3 * (LABELED + 3 * UNLABELED + 2 * UNLABELED),
    # The teacher's three views, the student's two, and the labeled images before and after the student's step.
    "mpl": 3 * (LABELED + 2 * UNLABELED) + 3 * (LABELED + UNLABELED) + 2 * LABELED,
}


@pytest.mark.parametrize("asked", COUNTS)
def test_passes_are_forwards_and_twice_those_with_a_gradient(asked: str):
    batch = [f"--batch.labeled={LABELED}", f"--batch.unlabeled-ratio={UNLABELED // LABELED}"]
    cfg = resolve(["--data", "digits", "--device", "cpu", "--steps", "10", *batch, "--algorithm", *asked.split()])[1]
    assert passes_of_step(cfg) == COUNTS[asked]
    assert passes_of_run(cfg) == 10 * COUNTS[asked]
