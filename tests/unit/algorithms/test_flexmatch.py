"""The properties that FlexMatch's equations promise."""

import pytest
import torch

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.flexmatch import FlexMatch
from semisonic.models.ema import EmaConfig
from tests.support.algorithms import batch, frozen, gradients, info, make, same, tiny_network


def observed(index: list[int], label: list[int]) -> dict[str, torch.Tensor]:
    return {"index": torch.tensor(index), "label": torch.tensor(label)}


def filled(counts: list[int], pool: int = 100, **fields: object) -> FlexMatch:
    """FlexMatch whose table holds so many samples of each class."""
    algorithm = FlexMatch(FlexMatch.Config(**fields), tiny_network, info(unlabeled=pool), EmaConfig())
    learned = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts, dtype=torch.int64))
    algorithm.learned[: len(learned)] = learned
    return algorithm


def test_a_balanced_full_table_makes_it_fixmatch():
    confidence = frozen(make(FixMatch)).infer(batch().u["weak"]).softmax(-1).max(-1).values
    threshold = confidence.median().item()
    flexmatch, fixmatch = frozen(make(FlexMatch, threshold=threshold)), frozen(make(FixMatch, threshold=threshold))
    flexmatch.learned.copy_(torch.arange(40) % 4)
    fixmatch.load_state_dict(flexmatch.state_dict(), strict=False)
    assert torch.equal(flexmatch.thresholds(), torch.full((4,), threshold, dtype=torch.float64))
    assert 0 < fixmatch.loss(batch()).metrics["coverage"] < 1
    assert same(gradients(flexmatch, batch()), gradients(fixmatch, batch()))


def test_without_a_threshold_every_sample_counts_and_is_learned():
    flexmatch, fixmatch = frozen(make(FlexMatch, threshold=0.0)), frozen(make(FixMatch, threshold=0.0))
    fixmatch.load_state_dict(flexmatch.state_dict(), strict=False)
    assert same(gradients(flexmatch, batch()), gradients(fixmatch, batch()))
    output = flexmatch.loss(batch())
    assert output.metrics["coverage"] == 1
    flexmatch.update(output.observed)
    labels = flexmatch.infer(batch().u["weak"]).argmax(-1)
    assert flexmatch.learned.tolist() == [*labels.tolist(), *[-1] * 28]


@pytest.mark.parametrize(
    ("warm_up", "expected"), [(True, [0.0586, 0.0226, 0, 0]), (False, [0.95, 0.2375, 0, 0])], ids=["warm-up", "without"]
)
def test_thresholds_of_a_known_table(warm_up: bool, expected: list[float]):
    thresholds = filled([10, 4, 0, 0], warm_up=warm_up).thresholds()
    assert thresholds.tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("warm_up", [True, False])
@pytest.mark.parametrize("mapping", ["convex", "linear", "concave"])
def test_thresholds_lie_below_tau_and_grow_with_what_is_learned(mapping: str, warm_up: bool):
    thresholds = filled([40, 20, 5, 0], mapping=mapping, warm_up=warm_up).thresholds()
    assert thresholds.tolist() == sorted(thresholds.tolist(), reverse=True)
    assert thresholds.min() >= 0 and thresholds.max() <= 0.95
    assert torch.equal(filled([], mapping=mapping, warm_up=warm_up).thresholds(), torch.zeros(4, dtype=torch.float64))


def test_a_threshold_holds_for_its_own_class():
    algorithm = frozen(make(FlexMatch, threshold=0.9))
    q = algorithm.infer(batch().u["weak"]).softmax(-1)
    confidence, label = q.max(-1)
    common = label.mode().values
    others = (common + 1) % 4
    algorithm.learned[:] = others  # the common class has learned nothing: its threshold is 0, the other's is tau
    mask = algorithm.loss(batch()).metrics["coverage"]
    assert mask == ((label != others) | (confidence >= 0.9)).double().mean() > 0


def test_the_table_keeps_the_last_confident_label_of_a_sample():
    algorithm = filled([], pool=6)
    algorithm.update(observed([0, 1, 2, 0, 1, 2], [3, 1, -1, 2, -1, -1]))
    assert algorithm.learned.tolist() == [2, 1, -1, -1, -1, -1]
    algorithm.update(observed([1, 0], [-1, -1]))
    assert algorithm.learned.tolist() == [2, 1, -1, -1, -1, -1]


def test_samples_below_tau_count_but_are_not_learned():
    algorithm = frozen(make(FlexMatch, threshold=0.999))
    output = algorithm.loss(batch())
    assert output.metrics["coverage"] == 1 and output.observed["label"].eq(-1).all()
