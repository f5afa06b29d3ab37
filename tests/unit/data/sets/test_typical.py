"""Typical and diverse images by their pixels, whatever they are stored as."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semisonic.data.sets.base import DataConfig, ImageFiles, Images
from semisonic.data.sets.digits import load_digits
from semisonic.data.sets.typical import chooser, components, typical_first


def nearest_neighbor_accuracy(features: np.ndarray, chosen: np.ndarray, truth: np.ndarray) -> float:
    distance = ((features[:, None] - features[chosen][None]) ** 2).sum(-1)
    return float((truth[chosen][distance.argmin(1)] == truth).mean())


def test_few_typical_images_stand_for_more_of_the_others_than_random_ones():
    images = load_digits(DataConfig()).train
    assert isinstance(images, Images)
    features = components(images.pixels.reshape(len(images), -1))
    everything = np.arange(len(images))
    typical, random = [], []
    for seed in (11, 12, 13):
        chosen = chooser(images)(everything, 20, seed)
        assert len(set(chosen.tolist())) == 20
        typical.append(nearest_neighbor_accuracy(features, chosen, images.labels))
        drawn = np.random.default_rng(seed).choice(everything, 20, replace=False)
        random.append(nearest_neighbor_accuracy(features, drawn, images.labels))
    assert np.mean(typical) > np.mean(random) + 0.05


def test_files_are_chosen_as_images_in_memory_are_and_their_labels_do_not_count(tmp_path: Path):
    generator = np.random.default_rng(0)
    tone = np.repeat([20, 120, 230], 12)
    pixels = np.clip(tone[:, None, None, None] + generator.integers(-15, 16, (36, 16, 16, 3)), 0, 255).astype(np.uint8)
    names = [f"{number:02}.png" for number in range(36)]
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image).resize((32, 32), Image.Resampling.NEAREST).save(tmp_path / name)
    some = np.arange(1, 36)
    labels = generator.integers(-1, 3, 36)
    in_memory = chooser(Images(pixels, labels))(some, 3, 0)
    files = ImageFiles(tmp_path, names, labels[::-1].copy(), np.full((36, 2), 32, np.int32), np.zeros(36, bool))
    on_disk = chooser(files)(some, 3, 0)
    assert sorted(tone[in_memory].tolist()) == sorted(tone[on_disk].tolist()) == [20, 120, 230]
    assert set(on_disk.tolist()) <= set(some.tolist())


def test_chosen_images_come_first_and_none_is_lost():
    order = np.array([7, 3, 9, 1, 5])
    found = typical_first(order, 2, -1, lambda candidates, count, seed: candidates[-count:])
    assert found.tolist() == [7, 9, 3, 1, 5]
    with pytest.raises(ValueError, match="needs the images themselves"):
        typical_first(order, 2, 0, None)


def test_there_are_no_more_components_than_images():
    values = np.random.default_rng(0).integers(0, 256, (5, 48)).astype(np.uint8)
    assert components(values).shape == (5, 5)
