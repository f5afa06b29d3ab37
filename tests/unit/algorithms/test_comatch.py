"""The properties that CoMatch's equations promise."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.comatch import CoMatch
from semisonic.algorithms.simmatch import SimMatch
from semisonic.check.tiny import LABELED, UNLABELED
from semisonic.contract import Batch
from tests.support.algorithms import CLASSES, batch, frozen, gradients, images, make, same

VIEWS = {"weak": images(UNLABELED, 2), "strong_0": images(UNLABELED, 3), "strong_1": images(UNLABELED, 4)}
GIVEN = batch(u=VIEWS)
ROWS = 2 * (LABELED + UNLABELED)


def ready(full: bool = True, **fields: object) -> CoMatch:
    """With a queue of two steps and a window of two batches; BatchNorm frozen."""
    algorithm = frozen(make(CoMatch, **({"queue": 2, "dimensions": 6} | fields)))
    bits = torch.Generator().manual_seed(1)
    z = F.normalize(torch.randn(ROWS, 6, generator=bits, dtype=torch.float64), dim=1)
    p = (3 * torch.rand(ROWS, CLASSES, generator=bits, dtype=torch.float64)).softmax(-1)
    count = ROWS if full else ROWS - 1
    algorithm.queue.push(z=z[:count], p=p[:count])
    for _ in range(2):
        algorithm.push_mean(torch.rand(1, CLASSES, generator=bits, dtype=torch.float64).softmax(-1))
    return algorithm


def parts(algorithm: CoMatch, view: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and unit vectors, as the definition has them."""
    features = algorithm.network.features(algorithm.normalize(view))
    projected = sum(g(features) for g in algorithm.projectors) / len(algorithm.projectors)
    return algorithm.network.head(features), projected / projected.square().sum(1, keepdim=True).sqrt()


def aligned_by_hand(algorithm: CoMatch, logits: Tensor) -> Tensor:
    p = logits.detach().softmax(-1)
    p = p / ((algorithm.window_RC[:2].sum(0) + p.mean(0)) / 3)
    return p / p.sum(1, keepdim=True)


def by_hand(algorithm: CoMatch, given: Batch = GIVEN) -> tuple[Tensor, Tensor]:
    """q [U, C] and the loss."""
    cfg, queue = algorithm.cfg, algorithm.queue
    weak, weak_z = (value.detach() for value in parts(algorithm, given.u["weak"]))
    (strong, z0), (_, z1) = (parts(algorithm, given.u[f"strong_{k}"]) for k in range(2))
    q = cfg.own_share * aligned_by_hand(algorithm, weak)
    for u in range(UNLABELED):
        scores = torch.stack([(weak_z[u] @ z / cfg.temperature).exp() for z in queue.table("z")])
        for k in range(ROWS):
            q[u] += (1 - cfg.own_share) * scores[k] / scores.sum() * queue.table("p")[k]
    contrastive = torch.zeros((), dtype=torch.float64)
    for i in range(UNLABELED):
        w = torch.stack([q[i] @ q[j] for j in range(UNLABELED)])
        w = torch.where(w < cfg.graph_threshold, 0, w)
        w[i] = 1
        log_p = (z0[i] @ z1.T / cfg.temperature).log_softmax(-1)
        contrastive = contrastive - (w / w.sum() * log_p).sum() / UNLABELED
    mask = q.max(-1).values >= cfg.threshold
    labeled = F.cross_entropy(parts(algorithm, given.x["weak"])[0], given.y)
    unlabeled = (mask * -(q * strong.log_softmax(-1)).sum(-1)).mean()
    return q, labeled + cfg.weight * unlabeled + cfg.graph_weight * contrastive


def between(values: Tensor) -> float:
    """A threshold that half of the positive values pass, away from all of them by more than rounding."""
    ordered = values[values > 0].sort().values
    low, high = ordered[len(ordered) // 2 - 1 :][:2].tolist()
    assert low < high - 1e-9
    return (low + high) / 2


def test_it_equals_its_equations():
    algorithm = ready(weight=2.0, graph_weight=3.0, own_share=0.6)
    q, _ = by_hand(algorithm)
    middle = {"threshold": between(q.max(-1).values), "graph_threshold": between((q @ q.T).triu(1).flatten())}
    algorithm.cfg = algorithm.cfg.model_copy(update=middle)
    output, (_, loss) = algorithm.loss(GIVEN), by_hand(algorithm)
    assert 0 < output.metrics["coverage"] < 1
    torch.testing.assert_close(output.loss, loss)
    found = gradients(algorithm, GIVEN)
    algorithm.zero_grad()
    loss.backward()
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters() if p.grad is not None})


