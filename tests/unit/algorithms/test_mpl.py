"""The properties that the equations of Meta Pseudo Labels promise, and what the engine does for two roles."""

import copy
import math
from itertools import pairwise, product
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.mpl import MPL, drawn
from semisonic.algorithms.uda import UDA
from semisonic.config.migrations import migrated
from semisonic.config.run_config import RunConfig
from semisonic.contract import Batch
from semisonic.models.ema import EmaConfig
from semisonic.models.head import DropoutLinear
from semisonic.optim.optimizer import OptimConfig
from semisonic.optim.schedules import learning_rate
from semisonic.schema import UserError
from tests.support.algorithms import CLASSES, batch, frozen, info, make, same, tiny_network
from tests.support.command_line import config
from tests.support.meta_pseudo_labels import FIELDS, part, step
from tests.support.runner import Runner


def mpl(**fields: object) -> MPL:
    """BatchNorm in evaluation mode, and a teacher that is not the student and sees several classes."""
    algorithm = frozen(make(MPL, **FIELDS | fields))
    assert not torch.equal(algorithm.teacher.conv.weight, algorithm.network.conv.weight)
    with torch.no_grad():
        algorithm.teacher.head.weight *= 30
        algorithm.teacher.head.bias -= teacher_logits(algorithm, batch().u["weak"]).mean(0)
    return algorithm


def labeled_loss(algorithm: MPL, given: Batch) -> Tensor:
    return F.cross_entropy(algorithm.network(algorithm.normalize(given.x["weak"])), given.y)


def teacher_logits(algorithm: MPL, view: Tensor) -> Tensor:
    return algorithm.teacher(algorithm.normalize(view))


def gradients_of(loss: Tensor, module: torch.nn.Module, prefix: str) -> dict[str, Tensor]:
    names = [f"{prefix}.{name}" for name, _ in module.named_parameters()]
    return dict(zip(names, torch.autograd.grad(loss, list(module.parameters())), strict=True))


# The student's progress


def test_progress_is_the_dot_product_of_the_gradients_to_second_order():
    """h = lr grad L(after) . grad L_u(before) + O(lr^2), and positive where they point the same way."""
    errors = []
    for rate in (1e-3, 1e-4, 1e-5):
        algorithm, given = mpl(), batch()
        labels = algorithm.label(given)
        learned = F.cross_entropy(
            algorithm.network(algorithm.normalize(given.u["strong"])),
            labels,
            label_smoothing=algorithm.cfg.label_smoothing,
        )
        before = gradients_of(learned, algorithm.network, "network")
        progress = step(algorithm, rate).output.metrics["progress"].item()
        after = gradients_of(labeled_loss(algorithm, given), algorithm.network, "network")
        product = rate * sum(float((after[name] * before[name]).sum()) for name in before)
        assert progress == pytest.approx(product, rel=0.5)
        errors.append(abs(progress - product))
    slopes = [math.log10(a / b) for a, b in pairwise(errors)]
    assert slopes == pytest.approx([2, 2], abs=0.1)


def test_progress_is_old_minus_new():
    algorithm, given = mpl(), batch()
    old = labeled_loss(algorithm, given)
    progress = step(algorithm).output.metrics["progress"]
    torch.testing.assert_close(progress, (old - labeled_loss(algorithm, given)).detach())
    assert progress.abs() > 1e-6


@pytest.mark.parametrize("training", [True, False])
def test_a_student_that_does_not_move_makes_no_progress(training: bool):
    """Exactly none, with batch statistics and dropout as well."""
    algorithm = make(MPL, **FIELDS | {"dropout": 0.5}).train(training)
    assert step(algorithm, 0.0).output.metrics["progress"] == 0


