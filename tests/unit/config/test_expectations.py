"""What weights expect of images is settled when a run is configured, and wins over the data set's own normalization."""

from pathlib import Path

import pytest
import torch
from torchvision import models as zoo

from semisonic.config.command_line import resolve
from semisonic.config.run_config import RunConfig
from semisonic.data.sets.base import IMAGENET_MEAN, IMAGENET_STD, ExpectedConfig
from semisonic.data.sets.registry import load_data_set
from semisonic.data.sets.shown import description
from semisonic.schema import UserError
from tests.support.image_folders import write_images
from tests.support.trainers import make_trainer

OWN = ExpectedConfig()


def configured(*argv: str | Path) -> RunConfig:
    return resolve([*map(str, argv), "--no-baseline", "--device", "cpu"])[1]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "r18.pth"
    torch.save(zoo.get_model("resnet18", weights=None, num_classes=10).state_dict(), file)
    return file


def test_weights_win_over_the_data_set(weights: Path):
    cfg = configured("--model", "resnet18", "--model.weights", weights)
    data = load_data_set(cfg.data)
    assert (data.mean, data.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert data.shown_for == cfg.data.expected.source == "torchvision's resnet18, IMAGENET1K_V1"
    assert data.crop is None  # in memory: 16 x 16 as they are
    assert "(of torchvision's resnet18" in description(data) and "0.485 0.456 0.406" in description(data)
    assert data.fingerprint == load_data_set(configured().data).fingerprint


@pytest.mark.parametrize(("normalize", "same"), [("own", False), ("imagenet", True), ("weights", True)])
def test_normalize_forces_it(weights: Path, normalize: str, same: bool):
    cfg = configured("--model", "resnet18", "--model.weights", weights, "--data.normalize", normalize)
    assert (load_data_set(cfg.data).mean == IMAGENET_MEAN) == same
    assert (cfg.data.expected == OWN) == (normalize != "weights")


def test_without_weights_nothing_changes():
    cfg = configured()
    assert cfg.data.expected == OWN and cfg.data.normalize == "auto"
    data = load_data_set(cfg.data)
    assert data.mean != IMAGENET_MEAN and data.shown_for is None and data.interpolation == "bilinear"


def test_the_size_of_a_folder_is_that_of_the_weights_unless_the_user_gives_one(tmp_path: Path):
    root, empty = tmp_path / "images", tmp_path / "empty.pth"
    for name in ("train/a", "train/b", "test/a", "test/b"):
        write_images(root / name, "1.png 2.png")
    torch.save({}, empty)
    own = ["--data", "folder", "--data.root", root, "--model", "efficientnet_b4", "--model.weights", empty]
    cfg = configured(*own)
    assert cfg.data.size == 380 and cfg.data.expected.interpolation == "bicubic"
    data = load_data_set(cfg.data)
    assert (data.size, data.interpolation, data.crop) == (380, "bicubic", 380 / 384)
    assert "380x380" in description(data) and "bicubic, 0.9896 of the shorter side" in description(data)
    assert configured(*own, "--data.size", "64").data.size == 64
    changed = configured(*own, "--data.size", "64", "--data.crop_ratio", "0.5", "--data.interpolation", "bilinear")
    data = load_data_set(changed.data)
    assert (data.size, data.interpolation, data.crop) == (64, "bilinear", 0.5)
    assert configured(*own[:4]).data.size == 224


def test_an_initial_checkpoint_s_normalization_goes_on(tmp_path: Path):
    trainer = make_trainer(tmp_path / "run", "--model", "small", "--data.normalize", "imagenet")
    trainer.save()
    trainer.checkpoint_writer.settle()
    cfg = configured("--init", tmp_path / "run", "--model", "small")
    assert cfg.data.expected.mean == IMAGENET_MEAN and cfg.data.expected.source == f"init, {tmp_path / 'run'}"
    assert cfg.data.expected.crop is None and load_data_set(cfg.data).mean == IMAGENET_MEAN
    own = configured("--init", tmp_path / "run", "--model", "small", "--data.normalize", "own")
    assert load_data_set(own.data).mean != IMAGENET_MEAN


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--data.normalize", "weights"], "data.normalize: weights, but the run starts from random weights"),
        (["--data.crop_ratio", "0.9"], "data.crop_ratio: is for image files; images of digits are shown as they are"),
        (["--data.interpolation", "bicubic"], "data.interpolation: is for image files"),
        (["--data.expected.mean", "0,0,0"], "--data.expected.mean: a run records what its weights expect"),
        (["--data.crop_ratio", "1.5"], "data.crop_ratio"),
    ],
)
def test_contradictions_are_one_line_each(argv: list[str], expected: str):
    with pytest.raises(UserError) as caught:
        configured(*argv)
    assert [line for line in caught.value.messages if line.startswith(expected)]
    assert len(caught.value.messages) == 1


def test_init_takes_the_place_of_weights_that_a_recipe_fetches(tmp_path: Path):
    """Nothing is fetched for it; that both are asked for is a mistake."""
    trainer = make_trainer(tmp_path / "before", "--model", "small")
    trainer.save()
    trainer.checkpoint_writer.finish()
    own = ("--recipe", "folder-vit", "--data.root", tmp_path, "--data.size", "28")
    init = (*own, "--init", tmp_path / "before")
    assert configured(*own).model.pretrained and not configured(*init).model.pretrained
    with pytest.raises(UserError, match="init takes the place of these weights; give one of the two"):
        configured(*init, "--model.pretrained")
