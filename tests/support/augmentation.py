"""Images and arguments for the fused augmentation kernel."""

import numpy as np
import pytest
import torch

from semisonic_kernels import augment as kernel

interpreted = pytest.mark.skipif(torch.cuda.is_available(), reason="Triton is interpreted only without a GPU")


FILL = (9, 80, 255)


def mixed_pictures(count, height, width, seed=0):
    """Every fourth image is flat, and half of the others have few values."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, height, width, 3))
    images[1::4] = 60 + images[1::4] % 3
    images[2::4] = images[2::4, :1, :1]
    return torch.from_numpy(images.astype(np.uint8))


def arguments(codes, height, width, seed=0):
    """(operations, values, matrices, holes) of the given codes [N, L], with random values for them."""
    generator = np.random.default_rng(seed)
    codes = np.asarray(codes, np.int32)
    values = generator.uniform(0, 2, codes.shape)
    values = np.where(codes == kernel.SOLARIZE, 128 * values, values)
    values = np.where(codes == kernel.POSTERIZE, 256 - 2.0 ** generator.integers(0, 8, codes.shape), values)
    spread = np.array([[0.4, 0.4, width / 3], [0.4, 0.4, height / 3]])
    matrices = np.eye(2, 3) + generator.uniform(-1, 1, (*codes.shape, 2, 3)) * spread
    start = generator.integers(0, (height, width), (len(codes), 2))
    holes = np.concatenate([start, start + generator.integers(0, (height, width), (len(codes), 2))], axis=1)
    kinds = (codes, np.int32), (values, np.float32), (matrices, np.float32), (holes, np.int32)
    return [torch.from_numpy(array.astype(dtype)) for array, dtype in kinds]