def test_the_expected_gradient_is_that_of_the_student_s_new_loss():
    """With a label drawn from the teacher, for one image: E[h grad H(label, T)] = grad E[L_new]."""
    given = batch()
    given = given._replace(u={name: view[:1] for name, view in given.u.items()}, u_true=given.u_true[:1])
    expected: dict[str, Tensor] = {}
    news = []
    for label in range(CLASSES):
        algorithm = mpl(variant="plain")
        probabilities_C = teacher_logits(algorithm, given.u["strong"]).softmax(-1)[0]
        algorithm.label = lambda batch, label=label: torch.tensor([label])  # drawn in place of the argmax
        teach = algorithm.teach
        algorithm.teach = lambda batch, _, teach=teach, label=label: teach(batch, torch.tensor([label]))
        found = part(step(algorithm, 0.1, given).gradients, "teacher")
        news.append(labeled_loss(algorithm, given).detach())
        for name, value in found.items():
            expected[name] = expected.get(name, 0) + probabilities_C[label].detach() * value
    algorithm = mpl(variant="plain")
    probabilities_C = teacher_logits(algorithm, given.u["strong"]).softmax(-1)[0]
    exact = gradients_of((probabilities_C * torch.stack(news)).sum(), algorithm.teacher, "teacher")
    assert same(expected, exact, tolerance=1e-12) and max(float(g.abs().max()) for g in exact.values()) > 1e-6


def chosen(probabilities_UC: Tensor, labels: tuple[int, ...]) -> Tensor:
    """Numbers [U, 1] in the middles of the intervals from which these labels are drawn."""
    edges_UC = probabilities_UC.cumsum(-1)
    middles_UC = edges_UC - probabilities_UC / 2
    return torch.stack([row[label] for row, label in zip(middles_UC, labels, strict=True)])[:, None]


def test_the_expected_gradient_of_drawn_labels_is_that_of_the_new_loss_divided_by_their_number():
    """Over all pairs of labels that two images can be given, by the draws that give them."""
    given = batch()
    given = given._replace(u={name: view[:2] for name, view in given.u.items()}, u_true=given.u_true[:2])
    expected: dict[str, Tensor] = {}
    loss, total = torch.zeros((), dtype=torch.float64), 0.0
    exact_from = mpl(variant="plain", labels="sampled")
    probabilities_UC = teacher_logits(exact_from, given.u["strong"]).softmax(-1)
    for labels in product(range(CLASSES), repeat=2):
        algorithm, seen = mpl(variant="plain", labels="sampled"), []
        study = algorithm.study
        algorithm.study = lambda batch, y, study=study, seen=seen: (seen.append(y.tolist()), study(batch, y))[1]
        now = given._replace(draws={"label": chosen(probabilities_UC.detach(), labels)})
        found = part(step(algorithm, 0.1, now).gradients, "teacher")
        assert seen == [list(labels)]
        chance = probabilities_UC[0, labels[0]] * probabilities_UC[1, labels[1]]
        loss, total = loss + chance * labeled_loss(algorithm, given).detach(), total + chance.item()
        for name, value in found.items():
            expected[name] = expected.get(name, 0) + chance.detach() * value
    assert total == pytest.approx(1, abs=1e-12)
    exact = {name: value / 2 for name, value in gradients_of(loss, exact_from.teacher, "teacher").items()}
    assert same(expected, exact, tolerance=1e-12) and max(float(g.abs().max()) for g in exact.values()) > 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_labels_are_drawn_by_their_probabilities(dtype: torch.dtype):
    p_C = torch.tensor([0.0, 0.3, 0.0, 0.6, 0.1, 0.0], dtype=dtype)
    numbers = torch.cat([torch.linspace(0, 1, 10_001)[:-1], torch.tensor([1 - 2**-24])])
    labels = drawn(p_C.expand(len(numbers), -1), numbers)
    shares = torch.bincount(labels, minlength=6) / len(numbers)
    assert shares.tolist() == pytest.approx(p_C.tolist(), abs=2e-4) and labels[-1] == 4
    assert (shares[p_C == 0] == 0).all()
    rounded = torch.full((1, 1000), 1 / 1000, dtype=dtype)  # whose sum is not 1
    assert drawn(rounded, torch.tensor([1 - 2**-24])) == 999


