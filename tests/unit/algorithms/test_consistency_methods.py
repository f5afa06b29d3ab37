"""The properties that the papers promise: Pi-Model, Pseudo-Label, Temporal Ensembling, Mean Teacher, VAT's in test_vat."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.gradients import input_gradient
from semisonic.algorithms.mean_teacher import MeanTeacher
from semisonic.algorithms.pi_model import PiModel
from semisonic.algorithms.pseudo_label import PseudoLabel
from semisonic.algorithms.supervised import Supervised
from semisonic.algorithms.temporal_ensembling import TemporalEnsembling
from semisonic.algorithms.vat import VAT
from semisonic.contract import Batch
from semisonic.models.ema import EmaConfig
from semisonic.models.norm import batch_statistics
from tests.support.algorithms import CLASSES, batch, frozen, gradients, images, info, make, same, tiny_network

METHODS = [PiModel, PseudoLabel, TemporalEnsembling, MeanTeacher, VAT]
LINEAR = [PiModel, PseudoLabel, MeanTeacher, VAT]
"""Those whose ramp starts at 0."""
each = pytest.mark.parametrize("kind", METHODS)
FIELDS: dict = {PseudoLabel: {"threshold": 0.0}, VAT: {"entropy": 0.0}}
"""With which the unlabeled loss is the only one beside the labeled, and all samples count."""


def ready(kind: type[Algorithm], **fields: object) -> Algorithm:
    """After its ramp, with a teacher and a table that differ from the network."""
    algorithm = make(kind, **(FIELDS.get(kind, {}) | fields))
    algorithm.step.fill_(50)
    bits = torch.Generator().manual_seed(3)
    for name, value in algorithm.ema.named_buffers():
        if value.is_floating_point() and "running" not in name:
            value += 0.3 * torch.randn(value.shape, generator=bits)
    if kind is TemporalEnsembling:
        algorithm.visits.fill_(1)
        algorithm.table.copy_(0.4 * torch.rand(algorithm.table.shape, generator=bits).double().softmax(-1))
    return algorithm


def given(algorithm: Algorithm, **changes: object) -> Batch:
    names = algorithm.views(algorithm.cfg).unlabeled
    return batch(u={name: images(12, 20 + k) for k, name in enumerate(names)}, **changes)


def unlabeled_gradients(kind: type[Algorithm], **fields: object) -> dict[str, Tensor]:
    """Of the unlabeled loss alone: with it minus without it."""
    one, other = ready(kind, **fields), ready(kind, **fields, weight=0.0)
    a, b = gradients(one, given(one)), gradients(other, given(other))
    return {name: a[name] - b[name] for name in a}


# What all have in common


@each
@pytest.mark.parametrize("statistics", ["all", "labeled"])
def test_the_unlabeled_loss_moves_the_network(kind: type[Algorithm], statistics: str):
    found = unlabeled_gradients(kind, statistics=statistics)
    assert len(found) == 5
    assert all(float(value.abs().max()) > 1e-6 for value in found.values())


@pytest.mark.parametrize("kind", LINEAR)
def test_the_first_step_is_supervised(kind: type[Algorithm]):
    fields = FIELDS.get(kind, {})
    for statistics, prepare in (("all", frozen), ("labeled", lambda algorithm: algorithm)):
        algorithm = prepare(make(kind, statistics=statistics, **fields))
        supervised = prepare(make(Supervised))
        found = gradients(algorithm, given(algorithm))
        assert same(found, gradients(supervised, batch()))


@each
@pytest.mark.parametrize("ramp", [0.2, 20.0])
def test_the_ramp(kind: type[Algorithm], ramp: float):
    """The unlabeled loss's share of the loss grows as the paper says, over so many steps or that share of the 100."""
    algorithm = frozen(ready(kind, ramp=ramp))
    expected = {0: 0.0, 10: 0.5, 20: 1.0, 90: 1.0}
    if kind is TemporalEnsembling:
        expected = {step: float(torch.tensor(-5 * (1 - share) ** 2).exp()) for step, share in expected.items()}
    for step, factor in expected.items():
        algorithm.step.fill_(step)
        output = algorithm.loss(given(algorithm))
        share = (output.loss - output.metrics["loss_labeled"]) / output.metrics["loss_unlabeled"]
        assert share.item() == pytest.approx(algorithm.cfg.weight * factor, rel=1e-6, abs=1e-12), step
    without = frozen(ready(kind, ramp=0.0))
    without.step.fill_(0)
    output = without.loss(given(without))
    share = (output.loss - output.metrics["loss_labeled"]) / output.metrics["loss_unlabeled"]
    assert share.item() == pytest.approx(without.cfg.weight)


