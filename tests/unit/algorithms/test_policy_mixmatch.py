"""The threshold policies: which pseudo-labels count, and what becomes of the others."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.policy_mixmatch import NONE_COUNTS, PolicyMixMatch
from semisonic.algorithms.supervised import Supervised
from semisonic.config.command_line import resolve
from semisonic.contract import Batch
from semisonic.schema import UserError
from semisonic.training.build import build_trainer
from tests.support.algorithms import CLASSES, frozen, gradients, images, make, mixing_batch, mixmatch, same

RAMP = {"weight": 20.0, "ramp": 60.0}


def policy(name: str, **fields: object) -> Algorithm:
    return mixmatch(kind=PolicyMixMatch, policy=name, **(RAMP | fields))


def known(algorithm: Algorithm, correct: int, total: int) -> Algorithm:
    """As if the last epoch and the last evaluation had ended with this accuracy."""
    for counts in (algorithm.last_counts, algorithm.held_out_counts):
        counts.copy_(torch.tensor([correct, total]))
    return algorithm


def confidences(algorithm: Algorithm, given: Batch) -> Tensor:
    return algorithm.guess(given).amax(-1)


# Percentiles


@pytest.mark.parametrize("name", ["percentile-train", "percentile-held-out"])
def test_perfect_accuracy_keeps_all_and_none_is_supervised(name: str):
    given = mixing_batch()
    everything = known(frozen(policy(name, floor=0.0)), 5, 5)
    assert same(gradients(everything, given), gradients(frozen(policy("none")), given))
    unmixed = mixing_batch(lam=1.0)
    nothing = known(frozen(policy(name, floor=0.0)), 0, 5)
    supervised = frozen(make(Supervised))
    assert same(gradients(nothing, unmixed), gradients(supervised, unmixed))


@pytest.mark.parametrize("name", ["percentile-train", "percentile-held-out"])
def test_the_share_that_counts_is_the_accuracy(name: str):
    given, order = mixing_batch(), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    permuted = given._replace(u={name: view[order] for name, view in given.u.items()}, u_true=given.u_true[order])
    for correct in range(12):
        algorithm = known(policy(name, floor=0.0), correct, 11)
        output = copy.deepcopy(algorithm).loss(given)
        k = 12 * correct // 11
        assert output.metrics["coverage"] * 12 == pytest.approx(k)
        threshold = output.metrics["threshold"].item()
        if k:
            assert threshold == confidences(algorithm, given).sort(descending=True).values[k - 1]
        else:
            assert threshold == NONE_COUNTS and output.metrics["loss_unlabeled"] == 0
        other = algorithm.loss(permuted).metrics["threshold"].item()
        assert other == pytest.approx(threshold, abs=1e-12)  # the same set, whatever the order


def test_counts_are_integers_and_ties_count():
    algorithm = policy("percentile-train", floor=0.0)
    ladder, total = torch.arange(100) / 100, 300
    for correct in range(total + 1):
        threshold = algorithm.percentile(ladder, torch.tensor([correct, total]))
        assert (ladder >= threshold).sum() == 100 * correct // total
    assert int(100 * 0.29) == 28  # as a fraction
    tied = torch.tensor([0.9, 0.7, 0.7, 0.7, 0.2])
    assert algorithm.percentile(tied, torch.tensor([2, 5])) == torch.tensor(0.7)
    assert algorithm.percentile(torch.ones(4), torch.tensor([0, 0])) > 1


def test_the_floor_comes_after_the_percentile():
    algorithm = policy("percentile-train", floor=0.5)
    values = torch.tensor([0.9, 0.6, 0.4, 0.3])
    found = [algorithm.percentile(values, torch.tensor([correct, 4])).item() for correct in (1, 2, 3, 4)]
    assert found == pytest.approx([0.9, 0.6, 0.5, 0.5])


def test_an_epoch_s_accuracy_counts_once_it_has_ended():
    algorithm = make(PolicyMixMatch, block=3, epoch_steps=2, stage=0.6)
    steps = [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1] * 6, [1, 1, 1, 0, 0, 0], [0] * 6]
    last, staged = [], []
    for correct in steps:
        algorithm.update({"correct": torch.tensor(correct)})
        last.append(algorithm.last_counts.tolist())
        staged.append(bool(algorithm.second_stage))
    assert last == [[0, 0], [3, 12], [3, 12], [9, 12], [9, 12]]
    assert staged == [False, False, False, True, True]
    assert algorithm.epoch_counts.tolist() == [0, 6]
    algorithm.update({"correct": torch.tensor([0] * 6)})
    assert algorithm.last_counts.tolist() == [0, 12] and algorithm.second_stage  # there is no way back
    assert make(PolicyMixMatch, block=3).epoch_images == 12  # 8 labeled images in batches of 6: 2 steps


@pytest.mark.parametrize(("stage", "correct", "images"), [(0.5, 3, 6), (0.2, 1, 5), (0.6, 9, 15), (1.0, 4, 4)])
def test_staged_goes_over_at_exactly_its_accuracy(stage: float, correct: int, images: int):
    """An accuracy equal to `stage` ends the first stage; one image less does not."""
    for count in (correct - 1, correct):
        algorithm = make(PolicyMixMatch, policy="staged", block=3, epoch_steps=1, stage=stage)
        algorithm.epoch_images = images
        algorithm.update({"correct": (torch.arange(images) < count).long()})
        assert algorithm.last_counts.tolist() == [count, images]
        assert bool(algorithm.second_stage) == (count == correct)


def test_the_loss_counts_the_mixed_labeled_images():
    algorithm, given = policy("percentile-train"), mixing_batch()
    correct_B = copy.deepcopy(algorithm).mixed(given, algorithm.guess(given) * 0)[0].logits.argmax(-1) == given.y
    output = policy("percentile-train", rejected="partners").loss(given)
    assert torch.equal(output.observed["correct"], correct_B.long())
    assert output.metrics["labeled_accuracy"] == correct_B.float().mean()


# The other policies


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [("none", 0, 0.0), ("fixed", 70, 0.9), ("mixed", 70, 0.9), ("manual", 0, 0.9), ("manual", 25, 0.7),
     ("manual", 50, 0.5), ("manual", 90, 0.5)],
)  # fmt: skip
def test_thresholds(name: str, step: int, expected: float):
    algorithm = make(PolicyMixMatch, policy=name, block=3, fall=0.5)
    algorithm.step += step
    found = algorithm.loss(mixing_batch()).metrics["threshold"].item()
    assert found == pytest.approx(expected, abs=1e-6)


def test_staged_goes_over_to_percentiles():
    given = mixing_batch()
    first, second, percentile = (known(policy(p, floor=0.0), 1, 2) for p in ("staged", "staged", "percentile-train"))
    second.second_stage.fill_(True)
    assert first.loss(given).metrics["threshold"].item() == pytest.approx(0.9)
    assert second.loss(given).metrics["threshold"] == percentile.loss(given).metrics["threshold"]


@pytest.mark.parametrize("labeled", [2, 64])
def test_only_none_and_mixed_ramp_and_end_at_step_16000(labeled: int):
    def weight(name: str, step: int, steps: int = 240_000, **fields: object) -> float:
        algorithm = make(PolicyMixMatch, policy=name, threshold=0.0, floor=0.0, block=3, **fields)
        algorithm.info = replace(algorithm.info, labeled_batch=labeled, steps=steps)
        algorithm.setup(algorithm.info)
        known(algorithm, 1, 1).step += step
        output = algorithm.loss(given)
        assert output.metrics["loss_unlabeled"] > 0
        return ((output.loss - output.metrics["loss_labeled"]) / output.metrics["loss_unlabeled"]).item()

    given = mixing_batch()
    for name in ("none", "mixed"):
        assert [weight(name, t) for t in (0, 4000, 16_000, 50_000)] == pytest.approx([0, 37.5, 150, 150], rel=1e-6)
        assert 149 < weight(name, 15_999) < 149.999
    for name in ("fixed", "manual", "percentile-train", "percentile-held-out", "staged"):
        assert weight(name, 0) == pytest.approx(150, rel=1e-6)
    assert weight("fixed", 0, loss="ce") == pytest.approx(1, rel=1e-6)
    assert [weight("none", t, steps=1000) for t in (200, 400)] == pytest.approx([75, 150], rel=1e-6)
    assert weight("fixed", 0, ramp=100.0) == 0 and weight("fixed", 0, weight=7.0) == pytest.approx(7)


# From squared error to cross-entropy


@pytest.mark.parametrize("normalizer", ["batch", "kept"])
@pytest.mark.parametrize(("switch", "at"), [(0.3, 30), (1.0, 100), (40.0, 40), (0.0, 0)])
def test_mse_to_ce_is_the_one_before_its_step_and_the_other_from_it_on(switch: float, at: int, normalizer: str):
    """To the bit, with the weight of each, whether the step is a share of the run's 100 or a number."""
    given, fields = mixing_batch(), {"threshold": 0.3, "normalizer": normalizer, "ramp": 0.0}
    passing = policy("fixed", loss="mse-to-ce", loss_switch=switch, **fields | {"weight": None})
    for step in {0, max(0, at - 1), at, at + 1, 150}:
        loss = "mse" if step < at else "ce"
        for own, weights in ((passing, {"weight": None}), (None, {"weight": 33.3, "ce_weight": 0.7})):
            own = own or policy("fixed", loss="mse-to-ce", loss_switch=switch, **fields | weights)
            alone = {"weight": 0.7} if weights["weight"] and loss == "ce" else {"weight": weights["weight"]}
            one = policy("fixed", loss=loss, **fields | alone)
            own.step.fill_(step), one.step.fill_(step)
            assert same(gradients(own, given), gradients(one, given), tolerance=0)
            found, expected = own.loss(given), one.loss(given)
            assert torch.equal(found.loss, expected.loss) and found.metrics["coverage"] > 0
            assert torch.equal(found.metrics["loss_unlabeled"], expected.metrics["loss_unlabeled"])