def test_the_label_of_every_step_is_another_draw_and_the_teacher_s_the_student_s():
    algorithm, given = mpl(labels="sampled"), batch()
    assert algorithm.views(algorithm.cfg).draws == {"label": 1} and MPL.views(MPL.Config()).draws == {}
    seen: dict[str, Tensor] = {}
    study, teach = algorithm.study, algorithm.teach
    algorithm.study = lambda batch, labels: (seen.update(student=labels), study(batch, labels))[1]
    algorithm.teach = lambda batch, labels: (lesson := teach(batch, labels), seen.update(teacher=lesson.labels))[0]
    draws = torch.rand(len(given.u_index), 1, generator=torch.Generator().manual_seed(0))
    logits = teacher_logits(algorithm, given.u["strong"]).detach()
    step(algorithm, given=given._replace(draws={"label": draws}), progress=1.0)
    assert torch.equal(seen["student"], seen["teacher"]) and not torch.equal(seen["student"], logits.argmax(-1))
    assert torch.equal(seen["student"], drawn(logits.softmax(-1), draws[:, 0]))
    plain = mpl(labels="sampled", variant="plain")
    response = F.cross_entropy(teacher_logits(plain, given.u["strong"]), seen["student"])
    expected = gradients_of(response, plain.teacher, "teacher")
    found = step(plain, given=given._replace(draws={"label": draws}), progress=1.0)
    assert same(part(found.gradients, "teacher"), expected)


# What the teacher and the student learn


@pytest.mark.parametrize("progress", [0.5, -0.5])
def test_labels_that_helped_become_more_likely_and_others_less(progress: float):
    algorithm, given = mpl(variant="plain"), batch()
    labels = algorithm.label(given)

    def likelihood() -> Tensor:
        return -F.cross_entropy(teacher_logits(algorithm, given.u["strong"]), labels).detach()

    before = likelihood()
    step(algorithm, 0.01, progress=progress)
    assert (likelihood() - before) * progress > 0


def test_soft_labels_of_the_teacher_itself_would_teach_it_nothing():
    algorithm, given = mpl(variant="plain"), batch()
    logits = teacher_logits(algorithm, given.u["strong"])
    soft = gradients_of(F.cross_entropy(logits, logits.detach().softmax(-1)), algorithm.teacher, "teacher")
    assert all(value.abs().max() < 1e-12 for value in soft.values())
    hard = part(step(algorithm, progress=1.0).gradients, "teacher")
    assert max(float(value.abs().max()) for value in hard.values()) > 1e-3


def test_student_and_teacher_learn_the_same_hard_labels_of_the_strong_view():
    algorithm, given = mpl(), batch()
    seen: dict[str, Tensor] = {}
    study, teach = algorithm.study, algorithm.teach
    algorithm.study = lambda batch, labels: (seen.update(student=labels), study(batch, labels))[1]
    algorithm.teach = lambda batch, labels: (lesson := teach(batch, labels), seen.update(teacher=lesson.labels))[0]
    before = copy.deepcopy(algorithm.teacher)
    found = step(algorithm, progress=1.0)
    labels = before(algorithm.normalize(given.u["strong"])).argmax(-1)
    assert torch.equal(seen["student"], labels) and torch.equal(seen["teacher"], labels)
    assert not torch.equal(labels, before(algorithm.normalize(given.u["weak"])).argmax(-1))
    # The gradients themselves, the student's by its equation.
    fresh = mpl()
    logits = fresh.network(fresh.normalize(given.u["strong"])).log_softmax(-1)
    targets = 0.85 * F.one_hot(labels, CLASSES).double() + 0.15 / CLASSES
    student = gradients_of(-(targets * logits).sum(-1).mean(), fresh.network, "network")
    assert same(part(found.gradients, "network"), student)


def uda_loss(algorithm: MPL, given: Batch, ramp: float) -> Tensor:
    cfg = algorithm.cfg
    q = (teacher_logits(algorithm, given.u["weak"]) / cfg.temperature).softmax(-1).detach()
    mask = q.max(-1).values >= cfg.threshold  # after the temperature
    assert 0 < mask.sum() < 12
    log_p = teacher_logits(algorithm, given.u["strong"]).log_softmax(-1)
    labeled = F.cross_entropy(teacher_logits(algorithm, given.x["weak"]), given.y, label_smoothing=cfg.label_smoothing)
    return labeled + cfg.uda_weight * ramp * (mask * -(q * log_p).sum(-1)).mean()


def threshold_for(algorithm: MPL) -> float:
    q = (teacher_logits(algorithm, batch().u["weak"]) / 0.7).softmax(-1)
    return q.max(-1).values.median().item()


@pytest.mark.parametrize(("at", "ramp"), [(0, 0.1), (4, 0.5), (50, 1.0)])
def test_without_progress_the_teacher_s_step_is_uda_s(at: int, ramp: float):
    algorithm, given = mpl(threshold=threshold_for(mpl()), uda_steps=10), batch()
    algorithm.step.fill_(at)
    expected = gradients_of(uda_loss(algorithm, given, ramp), algorithm.teacher, "teacher")
    found = part(step(algorithm, progress=0.0).gradients, "teacher")
    assert same(found, expected, tolerance=1e-7)  # the ramp is a float32


