"""Mean Teacher: its teacher has no gradient, follows the student, and the loss equals its equation."""

import pytest
import torch
from torch.nn import functional as F

from semisonic.algorithms.mean_teacher import MeanTeacher
from semisonic.models.ema import EmaConfig
from semisonic.models.norm import batch_statistics
from tests.support.algorithms import CLASSES, batch, frozen, images, info, tiny_network
from tests.support.consistency import given, ready


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