def test_until_the_queue_is_full_labels_are_not_smoothed():
    logits, z = parts(ready(), GIVEN.u["weak"])
    p = aligned_by_hand(ready(), logits)
    assert torch.equal(ready(full=False).smoothed(p, z), p)
    assert not torch.allclose(ready().smoothed(p, z), p, rtol=0.01)


def test_without_neighbors_it_is_simmatch_without_them():
    """CoMatch (a): FixMatch with aligned soft labels, with the gradients of SimMatch(alpha = 1, L_in 0)."""
    threshold = between(by_hand(ready(own_share=1.0))[0].max(-1).values)
    comatch = ready(own_share=1.0, graph_weight=0.0, threshold=threshold)
    simmatch = frozen(make(SimMatch, own_share=1.0, instance_weight=0.0, threshold=threshold, dimensions=6))
    names = simmatch.state_dict().keys()
    simmatch.load_state_dict({k: v for k, v in comatch.state_dict().items() if k in names}, strict=False)
    given = batch(u={"weak": VIEWS["weak"], "strong": VIEWS["strong_0"]})
    assert 0 < comatch.loss(GIVEN).metrics["coverage"] < 1
    torch.testing.assert_close(comatch.loss(GIVEN).loss, simmatch.loss(given).loss)
    assert same(gradients(comatch, GIVEN), gradients(simmatch, given))


def test_the_queue_gets_labels_before_smoothing_and_the_true_ones_of_labeled_images():
    """CoMatch (c): the newest rows are the last steps', weak views with aligned predictions first."""
    algorithm = ready()
    logits, z = parts(algorithm, GIVEN.u["weak"])
    p, (_, x_z) = aligned_by_hand(algorithm, logits), parts(algorithm, GIVEN.x["weak"])
    before = algorithm.queue.table("z").clone()
    algorithm.update(algorithm.loss(GIVEN).observed)
    count = LABELED + UNLABELED
    torch.testing.assert_close(algorithm.queue.table("z")[:count], torch.cat([z, x_z]))
    expected = torch.cat([p, F.one_hot(GIVEN.y, CLASSES).double()])
    torch.testing.assert_close(algorithm.queue.table("p")[:count], expected)
    assert torch.equal(algorithm.queue.table("z")[count:], before[count:]) and algorithm.batches == 3


def test_the_queue_holds_five_global_batches():
    algorithm = make(CoMatch)
    assert algorithm.queue.table("z").shape == (5 * (LABELED + UNLABELED), 64)
    assert algorithm.queue.table("p").shape == (5 * (LABELED + UNLABELED), CLASSES)


def test_equal_projectors_are_one():
    one, three = ready(), ready(projectors=3)
    three.load_state_dict({k: v for k, v in one.state_dict().items() if not k.startswith("proj")}, strict=False)
    for own in three.projectors:
        own.load_state_dict(one.projectors[0].state_dict())
    torch.testing.assert_close(three.loss(GIVEN).loss, one.loss(GIVEN).loss)


def test_embeddings_are_unit_vectors_under_half_precision():
    """CoMatch (d): in the network's views and in the queue."""
    torch.manual_seed(0)
    algorithm = make(CoMatch, queue=1).float()
    algorithm.autocast = torch.bfloat16
    algorithm.update(algorithm.loss(GIVEN).observed)
    norms = algorithm.queue.table("z").norm(dim=1)
    assert algorithm.queue.table("z").dtype == torch.float32
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-6)


def test_labels_carry_no_gradient_but_both_strong_views_do():
    algorithm = ready(threshold=0.3)
    views = {name: algorithm.normalize(view).requires_grad_() for name, view in VIEWS.items()}
    algorithm.loss(GIVEN._replace(u=views)).loss.backward()
    assert views["weak"].grad is None or not views["weak"].grad.any()
    assert views["strong_0"].grad.any() and views["strong_1"].grad.any()


@pytest.mark.parametrize("weak_pass", ["joint", "separate"])
def test_the_weak_pass_changes_no_loss_where_batch_norm_is_frozen(weak_pass: str):
    algorithm = ready(weak_pass=weak_pass)
    torch.testing.assert_close(algorithm.loss(GIVEN).loss, by_hand(algorithm)[1])
