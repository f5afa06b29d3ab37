import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from semisonic.curation import audit
from semisonic.schema import UserError
from tests.support.curation import audited, predictions

certainties = st.lists(st.floats(0, 1), min_size=1, max_size=300).map(np.array)


def test_strata_hold_equal_sums_of_the_spread_and_the_doubtful_part_is_cut_finely():
    certainty, _ = predictions(seed=3)
    cut = audit.strata(certainty)
    spread = audit.deviation(certainty)
    sums = np.bincount(cut.stratum_N, spread)
    assert len(sums) == 5 and sums.max() - sums.min() < 2 * spread.max()
    assert (np.diff(cut.means_S) > 0).all() and (np.diff(cut.sizes_S) > 0).all()
    assert certainty[cut.stratum_N == 0].max() <= certainty[cut.stratum_N == 4].min()


@settings(deadline=None, max_examples=60)
@given(certainty=certainties, n=st.integers(1, 320), more=st.integers(1, 50), seed=st.integers(0, 9))
def test_draws_take_what_was_asked_from_every_stratum_and_no_image_twice(certainty, n, more, seed):
    cut = audit.strata(certainty)
    assert cut.sizes_S.sum() == len(certainty) and (cut.sizes_S > 0).all()
    drawn = audit.draw(cut, n, seed)
    assert len(drawn.rows) == min(n, len(certainty)) and len(set(drawn.rows)) == len(drawn.rows)
    assert drawn.method == ("simple" if min(n, len(certainty)) < 100 else "stratified")
    counts = np.bincount(drawn.stratum, minlength=len(cut.sizes_S))
    if drawn.method == "stratified":
        assert (counts >= np.minimum(cut.sizes_S, audit.LEAST)).all()
    again = audit.draw(cut, more, seed, taken=drawn.rows)
    both = np.concatenate([drawn.rows, again.rows])
    assert len(set(both)) == len(both) == min(len(drawn.rows) + more, len(certainty))


def test_a_draw_is_the_same_for_its_seed_alone():
    cut = audit.strata(predictions(seed=1)[0])
    assert np.array_equal(audit.draw(cut, 100, 5).rows, audit.draw(cut, 100, 5).rows)
    assert not np.array_equal(audit.draw(cut, 100, 5).rows, audit.draw(cut, 100, 6).rows)


def test_looks_are_allocated_by_size_and_spread():
    cut = audit.Strata(np.zeros(0), np.array([100, 400, 1000]), np.array([0.5, 0.8, 1.0]))
    assert audit.allocate(cut, 200).tolist() == [28, 91, 81]  # as 50, 160 and 141, the last by the floor
    assert audit.allocate(cut, 9).tolist() == [3, 3, 3]
    assert audit.allocate(cut, 100, looked_S=np.array([60, 4, 4])).sum() == 100
    assert audit.allocate(cut, 100, looked_S=np.array([60, 4, 4]))[0] == 0