def test_mse_to_ce_compiles_once_for_both():
    algorithm, given = policy("fixed", loss="mse-to-ce", loss_switch=40.0, threshold=0.0), mixing_batch()
    algorithm.step.fill_(39)
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(lambda batch: algorithm.loss(batch).metrics["loss_unlabeled"], backend=counter)
    before = compiled(given)
    algorithm.step.fill_(40)
    assert compiled(given) > 2 * before and counter.frame_count == 1


def test_mse_to_ce_depends_on_the_run_s_length_where_its_step_is_a_share():
    cfg = PolicyMixMatch.Config(loss="mse-to-ce", loss_switch=0.75, policy="fixed")
    assert PolicyMixMatch.depends_on_steps(cfg) == ["loss_switch"] and PolicyMixMatch.ramped(cfg, 400) == 300
    number = cfg.model_copy(update={"loss_switch": 120.0})
    assert PolicyMixMatch.depends_on_steps(number) == [] and PolicyMixMatch.ramped(number, 400) == 120
    other = cfg.model_copy(update={"loss": "ce"})
    assert PolicyMixMatch.depends_on_steps(other) == [] and PolicyMixMatch.ramped(other, 400) == 0


# What becomes of the images


@pytest.mark.parametrize("rejected", ["dropped", "partners"])
@pytest.mark.parametrize("normalizer", ["batch", "kept"])
def test_where_every_image_counts_it_is_mixmatch(rejected: str, normalizer: str):
    algorithm = policy("fixed", threshold=0.0, rejected=rejected, normalizer=normalizer)
    given = mixing_batch()
    assert same(gradients(algorithm, given), gradients(mixmatch(**RAMP), given))


