"""The properties that SimMatch's equations promise."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.simmatch import SimMatch
from tests.support.algorithms import CLASSES, batch, frozen, gradients, make, same

INDEX, LABELS = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([0, 1, 2, 3, 0, 1])
GIVEN = batch(x_index=INDEX, y=LABELS)


def ready(**fields: object) -> SimMatch:
    """With a bank of 8 images, of which the last was not visited, and a window of 2 batches; BatchNorm frozen."""
    algorithm = frozen(make(SimMatch, **({"wait": 5.0, "dimensions": 6} | fields)))
    bits = torch.Generator().manual_seed(1)
    algorithm.bank.vectors[:7] = F.normalize(torch.randn(7, 6, generator=bits, dtype=torch.float64), dim=1)
    algorithm.bank.labels[:7] = torch.tensor([0, 1, 2, 3, 0, 1, 3])
    for _ in range(2):
        algorithm.push_mean(torch.rand(1, CLASSES, generator=bits, dtype=torch.float64).softmax(-1))
    algorithm.step.fill_(20)
    return algorithm


def parts(algorithm: SimMatch, view: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and unit vectors, as the definition has them."""
    features = algorithm.network.features(algorithm.normalize(view))
    projected = sum(g(features) for g in algorithm.projectors) / len(algorithm.projectors)
    return algorithm.network.head(features), projected / projected.square().sum(1, keepdim=True).sqrt()


def aligned_by_hand(algorithm: SimMatch, p: Tensor) -> Tensor:
    p = p / ((algorithm.window_RC[:2].sum(0) + p.mean(0)) / 3)
    return p / p.sum(1, keepdim=True)


def by_hand(algorithm: SimMatch) -> tuple[Tensor, Tensor, Tensor]:
    """q [U, C], q' over the 7 images of the bank [U, 7], and the loss."""
    cfg, bank = algorithm.cfg, algorithm.bank.vectors[:7]
    weak, weak_z = (value.detach() for value in parts(algorithm, GIVEN.u["weak"]))
    strong, strong_z = parts(algorithm, GIVEN.u["strong"])
    p = aligned_by_hand(algorithm, weak.softmax(-1))
    d = (weak_z @ bank.T / cfg.temperature).softmax(-1)
    q, single = cfg.own_share * p, torch.zeros(12, 7, dtype=torch.float64)
    for u in range(12):
        for k in range(7):
            label = algorithm.bank.labels[k]
            q[u, label] += (1 - cfg.own_share) * d[u, k]
            single[u, k] = d[u, k] * p[u, label]
    single = single / single.sum(1, keepdim=True)
    mask = q.max(-1).values >= cfg.threshold
    labeled = F.cross_entropy(parts(algorithm, GIVEN.x["weak"])[0], GIVEN.y)
    unlabeled = (mask * -(q * strong.log_softmax(-1)).sum(-1)).mean()
    instance = -(single * (strong_z @ bank.T / cfg.temperature).log_softmax(-1)).sum(-1).mean()
    return q, single, labeled + cfg.weight * unlabeled + cfg.instance_weight * instance


def test_it_equals_its_equations():
    algorithm = ready(weight=2.0, instance_weight=3.0, own_share=0.6)
    threshold = by_hand(algorithm)[0].max(-1).values.sort().values[5:7].mean().item()
    algorithm.cfg = algorithm.cfg.model_copy(update={"threshold": threshold})
    q, single, loss = by_hand(algorithm)
    output = algorithm.loss(GIVEN)
    assert 0 < output.metrics["coverage"] < 1
    torch.testing.assert_close(output.loss, loss)
    p, _ = algorithm.predicted(algorithm.look(GIVEN.u["weak"], track=False)[0])
    (z,) = algorithm.embed(algorithm.look(GIVEN.u["weak"], track=False)[0])
    found = algorithm.labels_from_bank(p, z)
    torch.testing.assert_close(found[0], q)
    torch.testing.assert_close(found[1], F.pad(single, (0, 1)))
    found_gradients = gradients(algorithm, GIVEN)
    algorithm.zero_grad()
    by_hand(algorithm)[2].backward()
    assert same(found_gradients, {name: p.grad for name, p in algorithm.named_parameters() if p.grad is not None})


def test_labels_lie_on_the_simplex():
    """SimMatch (c)."""
    q, single, teaches = ready().labels_from_bank(
        torch.rand(5, CLASSES, dtype=torch.float64).softmax(-1), F.normalize(torch.rand(5, 6).double(), dim=1)
    )
    assert teaches
    for labels in (q, single):
        assert labels.min() >= 0
        torch.testing.assert_close(labels.sum(1), torch.ones(5, dtype=torch.float64))


