"""What no algorithm may stumble over: odd batches, half precision, a restart; and what none may ignore or look at."""

import pytest
import torch

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.check import properties
from semisonic.check.tiny import Runner, Subject, batch_for, images, info, tiny_network
from semisonic.models.ema import EmaConfig

each = pytest.mark.parametrize("kind", ALGORITHMS.values(), ids=ALGORITHMS)


@each
def test_confidence_at_its_extremes_and_a_batch_of_one_image(kind: type[Algorithm]):
    properties.stays_finite_at_extremes(Subject(kind))


@each
def test_bf16_is_near_float32(kind: type[Algorithm]):
    exact, half = Subject(kind).make(), Subject(kind).make(torch.bfloat16)
    for algorithm in (exact, half):
        algorithm.step.fill_(algorithm.info.steps - 10)
    outputs = [Runner(algorithm).step(batch_for(algorithm, 7)) for algorithm in (exact, half)]
    assert outputs[0].loss.dtype == outputs[1].loss.dtype == torch.float32
    assert outputs[1].loss.item() == pytest.approx(outputs[0].loss.item(), rel=0.05, abs=0.02)
    assert not torch.equal(outputs[0].loss, outputs[1].loss)
    assert not any(value.dtype == torch.bfloat16 for value in half.state_dict().values())


@each
def test_a_resumed_algorithm_goes_on_bit_for_bit(kind: type[Algorithm]):
    properties.resumes_bit_for_bit(Subject(kind))


@each
def test_equal_micro_batches_mean_the_whole_batch(kind: type[Algorithm]):
    try:
        properties.micro_batches_mean_the_batch(Subject(kind))
    except properties.Skipped as reason:
        pytest.skip(str(reason))


@each
def test_the_unlabeled_images_move_the_weights(kind: type[Algorithm]):
    algorithm = Subject(kind).make()
    if not algorithm.views(algorithm.cfg).unlabeled:
        pytest.skip("reads no unlabeled images")
    batch = batch_for(algorithm, 7)
    # The views stay different from one another: where all are the same image, some methods have nothing to learn.
    other = {name: images(12, 300 + k) for k, name in enumerate(batch.u)}
    one, two = properties.late_gradients(Subject(kind)), properties.late_gradients(Subject(kind), u=other)
    assert any(not torch.allclose(one[name], two[name], rtol=1e-3, atol=0) for name in one)


@each
def test_true_classes_of_unlabeled_images_are_never_learned_from(kind: type[Algorithm]):
    properties.truth_is_never_learned(Subject(kind))


@each
def test_a_class_without_a_labeled_image_leaves_losses_finite(kind: type[Algorithm]):
    subject = Subject(kind)
    algorithm = kind(subject.make().cfg, tiny_network, info(class_prior=(0.5, 0.5, 0.0, 0.0)), EmaConfig())
    for seed in range(2):
        batch = batch_for(algorithm, seed)
        output = Runner(algorithm).step(batch._replace(y=batch.y % 2))
        assert torch.isfinite(output.loss)
        assert all(torch.isfinite(torch.as_tensor(value)).all() for value in output.metrics.values())
    assert all(value.isfinite().all() for value in algorithm.state_dict().values())