def guessing(algorithm: Algorithm, guess_UC: Tensor) -> Algorithm:
    algorithm.guess = lambda batch: guess_UC  # type: ignore[method-assign]
    return algorithm


def guesses() -> tuple[Tensor, Tensor]:
    """A guess for each of 12 images, and which of them reach 0.8."""
    bits = torch.Generator().manual_seed(3)
    guess_UC = torch.rand(12, CLASSES, generator=bits, dtype=torch.float64)
    sure = torch.arange(12) % 3 != 0
    guess_UC[sure, 1] += 20
    guess_UC /= guess_UC.sum(-1, keepdim=True)
    assert torch.equal(guess_UC.amax(-1) >= 0.8, sure)
    return guess_UC, sure


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_the_loss_equals_its_equation(loss: str):
    guess_UC, sure = guesses()
    given, terms = mixing_batch(), {}
    for normalizer in ("batch", "kept"):
        algorithm = policy("fixed", threshold=0.8, loss=loss, normalizer=normalizer)
        terms[normalizer] = guessing(frozen(algorithm), guess_UC).loss(given).metrics["loss_unlabeled"]
    sharp_UC = guess_UC.square() / guess_UC.square().sum(-1, keepdim=True)
    _, _, seen, q_NC = frozen(policy("fixed")).mixed(given, sharp_UC, sure)
    p_NC = seen.logits.softmax(-1)
    one = (p_NC - q_NC).square().mean(-1) if loss == "mse" else -(q_NC * p_NC.log()).sum(-1)
    kept = [one[i + 12 * view] for i in range(12) for view in (0, 1) if sure[i]]
    torch.testing.assert_close(terms["batch"], sum(kept) / 24)
    torch.testing.assert_close(terms["kept"], sum(kept) / len(kept))


