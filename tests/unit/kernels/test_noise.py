"""Noise: normal, by its key alone, the same in a compiled graph."""

import pytest
import torch

from semisonic_kernels.noise import mixed, normal_noise, normal_noise_reference, positions, uniform
from tests.support.devices import DEVICES

pytestmark = pytest.mark.kernels("fused")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(3,), (2, 5), (3, 4, 4)])
def test_noise_equals_the_reference(shape: tuple[int, ...], device: str):
    keys = torch.tensor([0, 1, 2**62 + 12345, 2**63 - 1], device=device)
    torch.testing.assert_close(normal_noise(keys, shape), normal_noise_reference(keys, shape), rtol=1e-4, atol=1e-5)


def test_noise_depends_on_the_key_alone_and_is_normal():
    keys = torch.randint(0, 2**62, (300,), generator=torch.Generator().manual_seed(0))
    noise = normal_noise(keys, (3, 16, 16))
    assert torch.equal(normal_noise(keys[7:9], (3, 16, 16)), noise[7:9])
    assert (
        abs(noise.mean()) < 0.01
        and abs(noise.std() - 1) < 0.01
        and abs((noise.abs() < 1).float().mean() - 0.6827) < 0.005
    )
    flat = noise.flatten(1)
    assert abs(torch.corrcoef(torch.stack([flat[:-1].ravel(), flat[1:].ravel()]))[0, 1]) < 0.01
    assert abs(torch.corrcoef(torch.stack([flat[:, :-1].ravel(), flat[:, 1:].ravel()]))[0, 1]) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_noise_is_the_same_in_a_compiled_graph(device: str):
    keys = torch.tensor([0, 1, 2**62 + 12345, 2**63 - 1], device=device)
    compiled = torch.compile(lambda keys: normal_noise(keys, (3, 16, 16)), fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(keys), normal_noise(keys, (3, 16, 16)), rtol=1e-4, atol=1e-5)


def test_uniform_numbers_are_uniform_and_no_two_counters_share_them():
    keys = torch.randint(0, 2**62, (200, 1), generator=torch.Generator().manual_seed(0))
    found = uniform(keys, positions(keys, (300,)))
    assert found.min() > 0 and found.max() < 1 and abs(found.mean() - 0.5) < 0.005
    assert (found.flatten().histc(10, 0, 1) / found.numel() - 0.1).abs().max() < 0.005
    assert len(mixed(keys, positions(keys, (300,))).unique()) == found.numel()


def test_noise_refuses_other_keys():
    with pytest.raises(ValueError, match=r"int64 \[N\]"):
        normal_noise(torch.zeros(3), (2,))
