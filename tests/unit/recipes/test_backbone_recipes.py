"""Recipes that start from pre-trained transformers: USB's table of settings, and LoRA's of a study."""

import pytest

from semisonic.data.sets.registry import image_size
from semisonic.recipes.usb import padding
from tests.support.recipes import config

pytestmark = pytest.mark.usefixtures("no_files")

USB = {
    # network, patch, px, learning rate, layer decay, drop-path, crop ratio, labels
    "usb-cifar100": ("vit_small_patch16_224", 2, 32, 5e-4, 0.5, 0.2, 0.875, 200),
    "usb-eurosat": ("vit_small_patch16_224", 2, 32, 5e-5, 1.0, 0.2, 0.875, 20),
    "usb-tissuemnist": ("vit_tiny_patch16_224", 2, 32, 5e-5, 0.95, 0.1, 0.95, 80),
    "usb-stl10": ("vit_base_patch16_224", None, 96, 1e-4, 0.65, 0.2, 0.875, 40),
    "usb-semi-aves": ("vit_small_patch16_224", None, 224, 1e-3, 0.65, 0.2, 0.875, None),
}
"""As printed in the benchmark's configuration files."""


@pytest.mark.parametrize("name", USB)
@pytest.mark.parametrize("algorithm", ["fixmatch", "flexmatch", "supervised"])
def test_usbs_settings(name: str, algorithm: str):
    network, patch, size, lr, decay, drop_path, crop_ratio, labels = USB[name]
    cfg = config(name, "--algorithm", algorithm)
    assert cfg.model.name.partition(".")[0] == f"timm/{network}" and cfg.model.pretrained
    assert (cfg.model.patch_size, image_size(cfg.data), cfg.model.drop_path) == (patch, size, drop_path)
    optim = cfg.optim
    assert (optim.name, optim.peak, optim.layer_decay, optim.weight_decay) == ("adamw", lr, decay, 5e-4)
    assert (optim.warm_up, optim.schedule, optim.clip, cfg.steps) == (5120, "fixmatch", None, 204_800)
    assert (cfg.batch.labeled, cfg.batch.unlabeled, cfg.precision, cfg.data.labels) == (8, 8, "fp32", labels)
    assert (cfg.ema.decay, cfg.ema.start_up) == (0, "none")
    if name == "usb-semi-aves":
        assert (cfg.data.pad, cfg.data.crop_ratio, cfg.data.crop_area) == (None, crop_ratio, crop_ratio**2)
    else:
        assert cfg.data.pad == padding(size, crop_ratio)
    if algorithm != "supervised":
        assert (cfg.algorithm.strong, cfg.algorithm.threshold, cfg.algorithm.weight) == ("usb", 0.95, 1)


def test_margins_of_padded_crops():
    assert [padding(32, 0.875), padding(32, 0.95), padding(96, 0.875)] == [4, 1, 12]


@pytest.mark.parametrize("algorithm", ["mean-teacher", "ict"])
def test_who_learns_from_an_average_has_one(algorithm: str):
    assert config("usb-cifar100", "--algorithm", algorithm).ema.decay == 0.999


@pytest.mark.parametrize(
    ("name", "pool"), [("dtd", 3760), ("sun397", 87_003), ("resisc45", 25_200), ("clevr-count", 70_000)]
)
def test_sets_on_which_frozen_networks_fail(name: str, pool: int):
    cfg = config(name, "--data.root", "images")
    assert (cfg.data.name, cfg.data.size, cfg.baseline) == ("folder", 224, True)
    assert (cfg.model.name, cfg.model.tune, cfg.model.lora_rank) == (
        "timm/vit_base_patch14_reg4_dinov2.lvd142m", "lora", 4,
    )  # fmt: skip
    assert (cfg.optim.name, cfg.optim.peak, cfg.optim.weight_decay) == ("adamw", 1e-4, 5e-4)
    assert (cfg.batch.labeled, cfg.batch.unlabeled) == (32, 32)
    assert abs(cfg.steps * 32 - 30 * pool) < 32 and abs(cfg.optim.warm_up - 0.025 * cfg.steps) < 1


@pytest.mark.parametrize("name", ["folder-small", "folder-small-vit", "folder-vit", "folder-large"])
def test_folders_by_the_gpus_memory(name: str):
    cfg = config(name, "--data.root", "images")
    assert (cfg.data.name, cfg.data.size, cfg.data.labels, cfg.ema.start_up) == ("folder", 224, None, "tf")
    assert cfg.model.pretrained == (name != "folder-small") and cfg.steps <= 30_000
