"""The averaged copy of a network: its formula, its start, its buffers, and that the network never notices it."""

import pytest
import torch

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.supervised import Supervised
from semisonic.models.ema import EmaConfig, shadow_of
from tests.support.algorithms import batch, info, make, tiny_network
from tests.support.runner import Runner


def test_ema_follows_its_formula_and_copies_buffers():
    algorithm = make(Supervised)
    start = {name: value.clone() for name, value in algorithm.ema.state_dict().items()}
    for _ in range(3):
        algorithm.update_ema()
    assert all(torch.allclose(v, start[n], atol=1e-15) for n, v in algorithm.ema.state_dict().items())  # fixed point
    with torch.no_grad():
        for parameter in algorithm.network.parameters():
            parameter += 1
    algorithm.network.norm.running_mean += 2
    algorithm.network.norm.num_batches_tracked += 5
    for _ in range(4):
        algorithm.update_ema()
    shadow = algorithm.ema.state_dict()
    expected = 0.9**4 * start["head.weight"] + (1 - 0.9**4) * (start["head.weight"] + 1)
    torch.testing.assert_close(shadow["head.weight"], expected)
    assert torch.equal(shadow["norm.running_mean"], algorithm.network.norm.running_mean)
    assert shadow["norm.num_batches_tracked"] == 5 and algorithm.ema_updates == 7


@pytest.mark.parametrize(("start_up", "expected"), [("tf", [0.1, 2 / 11, 3 / 12]), ("mean_teacher", [0, 0.5, 2 / 3])])
def test_ema_start_up(start_up: str, expected: list[float]):
    algorithm = Supervised(Supervised.Config(), tiny_network, info(), EmaConfig(decay=0.999, start_up=start_up))
    decays = []
    for _ in expected:
        decays.append((1 - algorithm.ema_weight()).item())
        algorithm.update_ema()
    assert decays == pytest.approx(expected)


def test_the_ema_does_not_touch_the_network():
    """Whatever its decay, the network's own course is the same bit for bit."""
    courses = []
    for decay in (0.0, 0.999):
        torch.manual_seed(0)
        algorithm = FixMatch(FixMatch.Config(threshold=0.3), tiny_network, info(), EmaConfig(decay=decay))
        run = Runner(algorithm)
        for _ in range(3):
            run.step(batch())
        courses.append((algorithm.network.state_dict(), algorithm.ema.state_dict()))
    (one, shadow), (two, other_shadow) = courses
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert not torch.equal(shadow["conv.weight"], other_shadow["conv.weight"])


def test_averaged_buffers():
    algorithm = Supervised(
        Supervised.Config(), tiny_network, info(), EmaConfig(decay=0.9, start_up="none", buffers="averaged")
    )
    algorithm.network.norm.running_mean += 1
    algorithm.network.norm.num_batches_tracked += 1
    algorithm.update_ema()
    torch.testing.assert_close(algorithm.ema.norm.running_mean, torch.full((5,), 0.1))
    assert algorithm.ema.norm.num_batches_tracked == 1


def test_ema_stays_out_of_gradients_and_in_float32():
    network = tiny_network().bfloat16()
    shadow = shadow_of(network)
    assert not list(shadow.parameters())
    assert all(b.dtype in (torch.float32, torch.int64) for n, b in shadow.named_buffers() if "running" not in n)
    assert shadow.state_dict().keys() == network.state_dict().keys()
