"""Shake-Shake: sizes of the literature, two independent coefficients, and every way in which the engine runs it."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from semisonic.models.blocks import _draws, blocks_of, counting, draws, has_blocks, use_blocks
from semisonic.models.networks import ModelConfig, build, model_problems
from semisonic.models.norm import BatchNorm2d, batch_statistics
from semisonic.models.randomness import drawn_by
from semisonic.models.shake_shake import Block, ShakeShake, Shortcut, parse, shake
from tests.support.networks import activations, assert_equal, steps
from tests.support.trainers import make_trainer

TINY = "shake-shake-8-2x4d"
KEYS = torch.arange(4)


def by_keys(call: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A forward as in a step."""

    def forward(given: Tensor) -> Tensor:
        with drawn_by(KEYS):
            return call(given)

    return forward


def tiny() -> ShakeShake:
    torch.manual_seed(0)
    return build(ModelConfig(name=TINY), 5, 32)


# Sizes.


@pytest.mark.parametrize(
    ("name", "count", "macs"),
    [
        ("shake-shake-26-2x32d", 2_923_162, 426.7),
        ("shake-shake-26-2x64d", 11_653_978, 1685.5),
        ("shake-shake-26-2x96d", 26_192_922, 3776.9),
        ("shake-shake-26-2x112d", 35_640_442, 5134.8),
    ],
)
def test_sizes(name: str, count: int, macs: float):
    with torch.device("meta"):
        network = build(ModelConfig(name=name), 10, 32)
        with FlopCounterMode(display=False) as counter:
            assert network(torch.empty(1, 3, 32, 32)).shape == (1, 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert counter.get_total_flops() / 2e6 == pytest.approx(macs, rel=2e-4)
    assert [block.branch1.conv1.stride[0] for block in network.blocks] == [1] * 4 + [2] + [1] * 3 + [2] + [1] * 3


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("shake-shake-26-2x32d", (4, 32)),
        (TINY, (1, 4)),
        ("shake-shake-25-2x32d", None),
        ("shake-shake-2-2x32d", None),
        ("shake-shake-26-2x33d", None),
        ("shake-shake-26-3x32d", None),
        ("wrn-28-2", None),
    ],
)
def test_names(name: str, shape: tuple[int, int] | None):
    assert parse(name) == shape


def test_a_wrong_name_says_which_are_right():
    assert model_problems(ModelConfig(name="shake-shake-27-2x32d"), 32) == [
        "model.name: shake-shake-27-2x32d does not exist; shake-shake-D-2xWd needs D = 6n+2 up to 1000, and W even up "
        "to 1024, as shake-shake-26-2x32d"
    ]
    assert model_problems(ModelConfig(name="shake-shake-26-2x32d"), 32) == []


