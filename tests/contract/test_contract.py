"""What every registered algorithm keeps, whatever it computes."""

from collections.abc import Callable

import pytest
import torch

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.check import properties, tiny
from semisonic.check.tiny import Runner, Subject, batch_for

GRAPHS = {"mpl": 3}
"""Graphs of a compiled step, one for each role and phase of it; 1 where nothing is said."""

each = pytest.mark.parametrize("kind", ALGORITHMS.values(), ids=ALGORITHMS)


@each
def test_registry_name_is_the_configuration_s(kind: type[Algorithm]):
    assert ALGORITHMS[kind.Config().name] is kind


@each
def test_mixing_weights_follow_the_beta_distribution_that_is_configured(kind: type[Algorithm]):
    fields = {name: 0.3 for name in ("alpha", "mix_alpha") if name in kind.Config.model_fields}
    fields |= {"mix": "mixup"} if "mix" in kind.Config.model_fields else {}
    betas = kind.views(kind.Config(**fields)).betas
    assert bool(betas) == bool(fields) and set(betas.values()) <= {0.3}


@each
def test_output_follows_the_contract(kind: type[Algorithm]):
    properties.output_follows_the_contract(Subject(kind))


@each
def test_an_algorithm_sees_only_the_views_that_it_named(kind: type[Algorithm]):
    properties.sees_only_its_views(Subject(kind))


@each
def test_loss_writes_no_state_and_one_forward_tracks(kind: type[Algorithm]):
    properties.loss_writes_no_state(Subject(kind))


@each
def test_every_parameter_gets_a_gradient(kind: type[Algorithm]):
    properties.every_parameter_gets_a_gradient(Subject(kind))


@each
def test_state_round_trips(kind: type[Algorithm]):
    properties.state_round_trips(Subject(kind))


@each
def test_the_unlabeled_batch_may_grow_or_is_refused(kind: type[Algorithm]):
    """State knows nothing of its size, and a step of any gives a finite loss."""
    algorithm = Subject(kind).make()
    if not kind.takes_growing_batches(algorithm.cfg):
        pytest.skip("depends on the number of unlabeled images, and refuses a growing one")
    run, shapes = Runner(algorithm), {name: value.shape for name, value in algorithm.state_dict().items()}
    for count in (6, 12):
        assert kind.problems(algorithm.cfg, tiny.LABELED, count) == []
        batch = batch_for(algorithm, size_u=count)
        assert len(batch.u_index) in (0, count) and run.step(batch).loss.isfinite()
    assert shapes == {name: value.shape for name, value in algorithm.state_dict().items()}


@each
def test_one_graph_and_no_recompile_from_step_two_on(kind: type[Algorithm]):
    assert properties.is_one_graph(Subject(kind)) == GRAPHS.get(kind.Config().name, 1)


@pytest.mark.parametrize("name", ["fixmatch", "flexmatch"])
@pytest.mark.parametrize(
    "keeps",
    [
        properties.output_follows_the_contract,
        properties.sees_only_its_views,
        properties.loss_writes_no_state,
        properties.every_parameter_gets_a_gradient,
        properties.resumes_bit_for_bit,
        properties.micro_batches_mean_the_batch,
        properties.truth_is_never_learned,
        properties.stays_finite_at_extremes,
    ],
    ids=lambda keeps: keeps.__name__,
)
def test_weak_views_with_a_forward_of_their_own_keep_it_all(name: str, keeps: Callable[[Subject], object]):
    keeps(Subject(ALGORITHMS[name], {"weak_pass": "separate"}))


def test_both_forwards_are_in_one_graph():
    assert properties.is_one_graph(Subject(ALGORITHMS["flexmatch"], {"weak_pass": "separate"})) == 1


@pytest.mark.slow
def test_the_trainer_s_compiled_step_equals_the_eager_one(tmp_path):
    """The real compiler on the real small network, through the trainer, for a few steps."""
    from semisonic.config.command_line import resolve
    from semisonic.training.build import build_trainer

    losses = {}
    for mode in ("off", "whole"):
        torch._dynamo.reset()
        fields = ["--no-baseline", "--compile", mode, "--device", "cpu", "--batch.labeled", "8", "--log.trackers",
                  "none", "--batch.unlabeled-ratio", "2", "--algorithm.threshold", "0.12",
                  "--out", str(tmp_path / mode)]  # fmt: skip
        cfg = resolve(fields)[1]
        trainer = build_trainer(cfg)
        loader = trainer.loader()
        with torch._dynamo.config.patch(error_on_recompile=True):
            losses[mode] = [trainer.training_step(next(loader)).loss.item() for _ in range(4)]
    assert losses["whole"] == pytest.approx(losses["off"], rel=1e-4)
