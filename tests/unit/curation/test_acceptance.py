import numpy as np
import pytest

from semisonic.curation import audit
from semisonic.curation.acceptance import SHARES, Looks, more_to_accept, part_of, surest_part
from tests.support.curation import predictions


def looks(certainty: np.ndarray, right: np.ndarray, n: int, seed: int = 0) -> Looks:
    cut = audit.strata(certainty)
    rows = audit.draw(cut, n, seed).rows
    return Looks(certainty, cut, rows, right[rows])


def test_the_largest_part_whose_lower_end_suffices_is_accepted():
    certainty, right = predictions(seed=1, count=6_000)
    found = looks(certainty, right, 1_500)
    part = surest_part(found, 0.98)
    assert part is not None and 0.2 <= part.share < 1
    assert part.found.low >= 0.98 and right[part.rows].mean() >= 0.98
    assert certainty[part.rows].min() == part.threshold > np.delete(certainty, part.rows).max()
    larger = part_of(found, SHARES[SHARES.index(part.share) - 1])
    assert larger is not None and larger.found.low < 0.98 and len(larger.rows) > len(part.rows)
    assert surest_part(found, 0.5).share == 1.0


def test_an_audit_that_is_too_small_says_how_many_more_looks_it_takes():
    certainty, right = predictions(seed=1, count=6_000)
    found = looks(certainty, right, 100)
    assert surest_part(found, 0.98) is None
    more = more_to_accept(found, 0.98)
    assert more is not None and 100 < more < 3_000
    assert surest_part(looks(certainty, right, 100 + 2 * more), 0.98) is not None


def test_labels_that_are_not_that_good_take_no_number_of_looks():
    certainty = np.linspace(0.9, 0.99, 2_000)
    right = np.arange(2_000) % 5 > 0
    assert surest_part(looks(certainty, right, 400), 0.98) is None
    assert more_to_accept(looks(certainty, right, 400), 0.98) is None
    everything = Looks(certainty, audit.strata(certainty), np.arange(2_000), right)
    assert more_to_accept(everything, 0.98) is None


def test_few_looks_in_a_part_make_its_interval_cautious():
    certainty, right = predictions(seed=1, count=6_000)
    found = looks(certainty, right, 150)
    assert part_of(found, 1.0).found.method == "stratified"
    assert part_of(found, 0.2).found.method == "cautious"
    nowhere = Looks(certainty, audit.strata(certainty), np.array([certainty.argmin()]), np.array([False]))
    assert part_of(nowhere, 0.2) is None


@pytest.mark.parametrize("seed", range(3))
def test_what_is_accepted_where_the_certainty_lies_is_as_good_as_asked(seed: int):
    certainty = np.full(1_500, 0.99)
    right = np.random.default_rng(seed).random(1_500) < 0.94
    assert surest_part(looks(certainty, right, 300, seed), 0.98) is None