def test_without_progress_it_is_the_gradient_of_the_algorithm_uda():
    """At temperature 1, where both compare the same confidence with the threshold."""
    fields = {"threshold": threshold_for(mpl()), "temperature": 1.0}
    algorithm = mpl(**fields, label_smoothing=0.0, uda_weight=3.0, uda_steps=0)
    uda = frozen(make(UDA, **fields, weight=3.0))
    uda.network.load_state_dict(algorithm.teacher.state_dict())
    found = part(step(algorithm, progress=0.0).gradients, "teacher")
    uda.loss(batch()).loss.backward()
    assert same(found, {f"teacher.{name}": p.grad for name, p in uda.network.named_parameters()})


def test_progress_weights_the_teacher_s_own_labels_and_comes_from_all_ranks():
    """The mean over the ranks of h multiplies the gradient; what this rank saw alone does not."""
    algorithm, given = mpl(threshold=threshold_for(mpl()), uda_steps=0), batch()
    labels = algorithm.label(given)
    response = F.cross_entropy(teacher_logits(algorithm, given.u["strong"]), labels)
    expected = gradients_of(uda_loss(algorithm, given, 1.0) + 0.7 * response, algorithm.teacher, "teacher")
    run = step(algorithm, progress=0.7)
    assert same(part(run.gradients, "teacher"), expected) and run.output.metrics["progress"] == pytest.approx(0.7)


@pytest.mark.parametrize("labels", ["argmax", "sampled"])
def test_micro_batches_drop_what_the_whole_batch_does(labels: str):
    """The labels too: those of a forward of their own are those of the forward that learns."""
    found = []
    draws = {"label": torch.rand(12, 1, generator=torch.Generator().manual_seed(3))}
    for dropout, micro in ((0.5, 1), (0.5, 2), (0.0, 1)):
        algorithm = mpl(dropout=dropout, uda_steps=0, labels=labels).double()
        algorithm.training = algorithm.dropout.training = True  # and not BatchNorm
        run = Runner(algorithm, micro=micro)
        found.append((algorithm.train_step(batch(draws=draws), run).loss.item(), run.gradients))
    (whole, whole_gradients), (parts, part_gradients), (none, _) = found
    assert parts == pytest.approx(whole, rel=1e-12) and whole != pytest.approx(none, rel=1e-3)
    for name, value in whole_gradients.items():
        torch.testing.assert_close(part_gradients[name], value, rtol=1e-9, atol=1e-12)


def test_the_running_mean_of_progress_is_taken_off():
    plain, with_mean = mpl(), mpl(baseline=0.25)
    with_mean.baseline.fill_(0.2)
    one, two = step(plain, progress=0.5), step(with_mean, progress=0.7)
    assert same(one.gradients, two.gradients)
    with_mean.update(two.output.observed), plain.update(one.output.observed)
    assert with_mean.baseline.item() == pytest.approx(0.2 + 0.25 * (0.7 - 0.2)) and plain.baseline == 0


def test_the_plain_variant_reads_no_weak_view_and_no_label_for_the_teacher():
    algorithm = mpl(variant="plain")
    assert algorithm.views(algorithm.cfg).unlabeled.keys() == {"strong"}
    given = batch(u={"strong": batch().u["strong"]})
    assert not any(
        value.any() for value in part(step(algorithm, given=given, progress=0.0).gradients, "teacher").values()
    )


def test_the_average_and_what_is_evaluated_are_the_student_s():
    algorithm = make(MPL)
    assert algorithm.roles[0] == "student" and algorithm.role_module("student").network is algorithm.network
    averaged, own = set(algorithm.averaged_parameters()), set(algorithm.role_module("teacher").parameters())
    assert averaged == set(algorithm.network.parameters()) and not averaged & own
    assert sorted(n for n, _ in algorithm.named_parameters()) == sorted(
        f"{net}.{name}" for net in ("network", "teacher") for name, _ in algorithm.network.named_parameters()
    )


