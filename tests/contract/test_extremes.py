"""What no algorithm may stumble over: odd batches, half precision, a restart; and what none may ignore or look at."""

import copy

import pytest
import torch
from torch import Tensor

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.contract import Batch
from tests.support.algorithms import batch_for, images, info, tiny_network
from tests.support.runner import Runner

each = pytest.mark.parametrize("kind", ALGORITHMS.values(), ids=ALGORITHMS)


def make(kind: type[Algorithm], autocast: torch.dtype | None = None, **wanted: object) -> Algorithm:
    """An algorithm with those of the wanted fields that it has."""
    torch.manual_seed(0)
    wanted = {"block": 2} | wanted
    cfg = kind.Config(**{name: value for name, value in wanted.items() if name in kind.Config.model_fields})
    return kind(cfg, tiny_network, info(), autocast=autocast)


def under_way(algorithm: Algorithm, steps: int = 3) -> Runner:
    """After a few steps, late in the schedule, where every ramp has risen and every table holds something."""
    algorithm.step.fill_(algorithm.info.steps - 10)
    run = Runner(algorithm)
    for seed in range(steps):
        run.step(batch_for(algorithm, seed))
    return run


def confident(algorithm: Algorithm, scale: float) -> None:
    """Scales the logits of all networks."""
    with torch.no_grad():
        for name, value in [*algorithm.named_parameters(), *algorithm.named_buffers()]:
            if name.endswith(("head.weight", "head.bias")):
                value *= scale


def check(run: Runner, batch: Batch) -> None:
    """A step gives finite metrics and leaves everything finite."""
    output = run.step(batch)
    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(value).all() for value in output.metrics.values())
    assert all(torch.isfinite(value).all() for value in run.algorithm.state_dict().values())


@each
@pytest.mark.parametrize("scale", [0.0, 1e4], ids=["no confident sample", "all confident"])
def test_confidence_at_its_extremes(kind: type[Algorithm], scale: float):
    algorithm = make(kind)
    run = under_way(algorithm)
    confident(algorithm, scale)
    check(run, batch_for(algorithm, 7))
    check(run, batch_for(algorithm, 8))


@each
def test_a_batch_of_one_class_and_one_image(kind: type[Algorithm]):
    algorithm = make(kind)
    run, batch = under_way(algorithm), batch_for(algorithm, 7)
    one = {"x": {name: view[:1].expand_as(view) for name, view in batch.x.items()}, "y": torch.zeros_like(batch.y),
           "u": {name: view[:1].expand_as(view) for name, view in batch.u.items()},
           "u_index": torch.zeros_like(batch.u_index), "x_index": torch.zeros_like(batch.x_index)}  # fmt: skip
    check(run, batch._replace(**one))


@each
def test_bf16_is_near_float32(kind: type[Algorithm]):
    exact, half = make(kind), make(kind, torch.bfloat16)
    for algorithm in (exact, half):
        algorithm.step.fill_(algorithm.info.steps - 10)
    outputs = [Runner(algorithm).step(batch_for(algorithm, 7)) for algorithm in (exact, half)]
    assert outputs[0].loss.dtype == outputs[1].loss.dtype == torch.float32
    assert outputs[1].loss.item() == pytest.approx(outputs[0].loss.item(), rel=0.05, abs=0.02)
    assert not torch.equal(outputs[0].loss, outputs[1].loss)
    assert not any(value.dtype == torch.bfloat16 for value in half.state_dict().values())


@each
def test_a_resumed_algorithm_goes_on_bit_for_bit(kind: type[Algorithm]):
    through, resumed = make(kind), make(kind)
    run = under_way(through)
    torch.manual_seed(5)
    other = Runner(resumed)
    other.load(copy.deepcopy(run.state()))
    for seed in (3, 4, 5):
        one, two = run.step(batch_for(through, seed)), other.step(batch_for(resumed, seed))
        assert torch.equal(one.loss, two.loss)
    state = resumed.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in through.state_dict().items())


@each
def test_equal_micro_batches_mean_the_whole_batch(kind: type[Algorithm]):
    """Where BatchNorm is frozen, and the method allows micro-batches at all."""
    if not kind.micro_batches:
        pytest.skip("couples all samples of a batch, and refuses micro-batches")
    algorithms = [make(kind, block=1).double() for _ in (1, 2)]
    losses, gradients = [], []
    for micro, algorithm in enumerate(algorithms, start=1):
        under_way(algorithm)
        algorithm.eval()
        run = Runner(algorithm, micro=micro)
        losses.append(run.step(batch_for(algorithm, 7), train=False).loss)
        gradients.append(run.gradients)
    torch.testing.assert_close(*losses, rtol=1e-9, atol=0)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def gradient(kind: type[Algorithm], changes: dict[str, object]) -> dict[str, Tensor]:
    """Of a step late in the schedule, with BatchNorm frozen so that a sample reaches others through the loss alone."""
    algorithm = make(kind, threshold=0.0, policy="none").double()
    run = under_way(algorithm)
    algorithm.eval()
    run.step(batch_for(algorithm, 7)._replace(**changes), train=False)
    return run.gradients


@each
def test_the_unlabeled_images_move_the_weights(kind: type[Algorithm]):
    algorithm = make(kind)
    if not algorithm.views(algorithm.cfg).unlabeled:
        pytest.skip("reads no unlabeled images")
    batch = batch_for(algorithm, 7)
    # The views stay different from one another: where all are the same image, some methods have nothing to learn.
    other = {name: images(12, 300 + k) for k, name in enumerate(batch.u)}
    one, two = gradient(kind, {}), gradient(kind, {"u": other})
    assert any(not torch.allclose(one[name], two[name], rtol=1e-3, atol=0) for name in one)


@each
def test_true_classes_of_unlabeled_images_are_never_learned_from(kind: type[Algorithm]):
    algorithm = make(kind)
    unknown = {"u_true": torch.full_like(batch_for(algorithm, 7).u_true, -1)}
    one, two = gradient(kind, {}), gradient(kind, unknown)
    assert all(torch.equal(one[name], two[name]) for name in one)
