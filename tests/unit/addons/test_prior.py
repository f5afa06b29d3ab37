"""Distribution alignment as an add-on: what FixMatch becomes with it, and where it does not go."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from semisonic.algorithms.adamatch import AdaMatch
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.mixmatch import MixMatch
from semisonic.algorithms.shrinkmatch import ShrinkMatch
from semisonic.algorithms.softmatch import SoftMatch
from semisonic.algorithms.uda import UDA
from semisonic.algorithms.vat import VAT
from semisonic.config.command_line import resolve
from semisonic.schema import UserError
from tests.support.addons import composed, composition
from tests.support.algorithms import batch_for, frozen, gradients, same
from tests.support.runner import Runner

WINDOW = {"kind": "align", "window": 3}
AVERAGE = {"kind": "align", "window": 0, "momentum": 0.9}


def skewed(fields: dict[str, Any], **prior: Any) -> Any:
    """FixMatch that tells images apart, with a bias towards its first class."""
    algorithm = frozen(composed(FixMatch, fields, prior=prior) if prior else composed(FixMatch, fields))
    with torch.no_grad():
        head = algorithm.network.head
        head.weight *= 20
        features = algorithm.network.features(algorithm.normalize(batch_for(algorithm).u["weak"]))
        head.bias.copy_(torch.tensor([1.0, 0, 0, 0]) - features.mean(0) @ head.weight.T)
    return algorithm


def running(prior: dict[str, Any], means: list[torch.Tensor]) -> torch.Tensor:
    """What a step aligns to, of the means of all batches up to its own."""
    if prior["window"]:
        return torch.stack(means[-3:]).mean(0)
    average = torch.full((4,), 0.25, dtype=torch.float64)
    for mean in means:
        average = 0.9 * average + 0.1 * mean
    return average


@pytest.mark.parametrize("prior", [WINDOW, AVERAGE], ids=["window", "average"])
@pytest.mark.parametrize("target", ["labeled", "uniform"])
def test_fixmatch_with_it_takes_mask_and_label_from_the_aligned_q(prior: dict[str, Any], target: str):
    algorithm = skewed({"threshold": 0.4}, **prior, target=target)
    own = algorithm.addons["prior"]
    wanted = torch.tensor([0.4, 0.3, 0.2, 0.1] if target == "labeled" else [0.25] * 4, dtype=torch.float64)
    if target == "labeled":
        assert own.target_C.tolist() == [0.25] * 4  # the tiny data set's
        own.target_C.copy_(wanted)
    means, decided = [], 0
    for seed in range(5):
        of = batch_for(algorithm, seed)
        weak, strong = (algorithm.network(algorithm.normalize(of.u[name])).detach() for name in ("weak", "strong"))
        q = weak.softmax(-1)
        means.append(q.mean(0))
        q = q * (wanted + 1e-6) / (running(prior, means) + 1e-6)
        confidence, label = (q / q.sum(-1, keepdim=True)).max(-1)
        mask = (confidence >= 0.4).double()
        decided += (label != weak.argmax(-1)).sum()
        output = algorithm(of)
        unlabeled = (mask * F.cross_entropy(strong, label, reduction="none")).mean()
        torch.testing.assert_close(output.metrics["loss_unlabeled"], unlabeled)
        assert output.metrics["coverage"] == pytest.approx(mask.mean().item())
        algorithm.commit(output.observed)
    assert decided > 0
    torch.testing.assert_close(own.mean.running(means[-1]), running(prior, [*means, means[-1]]))


def test_where_the_mean_is_the_target_it_is_fixmatch():
    """Its vector is then 0."""
    plain, algorithm = skewed({"threshold": 0.4}), skewed({"threshold": 0.4}, **WINDOW)
    of = batch_for(plain)
    algorithm.addons["prior"].target_C.copy_(plain.network(plain.normalize(of.u["weak"])).softmax(-1).mean(0).detach())
    assert 0 < plain(of).metrics["coverage"] < 1
    assert same(gradients(plain, of), gradients(algorithm, of))
    assert torch.equal(plain(of).loss, algorithm(of).loss)


def test_none_is_the_run_without_it_bit_for_bit():
    plain, algorithm = composed(FixMatch), composed(FixMatch, prior={"kind": "none", "window": 3})
    one, two = Runner(plain), Runner(algorithm)
    for seed in range(3):
        assert torch.equal(one.step(batch_for(plain, seed)).loss, two.step(batch_for(algorithm, seed)).loss)
    assert plain.state_dict().keys() == algorithm.state_dict().keys()


def test_the_running_mean_leaves_the_uniform_one_on_skewed_predictions():
    """Which it does not where a mean is taken over the classes as well."""
    algorithm = skewed({}, kind="align", window=0, momentum=0.99)
    for seed in range(100):
        algorithm.commit(algorithm(batch_for(algorithm, seed % 3)).observed)
    average = algorithm.addons["prior"].mean.average_C
    assert (average - 0.25).abs().max() > 0.05
    torch.testing.assert_close(average.sum(), torch.ones((), dtype=torch.float64), atol=1e-6, rtol=0)


def test_every_drawn_image_counts_in_the_mean_as_often_as_it_is_drawn():
    """Images that come twice, and labeled ones of the pool, too."""
    algorithm = skewed({}, **WINDOW)
    of = batch_for(algorithm)
    twice = of._replace(u={name: view[[0, 0, *range(2, 12)]] for name, view in of.u.items()})
    q = algorithm.network(algorithm.normalize(of.u["weak"])).softmax(-1)
    expected = (2 * q[0] + q[2:].sum(0)) / 12
    torch.testing.assert_close(algorithm(twice).observed["prior/mean"][0], expected.detach())


def test_halves_of_a_batch_on_two_ranks_leave_the_state_of_the_whole():
    whole, ranks = skewed({}, **AVERAGE), skewed({}, **AVERAGE)
    of = batch_for(whole)
    whole.commit(whole(of).observed)
    halves = [
        ranks(of._replace(
            u={name: view[part] for name, view in of.u.items()}, u_index=of.u_index[part], u_true=of.u_true[part]
        )).observed
        for part in (slice(6), slice(6, 12))
    ]  # fmt: skip
    ranks.commit({name: torch.cat([half[name] for half in halves]) for name in halves[0]})
    torch.testing.assert_close(ranks.addons["prior"].mean.average_C, whole.addons["prior"].mean.average_C)


def test_predictions_and_export_stay_the_network_s():
    algorithm = skewed({}, **WINDOW)
    images = batch_for(algorithm).x["weak"]
    assert algorithm.exported_head() is None
    assert torch.equal(algorithm.predict(images, "network"), algorithm.infer(images))


def test_soft_targets_are_aligned_too():
    fields = {"threshold": 0.0, "temperature": 1.0}
    plain, algorithm = frozen(composed(UDA, fields)), frozen(composed(UDA, fields, prior=WINDOW))
    of = batch_for(plain)
    weak, strong = (algorithm.network(algorithm.normalize(of.u[name])).detach() for name in ("weak", "strong"))
    q = weak.softmax(-1) * (0.25 + 1e-6) / (weak.softmax(-1).mean(0) + 1e-6)
    q = q / q.sum(-1, keepdim=True)
    expected = (q * (q.log() - strong.log_softmax(-1))).sum(-1).mean()
    torch.testing.assert_close(algorithm(of).metrics["loss_unlabeled"], expected)
    assert not torch.isclose(plain(of).metrics["loss_unlabeled"], expected)


def test_where_it_has_nothing_to_align_or_the_method_does_it_is_refused():
    def problems(kind: type) -> list[str]:
        return composition(kind, prior=WINDOW).problems()

    assert problems(FixMatch) == [] == problems(UDA)
    for kind, name in ((AdaMatch, "adamatch"), (SoftMatch, "softmatch"), (ShrinkMatch, "shrinkmatch")):
        assert problems(kind) == [f"addons.prior.kind: {name} as configured aligns its guesses itself; use none"]
    assert composition(SoftMatch, {"align": False}, prior=WINDOW).problems() == []
    assert composition(ShrinkMatch, {"window": 0}, prior=WINDOW).problems() == []
    assert problems(MixMatch) == ["addons.prior: mixmatch as configured has no guessed view to read"]
    assert problems(VAT)[0] == "addons.prior: vat as configured has no guessed view to read"


def test_it_takes_no_micro_batches():
    with pytest.raises(UserError, match=r"batch.micro: addons.prior couples all samples of a batch; use 1"):
        resolve(["--addons.prior.kind", "align", "--batch.micro", "2", "--device", "cpu"])
