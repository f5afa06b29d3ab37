"""Images and arguments for the fused augmentation kernel, and calls of it with one operation."""

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


def one_operation(code, count, value=0.0):
    """(operations, values, matrices, holes) of one level with the same operation for all."""
    codes, values = torch.full((count, 1), code, dtype=torch.int32), torch.full((count, 1), float(value))
    return codes, values, torch.eye(2, 3).expand(count, 1, 2, 3), None


def apply(code, images, value=0.0, matrix=None, equalize="pil"):
    """One operation with one value on uint8 [N, H, W, 3] arrays."""
    count = len(images)
    matrix = torch.eye(2, 3) if matrix is None else torch.tensor(matrix, dtype=torch.float32)
    codes, values = torch.full((count, 1), code, dtype=torch.int32), torch.full((count, 1), float(value))
    own = (codes, values, matrix.expand(count, 1, 2, 3), None, FILL)
    return kernel.augment(torch.from_numpy(images), *own, equalize, extended=True).numpy()


def differing_values(ours, theirs):
    """Largest difference, and share of values that differ."""
    delta = np.abs(ours.astype(int) - np.asarray(theirs).astype(int))
    return delta.max(), (delta > 0).mean()
