"""Weak views by the content of an image: the same in any batch, order and company."""

import numpy as np
import torch

from semisonic.data.loading.calls import Placement
from semisonic.data.loading.draws import Draws
from semisonic.data.loading.image_source import ImageSource
from semisonic.data.loading.sampler import EvaluationSampler
from semisonic.data.loading.stream import Stream
from semisonic.data.sets.base import Images
from semisonic.data.views.view import Geometry
from semisonic.inference.keyed import KeyedDraws, WeakCrops, keys_of_pixels

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3)).astype(np.uint8)
KEYS = keys_of_pixels(PIXELS)


def test_the_numbers_of_an_image_depend_on_nothing_but_it():
    every = KeyedDraws(keys_N=KEYS).uniforms("view", "weak", np.arange(9), 8)
    assert np.array_equal(every[6:], every[[5, 5, 5]])  # beyond the last one
    one = KeyedDraws(keys_N=KEYS[[4, 2]]).uniforms("view", "weak", np.array([1, 0]), 8)
    assert np.array_equal(one, every[[2, 4]]) and len(np.unique(every[:6])) == 48
    assert not np.array_equal(KeyedDraws(keys_N=KEYS).uniforms("view", "weak1", np.arange(6), 8), every[:6])
    assert KeyedDraws(keys_N=KEYS).uniforms("view", "plain", np.arange(6), 0).shape == (6, 0)


def test_crops_in_memory_are_those_of_a_run_on_images_in_memory():
    images = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    made = WeakCrops(12, pad=3, flip=True)(images, KEYS, "weak")
    geometry = Geometry(12, pad=3, flip=True, fill=(0, 0, 0))
    source = ImageSource(Images(PIXELS, np.zeros(6, np.int64)), geometry)
    draws: Draws = KeyedDraws(keys_N=KEYS)
    with Stream(draws, source, {"weak": "weak"}, EvaluationSampler(6, 6), Placement(torch.device("cpu"))) as stream:
        assert torch.equal(next(stream)["weak"], made)
    assert not torch.equal(made, images)
