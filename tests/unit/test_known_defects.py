"""Defects of public code for these methods, and the tests that keep them out of here.

What is only about methods that are not here (CRMatch, SequenceMatch, those for long tails) has no entry.
"""

import ast
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from semisonic.algorithms.supervised import Supervised
from semisonic.config.command_line import resolve
from semisonic.distributed.engine import Engine
from semisonic.optim.optimizer import OptimConfig, build_optimizer
from semisonic.training.build import build_trainer
from semisonic.training.trainer import Trainer
from tests.support.algorithms import batch, make
from tests.support.processes import ROOT

KEPT_OUT = {
    "the teacher's logits stand for the student's, and the consistency loss is 0": (
        "unit/algorithms/test_streams.py::test_the_unlabeled_loss_moves_the_network",
        "contract/test_extremes.py::test_the_unlabeled_images_move_the_weights",
    ),
    "soft labels ignore their temperature": (
        "unit/algorithms/test_uda.py::test_the_temperature_changes_loss_and_gradient",
        "unit/algorithms/test_dash.py::test_the_temperature_is_of_soft_labels_alone",
    ),
    "the bank of labeled images is normalized along the batch": (
        "unit/algorithms/test_banks.py::test_a_bank_s_rows_are_unit_vectors_after_a_hundred_visits",
    ),
    "of an image that comes twice in a batch any one visit is kept": (
        "unit/algorithms/test_banks.py::test_a_visit_mixes_the_mean_of_what_came_twice_with_the_past",
        "unit/algorithms/test_banks.py::test_the_order_of_what_came_twice_does_not_matter",
    ),
    "thresholds, weights and penalties are those of a rank's own images, or fail on more than one": (
        "dist/test_world_size.py::test_ranks_equal_one_process",
        "unit/algorithms/test_softmatch.py::test_mean_and_variance_are_those_of_all_ranks_together",
        "unit/algorithms/test_adamatch.py::test_threshold_and_means_are_those_of_all_ranks",
        "unit/algorithms/test_freematch.py::test_the_penalty_is_that_of_all_ranks",
        "unit/kernels/test_contrastive.py::test_the_ranks_shares_of_a_graph_add_up_to_the_whole",
    ),
    "the running mean of predictions is taken over the classes, too, and aligns nothing": (
        "unit/addons/test_prior.py::test_the_running_mean_leaves_the_uniform_one_on_skewed_predictions",
    ),
    "the mean over samples of which there are none is not a number": (
        "unit/algorithms/test_freematch.py::test_where_none_counts_the_penalty_is_0_and_gradients_are_finite",
        "unit/algorithms/test_dash.py::test_where_none_counts_the_unlabeled_loss_is_zero",
    ),
    "training signal annealing looks at the largest probability, not at the label's": (
        "unit/algorithms/test_uda.py::test_annealing_holds_back_what_is_learned",
    ),
    "the test images give the threshold to begin with": (
        "unit/algorithms/test_dash.py::test_c_the_first_threshold_is_of_the_last_losses_of_the_warm_up",
        "unit/algorithms/test_dash.py::test_c_no_test_and_no_held_out_image_is_read",
    ),
    "what is above the threshold, not below it, has soft labels, and no temperature": (
        "unit/algorithms/test_refixmatch.py::test_it_equals_its_equation_and_kl_and_cross_entropy_have_one_gradient",
        "unit/algorithms/test_refixmatch.py::test_the_temperature_is_of_the_soft_labels",
    ),
    "the running share of certain samples begins anew in each epoch": (
        "unit/algorithms/test_shrinkmatch.py::"
        "test_d_the_share_begins_at_the_first_batch_s_and_goes_on_through_epochs_and_a_resume",
    ),
    "classes are left out in a loop over samples, which reads the device": (
        "unit/kernels/test_losses.py::test_fewer_classes_equal_a_loop_over_samples_and_classes",
        "contract/test_no_waiting.py::test_a_step_never_waits",
    ),
    "each rank has a table of its own, and checkpoints have none": (
        "dist/test_world_size.py::test_ranks_equal_one_process",
        "contract/test_extremes.py::test_a_resumed_algorithm_goes_on_bit_for_bit",
    ),
    "the teacher is rewarded where the student became worse": (
        "unit/algorithms/test_mpl.py::test_progress_is_old_minus_new",
        "unit/algorithms/test_mpl.py::test_labels_that_helped_become_more_likely_and_others_less",
    ),
    "student and teacher learn different pseudo-labels, or soft ones without a gradient": (
        "unit/algorithms/test_mpl.py::test_student_and_teacher_learn_the_same_hard_labels_of_the_strong_view",
        "unit/algorithms/test_mpl.py::test_soft_labels_of_the_teacher_itself_would_teach_it_nothing",
    ),
    "each rank rewards its teacher by its own student's progress": (
        "unit/algorithms/test_mpl.py::test_progress_weights_the_teacher_s_own_labels_and_comes_from_all_ranks",
    ),
    "a resumed run starts with a new student": (
        "unit/training/test_trainer.py::test_a_resumed_run_goes_on_bit_for_bit_with_both_networks_and_optimizers",
    ),
    "the global batch grows with the number of GPUs": (
        "dist/test_world_size.py::test_ranks_equal_one_process",
        "unit/data/loading/test_sampler.py::test_ranks_share_the_global_order",
    ),
    "the order of the samples ignores the seed": (
        "unit/data/loading/test_sampler.py::test_seeds_and_streams_have_orders_of_their_own",
    ),
    "digits are flipped": ("unit/data/views/test_registry.py::test_digits_are_not_flipped",),
    "crops leave out the last offset": ("unit/data/views/test_view.py::test_weak_offsets_are_uniform",),
    "Shake-Shake's backward keeps the coefficients of the forward": (
        "unit/models/test_shake_shake.py::test_forward_and_backward_have_coefficients_of_their_own",
    ),
    "weight decay shrinks the running statistics": (
        "unit/test_known_defects.py::test_weight_decay_leaves_statistics_alone",
    ),
    "Wide ResNets have BatchNorm layers without gradient": (
        "unit/models/test_wide_resnet.py::test_port_has_four_dead_tensors",
    ),
    "scaled gradients are clipped before they are scaled back": (
        "unit/test_known_defects.py::test_clipping_follows_the_scaling_back",
    ),
    "the test set chooses the best checkpoint": ("unit/test_known_defects.py::test_the_test_set_chooses_nothing",),
    "steps that nobody counts, or statistics of images kept for evaluation": (
        "unit/test_known_defects.py::test_training_reads_the_labeled_images_and_the_pool_only",
    ),
}


