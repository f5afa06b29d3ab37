"""MixMatch and FixMatch that the average teaches: the labels are the average's, all else is the method's."""

import pytest
import torch

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.mixmatch import MixMatch
from semisonic.check.tiny import Runner, Subject, batch_for
from semisonic.studies.taught import TaughtFixMatch, TaughtMixMatch

PAIRS = [(TaughtMixMatch, MixMatch, {"ramp": 0.0}), (TaughtFixMatch, FixMatch, {"threshold": 0.0})]


@pytest.mark.parametrize(("taught", "method", "fields"), PAIRS)
def test_an_average_that_is_the_network_changes_nothing(taught, method, fields):
    losses = []
    for kind in (taught, method):
        algorithm = Subject(kind, fields).make()
        algorithm.train()
        losses.append(algorithm(batch_for(algorithm)).loss)
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize(("taught", "method", "fields"), PAIRS)
def test_another_average_changes_what_is_learned_from_unlabeled_images_and_stays_as_it_is(taught, method, fields):
    changed = []
    for kind in (taught, method):
        algorithm = Subject(kind, fields).make()
        with torch.no_grad():
            algorithm.ema.head.weight.mul_(-3)
        before = {name: value.clone() for name, value in algorithm.ema.state_dict().items()}
        algorithm.train()
        metrics = algorithm(batch_for(algorithm)).metrics
        changed.append(metrics["loss_unlabeled"])
        assert all(torch.equal(value, before[name]) for name, value in algorithm.ema.state_dict().items())
    assert not torch.isclose(*changed)


def test_mixmatch_guesses_what_the_average_sees_in_the_batch():
    algorithm = Subject(TaughtMixMatch).make()
    with torch.no_grad():
        algorithm.ema.head.bias.copy_(torch.tensor([9.0, 0.0, 0.0, 0.0]))
    algorithm.train()
    batch = batch_for(algorithm)
    seen = algorithm.classify(batch.u["weak1"], batch.u["weak2"], module="ema")
    guess = algorithm.guess(batch)
    torch.testing.assert_close(guess, torch.stack([logits.softmax(-1) for logits in seen]).mean(0))
    assert guess[:, 0].min() > 0.9 and not guess.requires_grad


def test_fixmatch_takes_the_weak_view_of_the_average_and_the_strong_one_of_the_network():
    algorithm, method = Subject(TaughtFixMatch).make(), Subject(FixMatch).make()
    with torch.no_grad():
        algorithm.ema.head.bias.copy_(torch.tensor([9.0, 0.0, 0.0, 0.0]))
    batch = batch_for(algorithm)
    for one in (algorithm, method):
        one.train()
    (x, weak, strong), (own_x, own_weak, own_strong) = algorithm.look_at(batch), method.look_at(batch)
    torch.testing.assert_close((x.logits, strong.logits), (own_x.logits, own_strong.logits))
    assert weak.logits.argmax(-1).eq(0).all() and not weak.logits.requires_grad and own_weak.logits.requires_grad


@pytest.mark.parametrize(("taught", "method", "fields"), PAIRS)
def test_a_step_moves_the_running_statistics_as_the_method_s_does(taught, method, fields):
    norms = []
    for kind in (taught, method):
        algorithm = Subject(kind, fields).make()
        Runner(algorithm).step(batch_for(algorithm))
        norms.append((algorithm.network.norm.running_mean, algorithm.network.norm.num_batches_tracked))
    torch.testing.assert_close(*norms)
    assert norms[0][1] == 1
