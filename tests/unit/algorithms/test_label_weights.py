"""Weights of labels: the numbers, the loss they make in every method, and what is refused."""

import math

import pytest
import torch
from pydantic import ValidationError

from semisonic.algorithms.label_weights import (
    LabelWeights,
    LossConfig,
    balanced_weights,
    class_weights,
    effective_weights,
    label_weights,
)
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.check.tiny import Subject
from semisonic.contract import Seen
from semisonic.data.sets.imbalance import class_counts
from semisonic.schema import UserError
from tests.support.algorithms import CLASSES, batch, batch_for, make
from tests.support.command_line import config
from tests.support.runner import Runner

COUNTS = class_counts(1500, 100, 10)


def test_effective_weights_are_those_of_the_published_code():
    expected = [0.151, 0.163, 0.194, 0.255, 0.366, 0.553, 0.875, 1.419, 2.278, 3.747]
    weights = effective_weights(COUNTS)
    assert weights == pytest.approx(expected, abs=5e-4)
    assert math.fsum(weights) == pytest.approx(10)


def test_balanced_weights_have_a_mean_of_one_over_the_images():
    weights = balanced_weights(COUNTS)
    assert weights[9] / weights[0] == pytest.approx(100)
    assert math.fsum(w * n for w, n in zip(weights, COUNTS, strict=True)) == pytest.approx(sum(COUNTS))


@pytest.mark.parametrize("weights", [balanced_weights, effective_weights])
@pytest.mark.parametrize("count", [1, 25])
def test_of_balanced_classes_all_weights_are_one(weights, count: int):
    assert weights([count] * 4) == pytest.approx([1] * 4)


@pytest.mark.parametrize("weights", [balanced_weights, effective_weights])
def test_a_class_without_an_image_has_a_finite_weight(weights):
    assert all(math.isfinite(weight) for weight in weights([40, 0, 3]))


@pytest.mark.parametrize("given", ["1,2,0.5", (1, 2, 0.5), [1, 2, 0.5]])
def test_a_list_is_taken_as_it_is(given):
    assert class_weights(LossConfig(class_weights=given), [9, 9, 9]) == [1, 2, 0.5]


@pytest.mark.parametrize(
    "given", [[1, -1], [0, 0], "1,nan", [1, math.inf], "1e308,1", "", [], "even", None, True, [True, 1], 3.0]
)
def test_what_is_no_list_of_weights_is_told(given):
    with pytest.raises(
        ValidationError, match="none, balanced, effective, or a number of 0 to 1,000,000 for each class"
    ):
        LossConfig(class_weights=given)


def test_a_list_of_another_length_is_told():
    with pytest.raises(UserError, match=r"loss\.class_weights: 2 numbers for 3 classes; give one for each"):
        class_weights(LossConfig(class_weights=[1, 2]), [9, 9, 9])
    with pytest.raises(UserError, match=r"loss\.class_weights: 2 numbers for 10 classes"):
        config("--loss.class-weights", "1,2")


@pytest.mark.parametrize("name", ["simclr", "rotnet"])
def test_pretext_tasks_refuse_them(name: str):
    with pytest.raises(UserError) as caught:
        config("--algorithm", name, "--loss.class-weights", "balanced")
    expected = f"loss.class_weights: {name} learns nothing from labels, which train its probe alone; leave it out"
    assert caught.value.messages == [expected]


def weighed(kind, by_class=None, by_image=None, **fields):
    """An algorithm with these weights, whose labeled set has as many images as a batch."""
    algorithm = make(kind, **fields)
    if by_class is not None or by_image is not None:
        algorithm.label_weights = LabelWeights(by_class, by_image)
    return algorithm


def test_without_weights_there_is_no_tensor_of_them():
    info = make(ALGORITHMS["supervised"]).info
    assert label_weights(LossConfig(), info) is None
    assert not any("label_weights" in name for name in make(ALGORITHMS["supervised"]).state_dict())
    assert label_weights(LossConfig(class_weights="balanced"), info).by_class.shape == (CLASSES,)


def test_the_loss_is_the_mean_of_weight_times_cross_entropy():
    of = batch()
    by_class = torch.rand(CLASSES, dtype=torch.float64)
    by_image = torch.rand(64, dtype=torch.float64)
    algorithm = weighed(ALGORITHMS["supervised"], by_class, by_image)
    logits_BC = torch.randn(len(of.y), CLASSES, dtype=torch.float64)
    weights_B = by_class[of.y] * by_image[of.x_index]
    losses_B = -logits_BC.log_softmax(-1)[torch.arange(len(of.y)), of.y]
    found = algorithm.labeled_loss(Seen(logits_BC, logits_BC), of.y, index_B=of.x_index)
    assert torch.allclose(found, (weights_B * losses_B).sum() / len(of.y), rtol=1e-12)