@pytest.mark.parametrize("rejected", ["dropped", "partners"])
def test_a_rejected_image_only_matters_as_a_partner(rejected: str):
    """Other pixels and another unsure guess in its place: nothing changes once it has left the pool."""
    guess_UC, sure = guesses()
    given, other_guess_UC = mixing_batch(), guess_UC.clone()
    other_guess_UC[~sure] = guess_UC[~sure].flip(0)
    noise = images(12, 99)
    other = given._replace(u={k: torch.where(sure.view(-1, 1, 1, 1), v, noise) for k, v in given.u.items()})
    one = guessing(frozen(policy("fixed", threshold=0.8, rejected=rejected)), guess_UC)
    two = guessing(frozen(policy("fixed", threshold=0.8, rejected=rejected)), other_guess_UC)
    assert same(gradients(one, given), gradients(two, other), tolerance=1e-10) == (rejected == "dropped")


@pytest.mark.parametrize("normalizer", ["batch", "kept"])
@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_without_a_pseudo_label_the_term_is_0(normalizer: str, loss: str):
    output = policy("fixed", threshold=1.01, normalizer=normalizer, loss=loss).loss(mixing_batch())
    assert output.metrics["loss_unlabeled"] == 0 and output.loss == output.metrics["loss_labeled"]


def test_confidence_before_or_after_sharpening():
    """At T = 0.5 and between two classes, 0.9 after is 0.75 before."""
    guess_UC = torch.zeros(12, CLASSES, dtype=torch.float64)
    guess_UC[:, 0] = torch.linspace(0.705, 0.815, 12)  # none at the border
    guess_UC[:, 1] = 1 - guess_UC[:, 0]
    masks = {}
    for confidence, threshold in (("before", 0.9), ("before", 0.75), ("after", 0.9)):
        algorithm = policy("fixed", threshold=threshold, confidence=confidence)
        masks[confidence, threshold] = guessing(algorithm, guess_UC).loss(mixing_batch()).metrics["coverage"].item()
    assert masks["before", 0.9] == 0
    assert masks["after", 0.9] == masks["before", 0.75] == pytest.approx(0.5, abs=0.1)


def test_true_labels_of_the_unlabeled_images_never_reach_the_loss():
    algorithm, given = known(policy("percentile-train", floor=0.0), 1, 2), mixing_batch()
    poisoned = given._replace(u_true=torch.full((12,), -1))
    assert same(gradients(copy.deepcopy(algorithm), given), gradients(algorithm, poisoned), tolerance=0)


# In a run

RUN = ["--algorithm", "policy-mixmatch", "--algorithm.policy", "percentile-held-out", "--device", "cpu",
       "--no-baseline", "--log.trackers", "none", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2"]  # fmt: skip


def test_impossible_combinations_name_their_field():
    for more, field in ((["--data.held-out", "0"], "data.held_out"), (["--data.held-out", "10", "--batch.micro", "2"], "batch.micro"),
                        (["--data.held-out", "10", "--algorithm.block", "5"], "algorithm.block")):  # fmt: skip
        with pytest.raises(UserError) as caught:
            resolve([*RUN, *more])
        assert [line.split(":")[0] for line in caught.value.messages] == [field]


def test_the_trainer_tells_the_accuracy_on_the_held_out_images(tmp_path):
    cfg = resolve([*RUN, "--data.held-out", "20", "--out", str(tmp_path)])[1]
    trainer = build_trainer(cfg)
    assert trainer.algorithm.held_out_counts.tolist() == [0, 0]
    metrics = trainer.evaluate_all()
    correct, total = trainer.algorithm.held_out_counts.tolist()
    assert total == 20 and metrics["held_out/top1"] == 100 * correct / total
    assert trainer.algorithm.state_dict()["held_out_counts"].tolist() == [correct, total]
