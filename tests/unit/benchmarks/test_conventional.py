"""The conventional loop does the same work as the engine's, as others do it."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import conventional
import variants
from semisonic.config.command_line import resolve
from semisonic.models.networks import ModelConfig, build
from semisonic.optim.schedules import learning_rate


@pytest.mark.parametrize(
    "cfg",
    [
        ModelConfig(name="wrn-10-1"),
        ModelConfig(name="wrn-13-1"),
        ModelConfig(name="wrn-16-2", residual="port", norm_momentum=0.1, norm_eps=1e-5),
        ModelConfig(name="small"),
        ModelConfig(name="resnet18"),
        ModelConfig(name="shake-shake-8-2x4d"),
    ],
    ids=lambda cfg: cfg.name,
)
def test_the_conventional_network_is_the_engines(cfg: ModelConfig):
    torch.manual_seed(0)
    ours, theirs = build(cfg, 10, 32), conventional.build_network(cfg, 10, 32)
    assert all(type(m) is nn.BatchNorm2d for m in theirs.modules() if isinstance(m, nn.BatchNorm2d))
    count = [sum(p.numel() for p in network.parameters()) for network in (ours, theirs)]
    assert count[0] == count[1]
    conventional.copy_weights(ours, theirs)
    images = torch.randn(4, 3, 32, 32)
    found = []
    for network in (ours, theirs):
        torch.manual_seed(1)  # for those that draw
        found.append(network(images))
    assert torch.allclose(*found, atol=1e-5)
    # The running statistics that this moved are the same ones too.
    assert torch.allclose(ours.eval()(images), theirs.eval()(images), atol=1e-5)


def test_networks_that_differ_are_refused():
    with pytest.raises(ValueError, match="differ"):
        conventional.copy_weights(nn.Linear(2, 3), nn.Linear(3, 3))


def test_the_learning_rate_is_the_engines():
    for schedule in ("fixmatch", "cosine", "ict", "constant"):
        cfg = SimpleNamespace(schedule=schedule, warm_up=3)
        for step in (0, 1, 5, 99):
            expected = float(learning_rate(torch.tensor(step), 1.0, schedule, 100, 3))
            assert conventional.learning_rate_factor(step, cfg, 100) == pytest.approx(expected)


def tiny_loop(algorithm: str, *fields: str) -> conventional.Loop:
    argv = ["--no-baseline", "--algorithm", algorithm, "--batch.labeled", "4", "--batch.unlabeled-ratio", "2"]
    argv += ["--model", "small", "--model.norm-start-up", "0"]  # the loop's running statistics have none
    cfg = resolve([*argv, "--device", "cpu", *fields])[1]
    torch.manual_seed(0)
    images, labels = torch.randn(4, 3, 16, 16), torch.arange(4)
    views = (torch.randn(8, 3, 16, 16), torch.randn(8, 3, 16, 16))
    unlabeled = itertools.repeat(views) if algorithm == "fixmatch" else None
    return conventional.Loop(cfg, 10, 16, torch.device("cpu"), "fp32", itertools.repeat((images, labels)), unlabeled)


@pytest.mark.parametrize("algorithm", conventional.ALGORITHMS)
def test_a_conventional_step_trains(algorithm: str):
    loop = tiny_loop(algorithm, "--ema.decay", "0.9", "--ema.start_up", "none")
    live, shadow = loop.network, loop.average.network
    before = {name: value.clone() for name, value in shadow.state_dict().items()}
    losses = []
    for _ in range(12):
        loop.step(loop.next_batch())
        losses.append(loop.metrics["labeled"])
        if len(losses) == 1:
            for name, parameter in live.named_parameters():
                expected = 0.9 * before[name] + 0.1 * parameter
                assert torch.allclose(shadow.get_parameter(name), expected, atol=1e-6), name
            for name, buffer in live.named_buffers():
                assert torch.equal(shadow.get_buffer(name), buffer), name
    assert all(torch.isfinite(torch.tensor(losses))) and losses[-1] < losses[0]
    assert ("coverage" in loop.metrics) == (algorithm == "fixmatch")
    assert loop.optimizer.param_groups[0]["lr"] < loop.cfg.optim.peak
    assert all(value >= 0 for value in loop.parts_of_a_step().values())


@pytest.mark.parametrize("start_up", ["none", pytest.param("tf", marks=pytest.mark.slow)])
def test_the_two_loops_do_the_same_arithmetic(start_up: str):
    """One batch, ten steps: the engine's trainer and the conventional loop arrive at the same weights."""
    from semisonic.training.build import build_trainer

    loop = tiny_loop("fixmatch", "--ema.start_up", start_up, "--algorithm.threshold", "0.2", "--optim.lr", "0.01")
    cfg = loop.cfg
    trainer = build_trainer(cfg)
    conventional.copy_weights(loop.network, trainer.algorithm.network)
    # The engine's EMA keeps parameters as buffers, in another order.
    ema = [trainer.algorithm.ema.get_buffer(name) for name in trainer.algorithm.network.state_dict()]
    for own, value in zip(ema, loop.average.network.state_dict().values(), strict=True):
        own.copy_(value)
    images, labels, weak, strong = loop.next_batch()
    plan = variants.Plan((), 16, 10, 0, 0, False)
    batch = variants.random_batch(cfg, plan, torch.device("cpu"))
    batch = batch._replace(x={"weak": images}, y=labels, u={"weak": weak, "strong": strong})
    for _ in range(10):
        trainer.training_step(batch)
        loop.step((images, labels, weak, strong))
    assert loop.metrics["coverage"] > 0
    network = trainer.algorithm.network.state_dict().values()
    for ours, theirs in ((network, loop.network), (ema, loop.average.network)):
        for a, b in zip(ours, theirs.state_dict().values(), strict=True):
            assert torch.allclose(a.float(), b.float(), atol=1e-4)
