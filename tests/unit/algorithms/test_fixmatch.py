"""The properties that the papers' equations promise, for supervised and FixMatch."""

import copy

import pytest
import torch
from torch.nn import functional as F

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.supervised import Supervised
from semisonic.models.ema import EmaConfig, shadow_of
from tests.support.algorithms import CLASSES, SIZE, batch, frozen, gradients, images, info, make, same, tiny_network
from tests.support.runner import Runner

# Supervised


def test_supervised_is_plain_cross_entropy():
    algorithm = frozen(make(Supervised))
    given = batch()
    logits = algorithm.network(algorithm.normalize(given.x["weak"]))
    torch.testing.assert_close(algorithm.loss(given).loss, F.cross_entropy(logits, given.y))


def test_supervised_never_touches_the_unlabeled_stream():
    assert not Supervised.views(Supervised.Config()).unlabeled
    make(Supervised).loss(batch(u={}, u_index=torch.empty(0), u_true=torch.empty(0)))


def test_supervised_does_not_depend_on_the_order():
    algorithm, order = make(Supervised), torch.tensor([3, 1, 5, 0, 4, 2])
    given = batch()
    permuted = batch(x={"weak": given.x["weak"][order]}, y=given.y[order])
    assert same(gradients(copy.deepcopy(algorithm), given), gradients(algorithm, permuted))


def test_label_smoothing():
    algorithm = frozen(make(Supervised, label_smoothing=0.2))
    given = batch()
    log_p = algorithm.network(algorithm.normalize(given.x["weak"])).log_softmax(-1)
    target = 0.8 * F.one_hot(given.y, CLASSES) + 0.2 / CLASSES
    torch.testing.assert_close(algorithm.loss(given).loss, -(target * log_p).sum(-1).mean())


# FixMatch


def test_fixmatch_above_every_confidence_is_supervised():
    fixmatch, supervised = frozen(make(FixMatch, threshold=1.01)), frozen(make(Supervised))
    supervised.load_state_dict(fixmatch.state_dict())
    assert same(gradients(fixmatch, batch()), gradients(supervised, batch()))


def test_fixmatch_without_threshold_and_strength_is_pseudo_label():
    algorithm = frozen(make(FixMatch, threshold=0.0))
    view = images(12, 2)
    given = batch(u={"weak": view, "strong": view})
    found = gradients(algorithm, given)
    algorithm.zero_grad()
    logits_x = algorithm.network(algorithm.normalize(given.x["weak"]))
    logits_u = algorithm.network(algorithm.normalize(view))
    (F.cross_entropy(logits_x, given.y) + F.cross_entropy(logits_u, logits_u.detach().argmax(-1))).backward()
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters()})


def test_fixmatch_equals_its_equation_and_masked_samples_get_no_gradient():
    algorithm = frozen(make(FixMatch, threshold=0.3, weight=2.0))
    given = batch()
    strong = algorithm.normalize(given.u["strong"]).requires_grad_()
    q = algorithm.network(algorithm.normalize(given.u["weak"])).softmax(-1)
    threshold = q.max(-1).values.median().item()
    algorithm.cfg = algorithm.cfg.model_copy(update={"threshold": threshold})
    output = algorithm.loss(given._replace(u={"weak": given.u["weak"], "strong": strong}))
    kept = [i for i in range(12) if q[i].max() >= threshold]
    assert 0 < len(kept) < 12
    log_p = algorithm.network(strong.detach()).log_softmax(-1)
    unlabeled = -sum(log_p[i, q[i].argmax()] for i in kept) / 12  # masked samples count in the mean
    labeled = F.cross_entropy(algorithm.network(algorithm.normalize(given.x["weak"])), given.y)
    torch.testing.assert_close(output.loss, labeled + 2.0 * unlabeled)
    output.loss.backward()
    touched = strong.grad.abs().sum((1, 2, 3)) > 0
    assert [i for i in range(12) if touched[i]] == kept


def test_fixmatch_does_not_depend_on_the_order_of_the_views():
    """Interleaving would change nothing: BatchNorm sees one batch. Training mode."""
    algorithm = make(FixMatch, threshold=0.0)
    given, order = batch(), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    permuted = given._replace(u={name: view[order] for name, view in given.u.items()}, u_true=given.u_true[order])
    assert same(gradients(copy.deepcopy(algorithm), given), gradients(algorithm, permuted))


def test_pseudo_labels_carry_no_gradient():
    algorithm = frozen(make(FixMatch, threshold=0.0))
    weak = algorithm.normalize(images(12, 2)).requires_grad_()
    given = batch()
    algorithm.loss(given._replace(u={"weak": weak, "strong": given.u["strong"]})).loss.backward()
    assert weak.grad is None or not weak.grad.any()


@pytest.mark.parametrize("kind", [Supervised, FixMatch])
def test_true_labels_of_the_unlabeled_images_never_reach_the_loss(kind: type[Algorithm]):
    algorithm = make(kind)
    poisoned = batch(u_true=torch.full((12,), -1))
    assert same(gradients(copy.deepcopy(algorithm), batch()), gradients(algorithm, poisoned), tolerance=0)


