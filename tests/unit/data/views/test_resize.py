"""Resizing a single image in plain torch is DALI's resizing."""

import numpy as np
import pytest
import torch
from nvidia.dali import fn, pipeline_def
from nvidia.dali.types import DALIInterpType

from semisonic.data.views.resize import resize


@pipeline_def(batch_size=1, num_threads=1, device_id=None)
def by_dali(image, size):
    source = fn.external_source(source=lambda: [image], layout="HWC")
    return fn.resize(source, size=[size, size], interp_type=DALIInterpType.INTERP_LINEAR, antialias=True)


@pytest.mark.parametrize("height, width, size", [(24, 40, 16), (8, 8, 16), (17, 33, 32), (300, 211, 64), (16, 16, 16)])
def test_a_resized_image_is_dali_s(height: int, width: int, size: int):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    pipeline = by_dali(image, size)
    pipeline.build()
    expected = np.array(pipeline.run()[0].at(0)).astype(int)
    found = resize(torch.from_numpy(image).permute(2, 0, 1)[None].float(), size)[0].permute(1, 2, 0).round().numpy()
    difference = np.abs(found - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3  # values halfway between two levels


def test_resizing_can_be_differentiated():
    image = torch.rand(1, 3, 20, 10, requires_grad=True)
    resize(image, 8).sum().backward()
    assert image.grad is not None and image.grad.sum().item() == pytest.approx(3 * 8 * 8)