@settings(deadline=None, max_examples=40)
@given(data=st.data(), sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_estimates_lie_within_their_interval_and_what_was_looked_at_is_certain(data, sizes):
    sizes = np.array(sizes)
    means = np.linspace(0.5, 1, len(sizes))
    looked = np.array([data.draw(st.integers(0, size)) for size in sizes])
    right = np.array([data.draw(st.integers(0, n)) for n in looked])
    for found in (audit.estimate(sizes, means, right, looked), audit.cautious(sizes, right, looked)):
        most = 1 - (looked - right).sum() / sizes.sum()
        assert right.sum() / sizes.sum() - 1e-9 <= found.low <= found.high <= most + 1e-9
        assert found.low - 1e-9 <= found.value <= found.high + 1e-9
    whole = audit.estimate(sizes, means, np.minimum(right, sizes), sizes)
    assert whole.low == whole.value == whole.high == right.sum() / sizes.sum()


def test_nothing_is_certain_while_one_image_is_left():
    found = audit.estimate([100], [1.0], [99], [99])
    assert found.low <= found.value < 1


def test_the_estimate_is_the_posterior_s_mean():
    found = audit.estimate(np.array([1_000, 9_000]), np.array([0.6, 0.99]), np.array([30, 58]), np.array([50, 60]))
    rates = (30 + 0.55) / 51, (58 + 0.745) / 61
    expected = (30 + 950 * rates[0] + 58 + 8_940 * rates[1]) / 10_000
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.low < expected < found.high and found.half_width == pytest.approx(0.035, abs=0.01)
    assert (found.n, found.population, found.method) == (110, 10_000, "stratified")


@pytest.mark.parametrize(
    ("right", "n", "bounds"), [(0, 10, (0, 0.3085)), (9, 10, (0.5550, 0.9975)), (50, 50, (0.9289, 1))]
)
def test_the_simple_interval_is_clopper_and_pearson_s(right, n, bounds):
    found = audit.simple(right, n)
    assert (found.low, found.high) == pytest.approx(bounds, abs=1e-4)
    assert audit.simple(right, n, population=n).half_width == 0


def test_few_looks_give_a_simple_draw_and_say_so():
    of = audited(*predictions(seed=0), n=60)
    assert of.method == of.estimate().method == "simple"
    assert of.estimate() == audit.simple(int(of.right_S.sum()), 60, 1_400)


def test_a_stratified_draw_with_few_looks_so_far_is_cautious():
    certainty, right = predictions(seed=0)
    of = audited(certainty, right, n=200, looked=60)
    found = of.estimate()
    assert (of.method, found.method, found.n) == ("stratified", "cautious", 60)
    assert found.half_width > audited(certainty, right, n=60).estimate().half_width
    assert audited(certainty, right, n=100, looked=96).estimate().method == "stratified"
    with pytest.raises(ValueError, match="none of the drawn images is looked at"):
        audited(certainty, right, n=200, looked=0).estimate()
    assert audit.expected_half_width(of, 10) == pytest.approx(found.half_width, rel=0.25)
    assert audit.more_for(of, 0.08) > 20, "until there are enough looks, the interval stays a cautious one"


def test_audits_of_one_network_add_up_stratum_by_stratum():
    certainty, right = predictions(seed=0)
    first, second = audited(certainty, right, n=100), audited(certainty, right, n=100, seed=1)
    both = audit.add_up([first, second])
    assert both.n == 200 and np.array_equal(both.looked_S, first.looked_S + second.looked_S)
    assert both.estimate().half_width < first.estimate().half_width
    other = audited(*predictions(seed=4), n=100, of="day 4")
    apart = audit.add_up([first, second, other])
    assert apart.of == "day 3, day 4" and len(apart.sizes_S) == 10 and apart.estimate().population == 2_800
    few = audit.add_up([audited(certainty, right, n=60), audited(certainty, right, n=60, seed=1)])
    assert few.method == "simple" and few.estimate().method == "stratified"


def test_audits_of_different_networks_never_add_up():
    certainty, right = predictions(seed=0)
    first = audited(certainty, right, n=100)
    with pytest.raises(UserError, match=r"different networks never add up: day-003, day-004"):
        audit.add_up([first, audited(certainty, right, n=100, run="day-004")])
    with pytest.raises(UserError, match="day 3: two audits of it have different strata"):
        audit.add_up([first, audited(*predictions(seed=5), n=100)])


def test_more_looks_bring_the_interval_to_the_width_that_was_asked():
    certainty, right = predictions(seed=2, count=20_000, doubt=0.6)
    of = audited(certainty, right, n=100)
    more = audit.more_for(of, 0.02)
    assert 300 < more < 2_000
    grown = audited(certainty, right, n=100 + more)
    assert grown.estimate().half_width == pytest.approx(0.02, rel=0.15)
    assert audit.more_for(grown, 0.03) == 0
    with pytest.raises(ValueError, match="half_width: 2"):
        audit.more_for(of, 2)


def test_what_is_handed_out_is_better_by_what_was_put_right():
    sizes, means = np.array([100, 900]), np.array([0.6, 0.98])
    looks = audit.Audit("day-003", "day 3", "stratified", sizes, means, np.array([60, 50]), np.array([30, 49]))
    plain, better = looks.estimate(), audit.handed_out(looks, np.array([200, 0]))
    assert better.population == 1_200
    assert better.value == pytest.approx((200 + 31 + plain.value * 1_000) / 1_200)  # 31 wrong ones were looked at
    assert better.low > plain.low and better.half_width < plain.half_width
    few = audit.Audit("day-003", "day 3", "simple", sizes, means, np.array([10, 10]), np.array([5, 10]))
    assert audit.handed_out(few, np.array([0, 0])).value == pytest.approx((20 + 0.75 * 980) / 1_000)
    assert audit.handed_out(few, np.array([0, 0])).method == "simple"
    whole = audit.Audit("day-003", "day 3", "stratified", sizes, means, sizes, sizes - 9)
    assert audit.handed_out(whole, np.array([0, 0])).low == 1.0


@pytest.mark.parametrize("looked", [40, 90])
def test_the_interval_of_what_is_handed_out_holds_where_looks_were_at_much_of_it(looked: int):
    """Exactly, over all draws: what nobody has looked at deviates by more than a share of the whole does."""
    population, nothing = 100, np.zeros(1, np.int64)
    for right in (60, 80, 90, 97, 100):
        covered = 0.0
        for found in range(max(0, looked - population + right), min(looked, right) + 1):
            sizes = np.array([population])
            of = audit.Audit("day-003", "day 3", "simple", sizes, sizes / 101, np.array([looked]), np.array([found]))
            one, truth = audit.handed_out(of, nothing), (looked + right - found) / population
            assert looked / population <= one.low <= one.value <= one.high <= 1
            covered += hypergeom.pmf(found, population, right, looked) * (one.low - 1e-9 <= truth <= one.high + 1e-9)
        assert covered >= 0.95


def test_looks_at_what_a_review_has_taken_wholly_say_nothing_of_what_it_left():
    sizes, looked, right = np.array([10, 490]), np.array([10, 50]), np.array([0, 50])
    of = audit.Audit("day-003", "day 3", "simple", sizes, sizes / 500, looked, right)
    one = audit.handed_out(of, np.array([100, 0]))
    assert (one.value, one.n, one.population, one.method) == (1.0, 60, 600, "simple") and 0.94 < one.low < 0.96


def test_few_looks_at_each_of_several_days_are_not_those_of_one_day():
    """Of five days with 20 looks each, the prior would weigh as much as a quarter of them."""
    rows = range(5)
    days = [audited(*predictions(seed=seed), n=20, of=f"day {seed}") for seed in rows]
    assert audit.add_up(days).estimate().method == "cautious" and audit.add_up(days[:1]).estimate().method == "simple"
    days = [audited(*predictions(seed=seed), n=100, of=f"day {seed}") for seed in rows]
    assert audit.add_up(days).estimate().method == "stratified"


def test_what_a_review_would_have_taken_does_not_stand_for_what_it_left():
    stratum, suspicion = np.repeat([0, 1], 6), np.arange(12) / 12
    audited, reviewed = np.isin(np.arange(12), [1, 4, 8]), np.isin(np.arange(12), [3, 5])
    apart = audit.apart_from_review(stratum, suspicion, audited, reviewed)
    assert apart.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    none = np.zeros(12, bool)
    assert audit.apart_from_review(stratum, suspicion, audited, none).tolist() == stratum.tolist()


def test_precision_by_class_weighs_looks_and_is_silent_about_few():
    sizes = np.array([100, 1_000])
    label = np.repeat([0, 0, 1], [20, 20, 5])
    stratum = np.repeat([0, 1, 1], [20, 20, 5])
    right = np.ones(45, bool)
    right[:10] = False  # half of class 0's doubtful labels, each of which stands for 5 images, the sure ones for 40
    one, few, none = audit.per_class(label, right, stratum, sizes, [0, 1, 2])
    assert one.value == pytest.approx(1 - 10 * 5 / (20 * 5 + 20 * 40))
    assert (one.n, one.right) == (40, 30) and one.low < one.value < one.high
    assert (few.n, few.value, few.low) == (5, None, None) and none.n == 0


def test_agreement_has_an_interval_where_there_is_any():
    assert audit.agreement(0, 0) is None
    found = audit.agreement(19, 20)
    assert found.value == 0.95 and found.low == pytest.approx(0.7513, abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: audit.strata(np.zeros(0)), "at least one image"),
        (lambda: audit.strata(np.array([0.5, np.nan])), "from 0 to 1"),
        (lambda: audit.strata(np.array([0.5, 1.1])), "from 0 to 1"),
        (lambda: audit.draw(audit.strata(np.ones(3)), 0, 0), "draw at least one"),
        (lambda: audit.estimate(np.array([5]), np.ones(1), np.array([3]), np.array([2])), "right"),
        (lambda: audit.simple(3, 2), "right: 3 of 2"),
    ],
)
def test_impossible_values_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
