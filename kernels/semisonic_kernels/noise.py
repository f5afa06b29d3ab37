"""Random numbers hashed from keys: they depend on the sample alone, not on batches, ranks or restarts."""

import math

import torch
from torch import Tensor


def normal_noise(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 [N, *shape], a function of the keys (int64 [N]) alone; works in a compiled graph.

    Each value is SplitMix64's finalizer (Steele et al. 2014) of its sample's key and its own position, turned into a
    normal deviate by Box and Muller (1958). Raises ValueError where the keys are not int64 [N].
    """
    if keys.dtype != torch.int64 or keys.ndim != 1:
        raise ValueError(f"normal_noise: keys must be int64 [N], not {keys.dtype} {list(keys.shape)}")
    keys = keys.view(-1, *[1] * len(shape))
    numbers = positions(keys, shape)
    radius = (-2 * uniform(keys, 2 * numbers).log()).sqrt()
    return radius * (2 * math.pi * uniform(keys, 2 * numbers + 1)).cos()


def positions(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The position of each of a sample's values, 0 to prod(shape) - 1, as counters: int64 [N, *shape].

    keys: int64 [N, 1, ...], of as many dimensions.
    """
    # Of positions alone a compiler makes index arithmetic, in which products do not wrap around; `keys & 0` hides them.
    return torch.arange(math.prod(shape), device=keys.device).view(1, *shape) + (keys & 0)


def uniform(keys: Tensor, counters: Tensor) -> Tensor:
    """Uniform float32 in (0, 1], a function of keys and counters (int64, of shapes that go together)."""
    return (((mixed(keys, counters) >> 40) & 0xFFFFFF).float() + 0.5) * 2.0**-24


def mixed(keys: Tensor, counters: Tensor) -> Tensor:
    """A new int64 key for each pair of a key and a counter, SplitMix64's.

    Products wrap around, as in 64-bit hashing; shifts are made logical by masks.
    """
    z = keys + counters * -7046029254386353131
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        z = (z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return z ^ ((z >> 31) & ((1 << 33) - 1))


def normal_noise_reference(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`normal_noise`, one value after the other in Python's integers."""
    wrap, values = (1 << 64) - 1, []

    def uniform(key: int, counter: int) -> float:
        z = (key + counter * 0x9E3779B97F4A7C15) & wrap
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & wrap
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & wrap
        z ^= z >> 31
        return ((z >> 40) + 0.5) * 2.0**-24

    for key in keys.tolist():
        for number in range(math.prod(shape)):
            radius = math.sqrt(-2 * math.log(uniform(key, 2 * number)))
            values.append(radius * math.cos(2 * math.pi * uniform(key, 2 * number + 1)))
    return torch.tensor(values, device=keys.device).view(len(keys), *shape)