@pytest.mark.parametrize("kind", [Supervised, FixMatch])
def test_loss_writes_no_state_but_running_statistics(kind: type[Algorithm]):
    algorithm = make(kind)
    before = {name: value.clone() for name, value in algorithm.state_dict().items()}
    algorithm.loss(batch())
    moved = {name for name, value in algorithm.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"network.norm.running_mean", "network.norm.running_var", "network.norm.num_batches_tracked"}
    assert algorithm.network.norm.num_batches_tracked == 1


@pytest.mark.parametrize("kind", [Supervised, FixMatch])
def test_micro_batches_sum_to_the_batch(kind: type[Algorithm]):
    """Constant normalizers: the mean over equal slices is the whole, BatchNorm in evaluation mode."""
    algorithm = frozen(make(kind, **({"threshold": 0.3} if kind is FixMatch else {})))
    whole = gradients(algorithm, batch())
    algorithm.zero_grad()
    for half in (0, 1):
        given = batch()
        micro = given._replace(
            x={"weak": given.x["weak"].chunk(2)[half]}, y=given.y.chunk(2)[half],
            u={name: view.chunk(2)[half] for name, view in given.u.items()}, u_true=given.u_true.chunk(2)[half],
        )  # fmt: skip
        (algorithm.loss(micro).loss / 2).backward()
    assert same(whole, {name: p.grad for name, p in algorithm.named_parameters()})


# The EMA copy


def test_ema_follows_its_formula_and_copies_buffers():
    algorithm = make(Supervised)
    start = {name: value.clone() for name, value in algorithm.ema.state_dict().items()}
    for _ in range(3):
        algorithm.update_ema()
    assert all(torch.allclose(v, start[n], atol=1e-15) for n, v in algorithm.ema.state_dict().items())  # fixed point
    with torch.no_grad():
        for parameter in algorithm.network.parameters():
            parameter += 1
    algorithm.network.norm.running_mean += 2
    algorithm.network.norm.num_batches_tracked += 5
    for _ in range(4):
        algorithm.update_ema()
    shadow = algorithm.ema.state_dict()
    expected = 0.9**4 * start["head.weight"] + (1 - 0.9**4) * (start["head.weight"] + 1)
    torch.testing.assert_close(shadow["head.weight"], expected)
    assert torch.equal(shadow["norm.running_mean"], algorithm.network.norm.running_mean)
    assert shadow["norm.num_batches_tracked"] == 5 and algorithm.ema_updates == 7


@pytest.mark.parametrize(("start_up", "expected"), [("tf", [0.1, 2 / 11, 3 / 12]), ("mean_teacher", [0, 0.5, 2 / 3])])
def test_ema_start_up(start_up: str, expected: list[float]):
    algorithm = Supervised(Supervised.Config(), tiny_network, info(), EmaConfig(decay=0.999, start_up=start_up))
    decays = []
    for _ in expected:
        decays.append((1 - algorithm.ema_weight()).item())
        algorithm.update_ema()
    assert decays == pytest.approx(expected)


def test_the_ema_does_not_touch_the_network():
    """Whatever its decay, the network's own course is the same bit for bit."""
    courses = []
    for decay in (0.0, 0.999):
        torch.manual_seed(0)
        algorithm = FixMatch(FixMatch.Config(threshold=0.3), tiny_network, info(), EmaConfig(decay=decay))
        run = Runner(algorithm)
        for _ in range(3):
            run.step(batch())
        courses.append((algorithm.network.state_dict(), algorithm.ema.state_dict()))
    (one, shadow), (two, other_shadow) = courses
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert not torch.equal(shadow["conv.weight"], other_shadow["conv.weight"])


def test_averaged_buffers():
    algorithm = Supervised(Supervised.Config(), tiny_network, info(), EmaConfig(decay=0.9, buffers="averaged"))
    algorithm.network.norm.running_mean += 1
    algorithm.network.norm.num_batches_tracked += 1
    algorithm.update_ema()
    torch.testing.assert_close(algorithm.ema.norm.running_mean, torch.full((5,), 0.1))
    assert algorithm.ema.norm.num_batches_tracked == 1


def test_ema_stays_out_of_gradients_and_in_float32():
    network = tiny_network().bfloat16()
    shadow = shadow_of(network)
    assert not list(shadow.parameters())
    assert all(b.dtype in (torch.float32, torch.int64) for n, b in shadow.named_buffers() if "running" not in n)
    assert shadow.state_dict().keys() == network.state_dict().keys()


def test_ema_forward_in_training_mode_moves_no_statistics():
    algorithm = make(FixMatch)
    before = {name: value.clone() for name, value in algorithm.state_dict().items()}
    algorithm.classify(images(8, 5), module="ema")
    algorithm.classify(images(8, 5), track=False)
    assert all(torch.equal(value, before[name]) for name, value in algorithm.state_dict().items())


def test_normalize():
    algorithm = Supervised(Supervised.Config(), tiny_network, info())
    white = torch.full((1, 3, SIZE, SIZE), 255, dtype=torch.uint8)
    channels = algorithm.normalize(white)[0, :, 0, 0]
    torch.testing.assert_close(channels, torch.tensor([0.5 / 0.2, 0.6 / 0.3, 0.7 / 0.25]))
