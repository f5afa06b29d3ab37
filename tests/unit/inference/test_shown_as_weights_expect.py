"""A network that starts from weights is shown images as these expect: timm's own transform and logits are the measure.

Weights that the test makes stand in for those of a pre-training. Every assertion is made once more with the data set's
own normalization, under which it must fail.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from timm import create_model
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

from semisonic.data.loading.calls import Placement
from semisonic.data.loading.image_source import source_of
from semisonic.data.loading.loader import evaluation_slices
from semisonic.data.sets.base import IMAGENET_MEAN, IMAGENET_STD, ImageFiles
from semisonic.inference.classifier import Classifier, load_classifier
from semisonic.training.trainer import Trainer
from tests.support.photographs import photograph
from tests.support.trainers import make_trainer

CLASSES, IMAGES = 4, 200
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of many shapes, larger and smaller than what the networks see; JPEG and PNG."""
    root, random = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for number in range(IMAGES + 2 * CLASSES):
        part = "test" if number < IMAGES else "train"
        height, width = random.integers(110, 330, 2).tolist()
        file = root / part / f"class{number % CLASSES}" / f"{number:03}.{'png' if number % 5 == 0 else 'jpg'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(random, min(height, 2 * width), width)).save(file)
    return root


@dataclass(frozen=True)
class Case:
    trainer: Trainer
    classifier: Classifier
    reference: nn.Module
    transform: Any
    """timm's, for the reference."""
    expected: dict[str, Any]
    """timm's mean, std, input_size, ..."""
    right: bool
    """Whether images are shown as the weights expect."""


@pytest.fixture(scope="module", params=[("test_vit", False), ("test_vit", True), ("test_resnet", False)], ids=str)
def case(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    name, own = request.param
    out = tmp_path_factory.mktemp(f"{name}-{own}")
    torch.manual_seed(1)
    reference = create_model(name, num_classes=CLASSES).eval()
    for parameter in reference.parameters():  # a new head's outputs would hardly differ
        parameter.data += 0.05 * torch.randn_like(parameter)
    save_file(reference.state_dict(), out / "weights.safetensors")
    expected = resolve_data_config({}, model=reference)
    fields = ["--data", "folder", "--data.root", str(folder), "--model", f"timm/{name}",
              "--model.weights", str(out / "weights.safetensors"), "--steps", "1"]  # fmt: skip
    own_fields = ["--data.normalize", "own", "--data.size", str(expected["input_size"][-1])] if own else []
    trainer = make_trainer(out / "run", *fields, *own_fields)
    trainer.save()
    trainer.checkpoint_writer.settle()
    transform = create_transform(**expected, is_training=False)
    yield Case(trainer, load_classifier(out / "run"), reference, transform, expected, not own)


def evaluated(case: Case) -> tuple[Tensor, list[Path]]:
    """The test images as the run's evaluation shows them, uint8 [N, 3, S, S], and their files."""
    data = case.trainer.data
    assert isinstance(data.test, ImageFiles)
    with closing(evaluation_slices(source_of(data, CPU, test=True), 50, Placement(CPU))) as slices:
        pixels = torch.cat([images[valid].clone() for images, _, valid in slices])
    return pixels, [data.test.root / path for path in data.test.paths]


def same(found: bool, case: Case) -> None:
    assert found == case.right


@torch.no_grad()
def test_images_of_the_network_s_own_size_get_timm_s_logits(case: Case):
    size = case.expected["input_size"][-1]
    assert case.classifier.image_size == size == case.trainer.data.size
    pixels = torch.randint(0, 256, (8, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(case.expected[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    difference = (case.classifier(pixels) - case.reference((pixels / 255 - mean) / std)).abs().max()
    same(bool(difference < 1e-4), case)
    assert case.right or difference > 1e-2


@torch.no_grad()
def test_resized_images_are_those_of_timm_s_transform(case: Case):
    pixels, files = evaluated(case)
    assert len(files) == IMAGES
    theirs = torch.stack([case.transform(Image.open(file).convert("RGB")) for file in files])
    mean, std = (torch.tensor(case.expected[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    levels = (255 * (theirs * std + mean)).round()
    difference = (pixels.float() - levels).abs()
    same(bool(difference.max() <= 2 and difference.mean() < 0.5), case)
    ours = torch.cat([case.classifier(part) for part in pixels.split(50)]).argmax(1)
    agreed = (ours == torch.cat([case.reference(part) for part in theirs.split(50)]).argmax(1)).float().mean()
    same(bool(agreed >= 0.99), case)


@torch.no_grad()
def test_predictions_a_loaded_network_and_the_run_s_evaluation_agree(case: Case):
    pixels, files = evaluated(case)
    chosen = slice(0, 200, 5)
    by_run = torch.cat([case.classifier(part) for part in pixels[chosen].split(50)]).softmax(1)
    paths = [str(file) for file in files[chosen]]
    by_load = torch.from_numpy(case.classifier.predict_proba(paths))
    by_transform = torch.stack([case.classifier.transform(path) for path in paths])
    by_files = [[share for _, share in row.top] for row in case.classifier.predict_files(paths, top=CLASSES)]
    ranked = by_run.sort(1, descending=True).values
    assert (torch.tensor(by_files) - ranked).abs().max() < 1e-5
    if case.right:  # the window of runs from random weights may differ by a level here and there
        assert by_transform.equal(pixels[chosen])
        assert (by_load - by_run).abs().max() < 1e-5
    otherwise = {**case.trainer.description(), "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    otherwise["preprocess"] = {"view": "plain", "border": 0}
    wrong = torch.from_numpy(Classifier(case.classifier.network, otherwise).predict_proba(paths))
    same(bool((wrong - by_run).abs().max() > 1e-2), case)


def test_the_checkpoint_says_how_images_are_shown(case: Case):
    state = case.trainer.description()
    if case.right:
        assert (state["mean"], state["std"]) == (list(case.expected["mean"]), list(case.expected["std"]))
        assert state["preprocess"]["interpolation"] == case.expected["interpolation"]
        assert state["preprocess"]["crop"] == case.expected["crop_pct"]
    else:
        assert state["preprocess"]["interpolation"] == "bilinear" and state["preprocess"]["crop"] is None