@each
@pytest.mark.parametrize("statistics", ["all", "labeled"])
def test_which_images_move_the_running_statistics(kind: type[Algorithm], statistics: str):
    algorithm = ready(kind, statistics=statistics)
    algorithm.network.norm.momentum = 1.0
    batch_given = given(algorithm)
    unlabeled = [algorithm.normalize(view) for name, view in batch_given.u.items() if name != "teacher"]
    counted = [algorithm.normalize(batch_given.x["weak"]), *(unlabeled if statistics == "all" else [])]
    mean = algorithm.network.conv(torch.cat(counted)).mean((0, 2, 3))
    before = copy.deepcopy(algorithm.state_dict())
    algorithm.loss(batch_given)
    torch.testing.assert_close(algorithm.network.norm.running_mean, mean)
    moved = {name for name, value in algorithm.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {f"network.norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert algorithm.network.norm.num_batches_tracked == 1


@each
def test_true_labels_of_the_unlabeled_images_never_reach_the_loss(kind: type[Algorithm]):
    algorithm = ready(kind)
    one, poisoned = given(algorithm), given(algorithm, u_true=torch.full((12,), -1))
    assert same(gradients(copy.deepcopy(algorithm), one), gradients(algorithm, poisoned), tolerance=0)


@each
def test_micro_batches_sum_to_the_batch(kind: type[Algorithm]):
    algorithm = frozen(ready(kind))
    whole = gradients(algorithm, given(algorithm))
    algorithm.zero_grad()
    full = given(algorithm)
    for half in (0, 1):
        micro = Batch(*(
            {name: view.chunk(2)[half] for name, view in value.items()} if isinstance(value, dict) else value.chunk(2)[half]
            for value in full
        ))  # fmt: skip
        (algorithm.loss(micro).loss / 2).backward()
    assert same(whole, {name: p.grad for name, p in algorithm.named_parameters()})


@each
def test_the_order_of_the_samples_does_not_matter(kind: type[Algorithm]):
    algorithm, order = ready(kind), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    one = given(algorithm)
    permuted = one._replace(
        u={name: view[order] for name, view in one.u.items()}, u_index=one.u_index[order],
        u_true=one.u_true[order], u_key=one.u_key[order],
    )  # fmt: skip
    assert same(gradients(copy.deepcopy(algorithm), one), gradients(algorithm, permuted), tolerance=1e-10)


def test_input_gradient_is_the_gradient_and_leaves_parameters_alone():
    network, x = tiny_network().double(), images(3, 1).double()  # BatchNorm in training mode
    expected = x.clone().requires_grad_()
    network(expected).square().sum().backward()
    fired = []
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 7)
        parameter.register_post_accumulate_grad_hook(lambda _: fired.append(1))

    def function(given: Tensor) -> Tensor:
        with batch_statistics(track=False):
            return network(given).square().sum()

    def step(x: Tensor) -> Tensor:
        return input_gradient(function, x)

    torch._dynamo.reset()
    for run in (step, torch.compile(step, fullgraph=True, backend="aot_eager")):
        for context in (torch.no_grad(), torch.enable_grad()):
            with context:
                found = run(x)
            assert not found.requires_grad
            torch.testing.assert_close(found, expected.grad)
    assert not fired and all((parameter.grad == 7).all() for parameter in network.parameters())


# Pi-Model


def test_pi_equal_views_give_no_loss_and_no_gradient():
    algorithm, view = ready(PiModel), images(12, 2)  # in training mode: both views share their statistics
    one = batch(u={"first": view, "second": view})
    assert algorithm.loss(one).metrics["loss_unlabeled"] == 0
    zero = make(PiModel, weight=0.0)
    assert same(gradients(algorithm, one), gradients(zero, one), tolerance=1e-15)


@pytest.mark.parametrize("statistics", ["all", "labeled"])
def test_pi_the_target_carries_no_gradient(statistics: str):
    algorithm = frozen(ready(PiModel, statistics=statistics))
    views = {name: algorithm.normalize(images(12, k)).requires_grad_() for k, name in enumerate(("first", "second"))}
    algorithm.loss(batch(u=views)).loss.backward()
    assert views["first"].grad is None or not views["first"].grad.any()
    assert views["second"].grad.any()


def test_pi_equals_its_equation():
    algorithm = frozen(ready(PiModel, weight=3.0))
    one = given(algorithm)
    x, first, second = (algorithm.network(algorithm.normalize(v)) for v in (one.x["weak"], *one.u.values()))
    unlabeled = (first.softmax(-1) - second.softmax(-1)).square().sum() / (12 * CLASSES)
    torch.testing.assert_close(algorithm.loss(one).loss, F.cross_entropy(x, one.y) + 3 * unlabeled)


# Pseudo-Label


class Logits(nn.Module):
    """A network whose logits are the mean colors of the image, times a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, given: Tensor) -> Tensor:
        return given.mean((2, 3)) * self.scale


def colors(logits_N3: Tensor) -> Tensor:
    return logits_N3[:, :, None, None].expand(-1, -1, 2, 2)


def test_pseudo_label_above_every_confidence_is_supervised():
    algorithm, supervised = frozen(ready(PseudoLabel, threshold=1.000001)), frozen(make(Supervised))
    assert same(gradients(algorithm, given(algorithm)), gradients(supervised, batch()))


def test_pseudo_label_without_threshold_is_cross_entropy_with_the_own_prediction():
    algorithm = frozen(ready(PseudoLabel, threshold=0.0, weight=3.0))  # Lee's original
    one = given(algorithm)
    found = gradients(algorithm, one)
    algorithm.zero_grad()
    logits_x, logits_u = (algorithm.network(algorithm.normalize(v)) for v in (one.x["weak"], one.u["weak"]))
    (F.cross_entropy(logits_x, one.y) + 3 * F.cross_entropy(logits_u, logits_u.detach().argmax(-1))).backward()
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters()})


def test_pseudo_label_loss_falls_as_confidence_grows_and_masked_samples_add_nothing():
    algorithm = PseudoLabel(PseudoLabel.Config(threshold=0.9, ramp=0.0), Logits, info(classes=3)).double()
    x = {"weak": colors(torch.zeros(6, 3))}
    y = torch.zeros(6, dtype=torch.int64)
    losses = []
    for margin in (1.0, 3.0, 4.0, 6.0, 9.0):  # confidence .58, .91, .96, .995, .9998
        rows = torch.tensor([[margin, 0, 0], [0.1, 0, 0]], dtype=torch.float64)  # the second never passes
        output = algorithm.loss(batch(x=x, y=y, u={"weak": colors(rows)}, u_true=torch.tensor([0, 1])))
        losses.append(output.metrics["loss_unlabeled"].item())
        kept = 0.5 * float(rows[0].softmax(-1)[0] >= 0.9)
        assert output.metrics["mask"] == output.metrics["pseudo_label_correct"] == kept
        assert losses[-1] == pytest.approx(-kept * rows[0].log_softmax(-1)[0].item())
    assert losses[0] == 0 and losses[1:] == sorted(losses[1:], reverse=True) and losses[-1] > 0


# Temporal Ensembling


def visit(algorithm: Algorithm, index: list[int], predictions_NC: Tensor) -> None:
    algorithm.update({"index": torch.tensor(index), "prediction": predictions_NC})


def predictions(count: int, seed: int) -> Tensor:
    bits = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(count, CLASSES, generator=bits)).double().softmax(-1)


def test_temporal_ensembling_without_momentum_takes_the_last_prediction():
    algorithm = make(TemporalEnsembling, momentum=0.0)
    for seed in range(3):
        z_NC = predictions(4, seed)
        visit(algorithm, [3, 9, 0, 7], z_NC)
        target_UC, visited_U = algorithm.targets(torch.tensor([9, 3, 8]))
        assert torch.equal(target_UC, torch.stack([z_NC[1], z_NC[0], torch.zeros(CLASSES)]))
        assert visited_U.tolist() == [1, 1, 0]


def test_temporal_ensembling_corrects_the_bias_of_its_start():
    algorithm, q_NC = make(TemporalEnsembling), predictions(2, 0)
    for _ in range(6):
        visit(algorithm, [5, 11], q_NC)
        torch.testing.assert_close(algorithm.targets(torch.tensor([5, 11]))[0], q_NC, rtol=1e-13, atol=0)


def test_temporal_ensembling_counts_repetitions_in_their_order():
    """One batch with repetitions equals the same visits one after the other."""
    index = [4, 2, 4, 9, 4, 2, 0]
    one, other = make(TemporalEnsembling), make(TemporalEnsembling)
    for seed in range(3):
        z_NC = predictions(len(index), seed)
        visit(one, index, z_NC)
        for position, row in enumerate(index):
            visit(other, [row], z_NC[position : position + 1])
    torch.testing.assert_close(one.table, other.table, rtol=1e-13, atol=1e-16)
    assert torch.equal(one.visits, other.visits) and one.visits[:5].tolist() == [3, 0, 6, 0, 9]
    reverse = make(TemporalEnsembling)
    visit(reverse, index[::-1], predictions(len(index), 0).flip(0))
    first = make(TemporalEnsembling)
    visit(first, index, predictions(len(index), 0))
    assert not torch.allclose(reverse.table[4], first.table[4])  # the order matters: the last visit weighs most


def test_temporal_ensembling_equals_its_equation_and_ignores_images_never_visited():
    algorithm = frozen(make(TemporalEnsembling, weight=2.0, ramp=0.0))
    one = given(algorithm, u_index=torch.arange(12) + 10)
    z_NC = predictions(5, 4)
    visit(algorithm, [10, 11, 12, 13, 30], z_NC)
    x, u = algorithm.normalize(one.x["weak"]), algorithm.normalize(one.u["weak"]).requires_grad_()
    output = algorithm.loss(one._replace(u={"weak": u}))
    p_UC = algorithm.network(u.detach()).softmax(-1)
    unlabeled = (p_UC[:4] - z_NC[:4]).square().sum() / (12 * CLASSES)  # those never visited count in the mean
    torch.testing.assert_close(output.loss, F.cross_entropy(algorithm.network(x), one.y) + 2 * unlabeled)
    output.loss.backward()
    assert [bool(image.any()) for image in u.grad] == [True] * 4 + [False] * 8
    assert output.metrics["visited"].item() == pytest.approx(4 / 12)


def test_temporal_ensembling_learns_from_what_was_observed_only():
    algorithm = ready(TemporalEnsembling)
    one = given(algorithm)
    output = algorithm.loss(one)
    before = algorithm.table.clone()
    algorithm.update(output.observed)
    (logits_UC,) = algorithm.classify(one.x["weak"], one.u["weak"])[1:]
    expected = 0.6 * before[:12] + 0.4 * logits_UC.softmax(-1).detach()
    torch.testing.assert_close(algorithm.table[:12], expected)
    assert torch.equal(algorithm.table[12:], before[12:]) and algorithm.visits.tolist() == [2] * 12 + [1] * 28


# Mean Teacher


@pytest.mark.parametrize("statistics", ["all", "labeled"])
def test_mean_teacher_without_memory_and_with_one_view_has_no_loss(statistics: str):
    """Decay 0: the teacher is the student. In training mode: both are given the same kind of batch."""
    torch.manual_seed(0)
    cfg = MeanTeacher.Config(ramp=0.0, statistics=statistics)
    algorithm = MeanTeacher(cfg, tiny_network, info(), EmaConfig(decay=0.0)).double()
    with torch.no_grad():
        algorithm.network.head.weight += 1
    view = images(12, 2)
    one = batch(u={"teacher": view, "student": view})
    assert algorithm.loss(one).metrics["loss_unlabeled"] > 0
    algorithm.update_ema()
    # The shadow is float32 where it was made as such; here all is float64.
    assert algorithm.loss(one).metrics["loss_unlabeled"] == 0


def test_mean_teacher_has_no_gradient_and_follows_the_student():
    algorithm = ready(MeanTeacher)
    one = given(algorithm)
    teacher = algorithm.normalize(one.u["teacher"]).requires_grad_()
    algorithm.loss(one._replace(u={"teacher": teacher, "student": one.u["student"]})).loss.backward()
    assert teacher.grad is None
    assert not any(value.requires_grad for value in algorithm.ema.buffers()) and not list(algorithm.ema.parameters())
    before = {name: value.clone() for name, value in algorithm.ema.named_buffers()}
    algorithm.update_ema()
    for name, parameter in algorithm.network.named_parameters():
        moved = algorithm.ema.get_buffer(name) - before[name]
        torch.testing.assert_close(moved, (1 - 0.9) * (parameter.detach() - before[name]))


@pytest.mark.parametrize("statistics", ["all", "labeled"])
def test_mean_teacher_equals_its_equation(statistics: str):
    algorithm = frozen(ready(MeanTeacher, weight=7.0, statistics=statistics))
    one = given(algorithm)
    x, student = (algorithm.network(algorithm.normalize(v)) for v in (one.x["weak"], one.u["student"]))
    teacher = algorithm.ema(algorithm.normalize(one.u["teacher"]))
    unlabeled = (teacher.softmax(-1) - student.softmax(-1)).square().sum() / (12 * CLASSES)
    output = algorithm.loss(one)
    torch.testing.assert_close(output.loss, F.cross_entropy(x, one.y) + 7 * unlabeled)
    assert output.metrics["loss_unlabeled"] > 1e-4  # the teacher's predictions are not the student's


@pytest.mark.parametrize("statistics", ["all", "labeled"])
def test_mean_teacher_is_given_the_student_s_kind_of_batch(statistics: str):
    """In training mode: the teacher's own view, with the labeled images or by itself, as `statistics` says."""
    algorithm = ready(MeanTeacher, statistics=statistics)
    one = given(algorithm)
    x, teacher, student = (algorithm.normalize(v) for v in (one.x["weak"], one.u["teacher"], one.u["student"]))
    together = statistics == "all"
    with torch.no_grad(), batch_statistics(track=False):
        teacher_UC = algorithm.ema(torch.cat([x, teacher]) if together else teacher)[-12:]
        student_UC = algorithm.network(torch.cat([x, student]) if together else student)[-12:]
    expected = (teacher_UC.softmax(-1) - student_UC.softmax(-1)).square().mean()
    torch.testing.assert_close(algorithm.loss(one).metrics["loss_unlabeled"], expected)


def test_mean_teacher_averages_its_teacher_anew_after_a_good_start():
    """The paper's decay, min(decay, 1 - 1/(t+1)): after the first update the teacher is the student."""
    torch.manual_seed(0)
    algorithm = MeanTeacher(MeanTeacher.Config(), tiny_network, info(), EmaConfig(start_up="mean_teacher"))
    with torch.no_grad():
        algorithm.network.head.bias += 1
    algorithm.update_ema()
    assert torch.equal(algorithm.ema.get_buffer("head.bias"), algorithm.network.head.bias)