def test_of_one_image_a_class_and_certain_predictions_the_single_label_is_the_class():
    """SimMatch (c)."""
    algorithm = ready()
    algorithm.bank.labels[4:] = -1
    certain = torch.eye(CLASSES, dtype=torch.float64)
    _, single, _ = algorithm.labels_from_bank(certain, F.normalize(torch.rand(CLASSES, 6).double(), dim=1))
    assert torch.equal(single, F.pad(certain, (0, 4)))


def test_without_neighbors_it_is_fixmatch_with_aligned_soft_labels():
    """SimMatch (a), by its equation; where predictions are certain and not aligned, FixMatch itself."""
    algorithm, fixmatch = ready(own_share=1.0, instance_weight=0.0, threshold=0.3), frozen(make(FixMatch))
    logits, _ = parts(algorithm, GIVEN.u["weak"])
    q = aligned_by_hand(algorithm, logits.detach().softmax(-1))
    torch.testing.assert_close(by_hand(algorithm)[0], q)
    torch.testing.assert_close(algorithm.loss(GIVEN).loss, by_hand(algorithm)[2])

    certain = ready(own_share=1.0, instance_weight=0.0, window=0)
    with torch.no_grad():
        certain.network.head.weight *= 1e4
    fixmatch.network.load_state_dict(certain.network.state_dict())
    found = {n: g for n, g in gradients(certain, GIVEN).items() if not n.startswith("projectors")}
    assert same(found, gradients(fixmatch, GIVEN), tolerance=1e-6)


@pytest.mark.parametrize(("step", "teaches"), [(4, False), (5, True)])
def test_in_the_first_epoch_the_bank_does_not_teach(step: int, teaches: bool):
    algorithm, without = ready(threshold=0.3), ready(threshold=0.3, own_share=1.0, instance_weight=0.0)
    for one in (algorithm, without):
        one.step.fill_(step)
    assert torch.equal(algorithm.loss(GIVEN).loss, without.loss(GIVEN).loss) != teaches


def test_an_empty_bank_does_not_teach_either():
    algorithm, without = ready(threshold=0.3), ready(threshold=0.3, own_share=1.0, instance_weight=0.0)
    algorithm.bank.labels.fill_(-1)
    torch.testing.assert_close(algorithm.loss(GIVEN).loss, without.loss(GIVEN).loss)


def test_a_class_without_labeled_images_leaves_certain_images_without_a_single_label():
    algorithm = ready()
    algorithm.bank.labels[algorithm.bank.labels == 3] = 0
    certain = torch.eye(CLASSES, dtype=torch.float64)
    _, single, _ = algorithm.labels_from_bank(certain, F.normalize(torch.rand(CLASSES, 6).double(), dim=1))
    assert not single[3].any() and single.isfinite().all()


def test_equal_projectors_are_one():
    """EPASS: the mean is taken before it is normalized, so different ones are not the mean of unit vectors."""
    one, three = ready(), ready(projectors=3)
    three.network.load_state_dict(one.network.state_dict())
    for own in three.projectors:
        own.load_state_dict(one.projectors[0].state_dict())
    torch.testing.assert_close(three.loss(GIVEN).loss, one.loss(GIVEN).loss)
    with torch.no_grad():
        three.projectors[1][2].weight *= -3
    (seen,) = three.look(GIVEN.u["weak"], track=False)
    torch.testing.assert_close(three.embed(seen)[0], parts(three, GIVEN.u["weak"])[1])
    assert not torch.allclose(three.embed(seen)[0], one.embed(seen)[0])


def test_update_visits_the_labeled_images_of_all_ranks_and_pushes_the_mean():
    algorithm = ready()
    before = algorithm.bank.vectors.clone()
    observed = algorithm.loss(GIVEN).observed
    torch.testing.assert_close(observed["z"], parts(algorithm, GIVEN.x["weak"])[1])
    algorithm.update(observed)
    z = observed["z"]
    expected = F.normalize(0.7 * before[0] + 0.3 * (z[0] + z[4]) / 2, dim=0)  # image 0 is twice in the batch
    torch.testing.assert_close(algorithm.bank.vectors[0], expected)
    assert algorithm.batches == 3
    torch.testing.assert_close(algorithm.window_RC[2], observed["mean"][0])


def test_embeddings_are_unit_vectors_under_half_precision():
    torch.manual_seed(0)
    algorithm = make(SimMatch).float()
    algorithm.autocast = torch.bfloat16
    (seen,) = algorithm.look(GIVEN.u["weak"])
    (z,) = algorithm.embed(seen)
    assert z.dtype == torch.float32
    torch.testing.assert_close(z.norm(dim=1), torch.ones(12), rtol=0, atol=1e-6)


def test_labels_and_bank_carry_no_gradient():
    algorithm = ready(threshold=0.3)
    weak = algorithm.normalize(GIVEN.u["weak"]).requires_grad_()
    algorithm.loss(GIVEN._replace(u={"weak": weak, "strong": GIVEN.u["strong"]})).loss.backward()
    assert weak.grad is None or not weak.grad.any()
