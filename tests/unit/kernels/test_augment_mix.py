"""The mean of an image and its altered copies: Triton and GPUs like plain torch, and mistakes."""

import pytest
import torch

from semisonic_kernels.augment_mix import mix_chains, mix_chains_reference
from semisonic_kernels.augment_mix_triton import mix_chains_launch
from tests.support.augmentation import interpreted

pytestmark = [pytest.mark.filterwarnings("ignore:The external source node"), pytest.mark.kernels("fused")]


def mixture(count, size, chains=3):
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(0, 256, (count, 1 + chains, size, size, 3), dtype=torch.uint8, generator=generator)
    weights = torch.rand(count, 1 + chains, generator=generator)
    return pixels[:, 0], pixels[:, 1:], weights / weights.sum(1, keepdim=True)


@interpreted
@pytest.mark.parametrize("count, size", [(3, 5), (2, 20), (0, 5)])
def test_triton_mixes_like_the_reference(count, size):
    own = mixture(count, size)
    assert torch.equal(mix_chains_launch(*own), mix_chains_reference(*own))


@pytest.mark.gpu
def test_gpu_mixes_like_the_cpu():
    own = mixture(50, 33)
    assert torch.equal(mix_chains(*(tensor.cuda() for tensor in own)).cpu(), mix_chains_reference(*own))


@pytest.mark.parametrize("index, message", [(0, "images"), (1, "chains"), (2, "weights")])
def test_mistakes_of_a_mixture(index, message):
    own = list(mixture(2, 4))
    own[index] = own[index].double()
    with pytest.raises(ValueError, match=f"mix_chains: {message} must be"):
        mix_chains(*own)