def test_whoever_does_not_say_which_images_cannot_weigh_them():
    algorithm, of = weighed(ALGORITHMS["supervised"], None, torch.ones(64)), batch()
    logits_BC = torch.zeros(len(of.y), CLASSES)
    with pytest.raises(UserError, match=r"data\.weight_column"):
        algorithm.labeled_loss(Seen(logits_BC, logits_BC), of.y)


def test_mixed_labels_count_by_their_share():
    by_class, by_image = torch.tensor([2.0, 3.0, *[1.0] * (CLASSES - 2)]), torch.tensor([5.0, 7.0])
    algorithm = weighed(ALGORITHMS["mixmatch"], by_class.double(), by_image.double())
    targets_BC = torch.zeros(2, CLASSES, dtype=torch.float64)
    targets_BC[0, :2] = torch.tensor([0.75, 0.25])
    targets_BC[1, 2] = 1
    logits_BC = torch.randn(2, CLASSES, dtype=torch.float64)
    p = -logits_BC.log_softmax(-1)
    expected = (5 * (2 * 0.75 * p[0, 0] + 3 * 0.25 * p[0, 1]) + 7 * p[1, 2]) / 2
    label_B, index_B = torch.tensor([0, 2]), torch.arange(2)
    found = algorithm.mixed_labeled_loss(Seen(logits_BC, logits_BC), targets_BC, label_B, index_B)
    assert torch.allclose(found, expected, rtol=1e-12)


TAKING = [name for name, kind in ALGORITHMS.items() if "labeled_weights" in kind.open_to and not kind.own_task]


def test_every_method_that_learns_from_labels_takes_weights():
    assert set(TAKING) == {name for name, kind in ALGORITHMS.items() if not kind.own_task}


def labeled_loss_of(name: str, fields: dict, weights: LabelWeights | None) -> float:
    """The labeled loss of a first step, in float64."""
    algorithm = Subject(ALGORITHMS[name], fields).make().double()
    algorithm.label_weights = weights
    run = Runner(algorithm, lr=0.1)
    return float(algorithm.train_step(batch_for(algorithm), run).metrics["loss_labeled"])


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *((name, {}) for name in TAKING),
        ("supervised", {"mix": "mixup", "label_smoothing": 0.1}),
        ("supervised", {"mix": "cutmix"}),
        ("ict", {"mix_labeled": True}),
        ("uda", {"annealing": "linear"}),
    ],
)
def test_a_method_s_labeled_loss_is_weighed(name: str, fields: dict):
    plain = labeled_loss_of(name, fields, None)
    by_class, by_image = torch.full((CLASSES,), 2.0).double(), torch.full((8,), 3.0).double()
    for weights, factor in (((by_class, None), 2), ((None, by_image), 3), ((by_class, by_image), 6)):
        assert labeled_loss_of(name, fields, LabelWeights(*weights)) == pytest.approx(factor * plain, rel=1e-9)
    assert labeled_loss_of(name, fields, LabelWeights(None, torch.tensor([1.0, *[0] * 7]).double())) < plain


def test_micro_batches_and_ranks_make_the_loss_of_the_whole_batch():
    of, by_class, by_image = batch(), torch.rand(CLASSES).double(), torch.rand(8).double()
    algorithm = weighed(ALGORITHMS["supervised"], by_class, by_image)
    logits_BC = torch.randn(len(of.y), CLASSES, dtype=torch.float64)

    def loss(rows: slice) -> torch.Tensor:
        logits = logits_BC[rows]
        return algorithm.labeled_loss(Seen(logits, logits), of.y[rows], index_B=of.x_index[rows])

    halves = torch.stack([loss(slice(0, 3)), loss(slice(3, 6))])
    assert torch.allclose(halves.mean(), loss(slice(0, 6)), rtol=1e-12)


def test_weights_are_no_reason_to_compile_again():
    algorithm, graphs = weighed(ALGORITHMS["supervised"], torch.ones(CLASSES), torch.ones(64)).float(), []

    def counted(graph, inputs):
        graphs.append(graph)
        return graph.forward

    loss = torch.compile(algorithm.labeled_loss, backend=counted, fullgraph=True, dynamic=False)
    of = batch()
    for step in range(3):
        algorithm.label_weights.by_class.fill_(step + 1.0)
        logits_BC = torch.randn(len(of.y), CLASSES)
        found = loss(Seen(logits_BC, logits_BC), of.y, index_B=of.x_index.roll(step))
        assert torch.allclose(found, (step + 1) * torch.nn.functional.cross_entropy(logits_BC, of.y))
    assert len(graphs) == 1