def test_initial_values_and_live_parameters():
    network = tiny()
    network(torch.randn(4, 3, 16, 16)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert {(m.momentum, m.eps) for m in network.modules() if isinstance(m, BatchNorm2d)} == {(0.1, 1e-5)}
    assert not network.head.bias.any()
    features = network.eval().features(torch.randn(2, 3, 16, 16))
    assert features.shape == (2, network.feature_dim) == (2, 16) and (features >= 0).all()
    images = torch.randn(2, 3, 20, 12)
    assert network(images).equal(network.head(network.features(images)))


# The mix of branches.


def test_forward_and_backward_have_coefficients_of_their_own():
    """One for each image, and the backward's is not the forward's."""
    one, two, out = (torch.randn(3, 2, 2, 2, dtype=torch.float64) for _ in range(3))
    one.requires_grad_(), two.requires_grad_()
    a, b = torch.rand(2, 3, 1, 1, 1, dtype=torch.float64)
    mixed = shake(one, two, a, b)
    torch.testing.assert_close(mixed, a * one + (1 - a) * two)
    mixed.backward(out)
    torch.testing.assert_close(one.grad, b * out)
    torch.testing.assert_close(two.grad, (1 - b) * out)


def block_coefficients(block: Block, x: Tensor) -> tuple[Tensor, Tensor]:
    """The forward's and the backward's coefficients of each image, read off a step of a block without shortcut."""
    branches = {}
    for name in ("branch1", "branch2"):
        getattr(block, name).register_forward_hook(lambda m, given, y, name=name: branches.setdefault(name, y))
    y = block(x)
    gradients = torch.autograd.grad(y.sum(), list(branches.values()))
    one, two = branches["branch1"].detach(), branches["branch2"].detach()
    a = ((y.detach() - x - two) / (one - two)).flatten(1).median(1).values
    return a, gradients[0][:, 0, 0, 0]


def test_a_block_draws_two_independent_numbers_for_each_image():
    """The forward's must not come back as the backward's, nor one number serve a whole batch."""
    torch.manual_seed(3)
    a, b = block_coefficients(Block(4, 4, 1).double(), torch.randn(400, 4, 3, 3, dtype=torch.float64))
    for values in (a, b):
        assert 0 <= values.min() < 0.05 and 0.95 < values.max() <= 1
        assert values.mean().item() == pytest.approx(0.5, abs=0.06)
    assert (a - b).abs().min() > 0
    assert torch.corrcoef(torch.stack([a, b]))[0, 1].abs() < 0.2


def test_evaluation_is_the_mean_of_the_branches():
    block, x = Block(4, 4, 1).eval(), torch.randn(3, 4, 6, 6)
    active = F.relu(x)
    torch.testing.assert_close(block(x), x + (block.branch1(active) + block.branch2(active)) / 2)
    state = torch.get_rng_state()
    assert block(x).equal(block(x)) and torch.get_rng_state().equal(state)


def test_the_shortcut_halves_are_a_pixel_apart():
    shortcut = Shortcut(2, 4, 2).eval()
    image = torch.arange(32.0).view(1, 2, 4, 4)
    for conv in (shortcut.conv1, shortcut.conv2):
        conv.weight.data.copy_(torch.eye(2)[:, :, None, None])
    shortcut.norm = nn.Identity()
    found = shortcut(image)
    assert found[0, 0].tolist() == [[0, 2], [8, 10]]  # the even pixels
    assert found[0, 2].tolist() == [[5, 7], [13, 15]]  # the odd ones
    shortcut.stride = 1
    assert shortcut(image)[0, 2, -1].tolist() == [0, 0, 0, 0]  # nothing comes in from outside


# In the engine.


def test_the_same_seed_draws_the_same_numbers():
    one, two = tiny(), tiny()
    assert_equal(steps(one), steps(two))
    images = torch.randn(4, 3, 16, 16)
    assert not one(images).equal(one(images))


def test_it_is_listed_among_networks_with_blocks():
    network = tiny()
    assert has_blocks(TINY) and not draws(TINY)  # from torch's generator
    assert blocks_of(network) == list(network.blocks) and not any(map(_draws, network.blocks))
    assert not has_blocks("shake-shake-9-2x4d")


def test_recomputation_draws_the_same_numbers_again():
    plain, again = tiny(), tiny()
    assert use_blocks(again, recompute=True, compiled=False) == 3
    assert_equal(steps(plain, by_keys(plain)), steps(again, by_keys(again)))
    assert activations(again) < 0.7 * activations(plain)


@pytest.mark.parametrize("recompute", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_one_graph_computes_the_same(recompute: bool):
    torch._dynamo.reset()
    plain, whole = tiny(), tiny()
    if recompute:
        use_blocks(whole, recompute=True, compiled=False)
    call = torch.compile(whole.forward, fullgraph=True, dynamic=False, backend="aot_eager")
    expected, found = steps(plain, by_keys(plain)), steps(whole, by_keys(counting(call, recompute)))
    torch._dynamo.reset()
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_input_gradient_of_a_functional_transform(compiled: bool):
    """As a method inside of one graph takes it; the backward's own coefficients count there too."""
    network, images = tiny(), torch.randn(3, 3, 8, 8)

    def gradient(images: Tensor) -> Tensor:
        with batch_statistics(track=False):
            return torch.func.grad(lambda x: network(x).square().sum())(images)

    call = gradient
    if compiled:
        torch._dynamo.reset()
        call = torch.compile(gradient, fullgraph=True, dynamic=False, backend="aot_eager")
    torch.manual_seed(1)
    found = call(images)
    torch.manual_seed(1)
    leaf = images.clone().requires_grad_()
    with batch_statistics(track=False):
        network(leaf).square().sum().backward()
    torch.testing.assert_close(found, leaf.grad, rtol=1e-4, atol=1e-5)


def test_half_precision_mixes_in_its_own_type():
    network = tiny()
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(torch.randn(4, 3, 16, 16)).float().square().mean()
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_a_step_of_training_repeats_bit_for_bit(tmp_path: Path):
    """Its numbers are those of seed, step and place, whatever was drawn before."""
    runs = [make_trainer(tmp_path / str(k), "--model", TINY, "--algorithm.threshold", "0.12") for k in range(2)]
    losses: list[list[float]] = [[], []]
    for own, trainer in zip(losses, runs, strict=True):
        loader = trainer.loader()
        for _ in range(2):
            torch.rand(3 + len(losses[0]))
            own.append(trainer.training_step(next(loader)).loss.item())
    assert losses[0] == losses[1]
    assert_equal(runs[0].algorithm.state_dict(), runs[1].algorithm.state_dict())
    ema = copy.deepcopy(runs[0].algorithm.ema)
    assert not any(parameter for parameter in ema.parameters())
