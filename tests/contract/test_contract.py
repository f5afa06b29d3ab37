"""What every registered algorithm keeps, whatever it computes."""

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.registry import ALGORITHMS
from semisonic_kernels.fuse import use_kernels
from tests.support.algorithms import batch_for, images, info, tiny_network
from tests.support.runner import Runner

GRAPHS = {"mpl": 3}
"""Graphs of a compiled step, one for each role and phase of it; 1 where nothing is said."""

each = pytest.mark.parametrize("kind", ALGORITHMS.values(), ids=ALGORITHMS)


def make(kind: type[Algorithm]) -> Algorithm:
    torch.manual_seed(0)
    fields = {"block": 2} if "block" in kind.Config.model_fields else {}  # must divide the 6 labeled images
    return kind(kind.Config(**fields), tiny_network, info())


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
    algorithm = make(kind)
    output = Runner(algorithm).step(batch_for(algorithm))
    assert output.loss.ndim == 0 and output.loss.dtype == torch.float32
    assert {"loss_labeled", "labeled_accuracy"} <= output.metrics.keys()
    assert "loss_unlabeled" in output.metrics or not algorithm.views(algorithm.cfg).unlabeled
    for name, value in output.metrics.items():
        assert value.ndim <= 1 and not value.requires_grad, name
    for name, value in output.observed.items():
        assert not value.requires_grad, name


@each
def test_an_algorithm_sees_only_the_views_that_it_named(kind: type[Algorithm]):
    """Add-ons bring views and draws of their own; beside them the same losses come out, bit for bit."""
    alone, beside = make(kind), make(kind)
    for seed in range(2):
        given = batch_for(alone, seed)
        more = {"first": images(12, 90), **given.u, "zebra": images(12, 91)}
        draws = {"another": torch.rand(12, 1), **given.draws}
        full = given._replace(x={"first": images(6, 92), **given.x, "zebra": images(6, 93)}, u=more, draws=draws)
        one, other = Runner(alone).step(given), Runner(beside).step(full)
        assert torch.equal(one.loss, other.loss)
        assert all(torch.equal(value, other.metrics[name]) for name, value in one.metrics.items())
    assert all(torch.equal(value, beside.state_dict()[name]) for name, value in alone.state_dict().items())


@each
def test_loss_writes_no_state_and_one_forward_tracks(kind: type[Algorithm]):
    algorithm = make(kind)
    before = copy.deepcopy(algorithm.state_dict())
    algorithm.train_step(batch_for(algorithm), Runner(algorithm, lr=0.0))
    moved = {name for name, value in algorithm.state_dict().items() if not torch.equal(value, before[name])}
    assert all("running_" in name or name.endswith("num_batches_tracked") for name in moved)
    assert not any(name.startswith("ema.") for name in moved)
    tracked = {name: value for name, value in algorithm.named_buffers() if name.endswith("num_batches_tracked")}
    assert all(value == (not name.startswith("ema.")) for name, value in tracked.items())


@each
def test_every_parameter_gets_a_gradient(kind: type[Algorithm]):
    algorithm = make(kind)
    run = Runner(algorithm)
    run.step(batch_for(algorithm))
    assert run.gradients.keys() == dict(algorithm.named_parameters()).keys()


@each
def test_state_round_trips(kind: type[Algorithm]):
    one, other = make(kind), make(kind)
    run = Runner(one)
    for seed in range(3):
        run.step(batch_for(one, seed))
    other.load_state_dict(one.state_dict())
    one.eval(), other.eval()
    batch = batch_for(one)
    assert torch.equal(one.train_step(batch, Runner(one)).loss, other.train_step(batch, Runner(other)).loss)
    assert other.step == 3 and other.ema_updates == 3


@each
def test_one_graph_and_no_recompile_from_step_two_on(kind: type[Algorithm]):
    torch._dynamo.reset()
    algorithm, plain = make(kind), make(kind)
    counter = CompileCounterWithBackend("aot_eager")
    for role in algorithm.roles:
        module = algorithm.role_module(role)
        module.forward = torch.compile(module.forward, fullgraph=True, dynamic=False, backend=counter)
    for module, kernels in ((algorithm, "fused"), (plain, "reference")):
        run, module.losses = Runner(module), []
        for step, rate in enumerate([0.1, 0.05, 0.025, 0.0125]):
            run.set_rate(rate)
            with use_kernels(kernels):
                module.losses.append(run.step(batch_for(module, seed=step)).loss.item())
            if step == 0:
                first = counter.frame_count
            module.eval()  # an evaluation between steps must not cost a recompile either
            module.infer(images(4, 9), module="ema")
    assert counter.frame_count == first == GRAPHS.get(kind.Config().name, 1)
    assert algorithm.losses == pytest.approx(plain.losses, rel=1e-5)
    assert algorithm.state_dict().keys() == plain.state_dict().keys()  # no `_orig_mod.`


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