@pytest.mark.parametrize("defect", KEPT_OUT)
def test_it_has_a_test(defect: str):
    for path in KEPT_OUT[defect]:
        file, name = path.split("::")
        functions = {
            node.name
            for node in ast.walk(ast.parse((ROOT / "tests" / file).read_text()))
            if isinstance(node, ast.FunctionDef)
        }
        assert name in functions, path


def test_weight_decay_leaves_statistics_alone():
    algorithm = make(Supervised).float()
    algorithm.loss(batch()).loss.backward()
    before = {name: value.clone() for name, value in algorithm.named_buffers()}
    optimizer = build_optimizer(algorithm, OptimConfig(lr=0.1, weight_decay=0.5, decay_all=True))
    for _ in range(3):
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in algorithm.named_buffers())


def test_clipping_follows_the_scaling_back():
    """A gradient of norm 0.3 is below the largest one of 0.5, however it is scaled meanwhile."""
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.zero_()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    names = {parameter: name for name, parameter in module.named_parameters()}
    sgd = torch.optim.SGD(module.parameters(), lr=1.0)
    engine = Engine(Accelerator(cpu=True), module, sgd, scaler, OptimConfig(clip=0.5), names)
    engine.backward(0.3 * module.weight.sum())
    engine.step()
    assert module.weight.item() == pytest.approx(-0.3)


def trainer(out: Path, *fields: str) -> Trainer:
    cfg = resolve(["--out", str(out), "--device", "cpu", "--steps", "3", "--no-baseline", "--log.trackers", "none",
                   "--batch.labeled", "4", "--eval.every", "1", *fields])[1]  # fmt: skip
    return build_trainer(cfg)


def test_the_test_set_chooses_nothing(tmp_path: Path):
    without, held_out = trainer(tmp_path / "a"), trainer(tmp_path / "b", "--data.held-out", "10")
    for run in (without, held_out):
        run.history = [
            {"step": 1, "test/top1": 99.0, "held_out/top1": 10.0},
            {"step": 2, "test/top1": 50.0, "held_out/top1": 20.0},
        ]
    assert without.best_step is None and held_out.best_step == 2


def test_training_reads_the_labeled_images_and_the_pool_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = trainer(tmp_path / "run", "--data.held-out", "1300")
    asked: list[int] = []
    resident = type(run.loader().resident)
    gather = resident.gather

    def noted(self, rows):
        asked.extend(rows.tolist())
        return gather(self, rows)

    monkeypatch.setattr(resident, "gather", noted)
    loader = run.loader()
    for _ in range(8):
        run.training_step(next(loader))
    assert run.step == 8 == int(run.algorithm.step)
    allowed = {*run.split.labeled.tolist(), *run.split.unlabeled.tolist()}
    assert set(asked) <= allowed and not set(asked) & set(run.split.held_out.tolist())
    assert len(set(asked)) > 0.9 * len(allowed)  # 8 steps of 28 go over a pool of 97 twice