def test_dropout_is_for_learning_only():
    algorithm = make(MPL, **FIELDS | {"dropout": 0.5})
    torch.manual_seed(1)
    one, two = (algorithm.learn("network", batch().u["strong"], track=False)[0] for _ in (1, 2))
    assert not torch.equal(one, two)
    assert torch.equal(algorithm.judge(batch()), algorithm.judge(batch()))


def test_dropout_of_the_network_itself_is_refused():
    def network() -> torch.nn.Module:
        built = tiny_network()
        built.head = DropoutLinear(built.head, 0.2)
        return built

    with pytest.raises(UserError, match=r"model\.dropout: .* algorithm\.dropout"):
        MPL(MPL.Config(), network, info())


# The optimizers


def test_the_student_waits_and_warms_up():
    algorithm = MPL(MPL.Config(), tiny_network, info(steps=300_000), EmaConfig())
    optim = OptimConfig(schedule="cosine", lr=0.05)
    student, teacher = (algorithm.role_optim(role, optim) for role in algorithm.roles)
    assert (student.wait, student.warm_up, algorithm.steps_of(None, 60)) == (3000, 5000, 5000)
    assert (teacher.wait, teacher.warm_up, teacher.lr, teacher.weight_decay) == (0, 5000, 0.05, 5e-4)

    def rate(at: int) -> float:
        return float(learning_rate(torch.tensor(at), 0.05, "cosine", 300_000, student.warm_up, student.wait))

    assert rate(0) == rate(2999) == 0 < rate(3000) and rate(5499) == pytest.approx(0.025, rel=1e-3)
    assert rate(8000) == pytest.approx(0.05) and rate(8000 + 292_000 // 2) == pytest.approx(0.025)
    assert rate(300_000) == pytest.approx(0, abs=1e-12)


def test_the_teacher_has_fields_of_its_own():
    fields = {"teacher_lr": 0.2, "teacher_weight_decay": 0.0, "wait": 3, "warm_up": 4}
    algorithm = make(MPL, **fields)
    student, teacher = (algorithm.role_optim(role, OptimConfig(lr=0.1)) for role in algorithm.roles)
    assert (teacher.lr, teacher.weight_decay, teacher.wait, teacher.warm_up) == (0.2, 0.0, 0, 4)
    assert (student.lr, student.weight_decay, student.wait, student.warm_up) == (0.1, 5e-4, 3, 4)
    own = make(MPL, **fields, teacher_warm_up=9)
    assert [own.role_optim(role, OptimConfig()).warm_up for role in own.roles] == [4, 9]
    assert MPL.ramped(own.cfg, 100) == 9 and MPL.ramped(algorithm.cfg, 100) == 7


def test_runs_from_before_the_teacher_warmed_up_go_on_as_they_were():
    """Also their strong view, and with a warm-up of the whole run's optimizer."""
    content = config("--algorithm", "mpl", "--algorithm.strong", "randaugment(2,16)").model_dump(mode="json")
    for name in ("labels", "teacher_warm_up"):
        del content["algorithm"][name]
    found = migrated(content | {"schema": 3})
    strong = "randaugment-signed(2,16)"  # as it is called by now
    assert found.unlike_today["algorithm.strong"] == (strong, MPL.Config().strong) == (strong, "mpl")
    cfg = RunConfig.model_validate(found.fields).algorithm
    assert (cfg.labels, cfg.teacher_warm_up, cfg.strong) == ("argmax", 0, strong)
    algorithm = make(MPL, teacher_warm_up=0, warm_up=4)
    assert [algorithm.role_optim("teacher", OptimConfig(warm_up=many)).warm_up for many in (0, 7)] == [0, 7]
    other = config("--algorithm.strong", "randaugment(2,16)").model_dump(mode="json") | {"schema": 3}
    assert "algorithm.strong" not in migrated(other).unlike_today  # FixMatch's default has not changed


def test_a_student_that_would_wait_for_ever_is_refused():
    with pytest.raises(UserError, match=r"algorithm\.wait: the student would wait for all 100 steps"):
        make(MPL, wait=100)


@pytest.mark.parametrize("fields", [{"variant": "reduced"}, {"predictions": Path("table.npy")}])
def test_predictions_belong_to_the_reduced_variant(fields: dict):
    assert MPL.problems(MPL.Config(**fields), 8, 8) == [
        "algorithm.predictions: belongs to algorithm.variant reduced, which needs it; give both or neither"
    ]
