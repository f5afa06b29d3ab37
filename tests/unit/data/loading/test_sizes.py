"""How a batch grows: few sizes, each a whole part of the largest, by a law that the step alone decides."""

import math

import pytest

from semisonic.data.loading.sizes import MOST_STAGES, Sizes

CASES = [
    (448, 8, 0.7, 1000),
    (96, 8, 0.0, 400),
    (16, 2, 0.0, 60),
    (7, 7, 0.99, 10_000),
    (64, 4, 0.3, 5),
    (8, 8, 0.9, 2),
]
each = pytest.mark.parametrize(("largest", "stages", "bend", "steps"), CASES)


@each
def test_sizes_follow_the_law(largest: int, stages: int, bend: float, steps: int):
    sizes = Sizes.growing(largest, stages, bend, steps)
    for step in range(steps):
        p = step / (steps - 1)
        grown = stages * (1 - (1 - p) / ((1 - bend) + bend * (1 - p)))
        low, high = (max(1, math.floor(grown + 0.5 + way)) for way in (-1e-9, 1e-9))
        assert sizes.of(step) in (largest // stages * low, largest // stages * high)


@each
def test_it_begins_small_ends_large_and_never_shrinks(largest: int, stages: int, bend: float, steps: int):
    sizes = Sizes.growing(largest, stages, bend, steps)
    found = [sizes.of(step) for step in range(steps)]
    assert found == sorted(found) and len(set(found)) <= len(sizes.sizes) <= stages <= MOST_STAGES
    assert found[-1] == largest == sizes.largest and (found[0] == largest // stages == sizes.smallest or steps < stages)
    assert sizes.of(steps + 1000) == largest  # what is prepared beyond the last step


@each
def test_positions_are_the_sum_of_what_was_read_before(largest: int, stages: int, bend: float, steps: int):
    sizes, before = Sizes.growing(largest, stages, bend, steps), 0
    for step in range(min(steps, 700)):
        assert sizes.before(step) == before
        before += sizes.of(step)


def test_runs_are_the_steps_in_parts_of_one_size():
    sizes = Sizes((0, 3, 5), (2, 4, 6))
    assert list(sizes.runs(0, 8)) == [(0, 3, 2), (3, 2, 4), (5, 3, 6)]
    assert list(sizes.runs(2, 2)) == [(2, 1, 2), (3, 1, 4)] and list(sizes.runs(9, 1)) == [(9, 1, 6)]
    assert list(Sizes.constant(7).runs(3, 4)) == [(3, 4, 7)]


def test_a_single_step_is_the_largest():
    assert Sizes.growing(8, 8, 0.7, 1) == Sizes.constant(8)


@pytest.mark.parametrize(("bend", "share"), [(0.0, 0.508), (0.7, 0.329)])
def test_how_much_of_a_constant_batch_is_read(bend: float, share: float):
    sizes = Sizes.growing(448, 8, bend, 100_000)
    assert sizes.before(100_000) / (100_000 * 448) == pytest.approx(share, abs=0.001)
