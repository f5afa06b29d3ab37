"""A trained network is loaded from its run alone, and classifies as the run did, however its images are given."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor

import semisonic
from semisonic.checkpoint import format as checkpoints
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.registry import load_data_set
from semisonic.inference.classifier import weak_defaults
from semisonic.models.networks import ModelConfig, build
from semisonic.models.small import Small
from semisonic.models.wrapped import network_fingerprint
from semisonic.schema import UserError
from tests.support.addons import registered
from tests.support.throw_away import THROW_AWAY
from tests.support.trainers import make_trainer


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The test images of the digits, uint8 [400, 16, 16, 3], and their labels."""
    data = load_data_set(DataConfig())
    return data.test.pixels, data.test.labels


def channels_first(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def test_load_needs_no_data_set(run: Path, digits: tuple[np.ndarray, np.ndarray]):
    classifier = semisonic.load(run)
    assert not classifier.training and classifier.classes == [str(digit) for digit in range(10)]
    assert classifier.image_size == 16
    with torch.no_grad():
        top1 = (classifier(channels_first(digits[0])).argmax(-1).numpy() == digits[1]).mean() * 100
    assert top1 == pytest.approx(json.loads((run / "summary.json").read_text())["test_top1"])


def test_the_accuracy_is_the_same_however_the_digits_are_given(
    run: Path, digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
):
    pixels, labels = digits
    paths = [tmp_path / "images" / str(label) / f"{number:03}.png" for number, label in enumerate(labels)]
    for path, image in zip(paths, pixels, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    classifier, floats = semisonic.load(run), channels_first(pixels) / 255
    expected = json.loads((run / "summary.json").read_text())["test_top1"]
    given: dict[str, Any] = {
        "arrays": (pixels, labels),
        "gray arrays": (pixels[..., 0], labels),
        "Pillow's": ([Image.fromarray(image) for image in pixels], labels.tolist()),
        "paths": (paths, [str(label) for label in labels]),
        "tensors": (channels_first(pixels), torch.from_numpy(labels)),
        "floats": (floats, labels),
        "a folder": tmp_path / "images",
        "a data set": ImageFolder(tmp_path / "images", transform=classifier.transform),
        "a data set of Pillow's": ImageFolder(tmp_path / "images"),
        "a loader": DataLoader(ImageFolder(tmp_path / "images", transform=classifier.transform), 33, num_workers=1),
        "a loader of floats": DataLoader(ImageFolder(tmp_path / "images", transform=ToTensor()), 100, shuffle=True),
        "a loader of tensors": DataLoader(TensorDataset(floats, torch.from_numpy(labels)), 64),
    }
    for name, data in given.items():
        found = classifier.evaluate(data, batch=50)
        assert found.top1 == expected and found.count == 400, name
    assert classifier.evaluate(given["arrays"]).loss == pytest.approx(classifier.evaluate(given["floats"]).loss)
    assert (
        classifier.predict(pixels).dtype == np.int64 and (classifier.predict(pixels) == labels).mean() * 100 == expected
    )


def test_the_accuracy_is_the_same_however_files_are_given(folder_run: tuple[Path, Path]):
    run, folder = folder_run
    classifier = semisonic.load(run)
    paths = sorted(folder.rglob("*.png"))
    labels = [classifier.classes.index(path.parent.name) for path in paths]
    pictures = [Image.open(path) for path in paths]
    arrays = [np.asarray(picture) for picture in pictures]
    tensors = [ToTensor()(picture) for picture in pictures]
    expected = json.loads((run / "summary.json").read_text())["test_top1"]
    probabilities = classifier.predict_proba(paths)
    assert probabilities.dtype == np.float32 and probabilities.shape == (36, 3)
    for images in (pictures, arrays, tensors, [classifier.transform(picture) for picture in pictures]):
        assert classifier.evaluate((images, labels)).top1 == expected
        np.testing.assert_allclose(classifier.predict_proba(images, batch=7), probabilities, atol=1e-5)
    for data in (folder, ImageFolder(folder), DataLoader(ImageFolder(folder, transform=classifier.transform), 8)):
        assert classifier.evaluate(data).top1 == expected


def test_methods_leave_the_mode_and_take_any_batch(run: Path, digits: tuple[np.ndarray, np.ndarray]):
    classifier = semisonic.load(run).train()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    first = classifier.predict_proba(digits[0][:10], batch=3)
    np.testing.assert_allclose(first, classifier.predict_proba(digits[0][:10]), atol=1e-6)
    assert classifier.training and all(torch.equal(value, before[k]) for k, value in classifier.state_dict().items())
    for batch in (0, -1, 2.5, True):
        with pytest.raises(UserError, match=r"batch: .*; give a whole number above 0"):
            classifier.predict(digits[0][:2], batch=batch)


def test_the_classifier_is_exported_and_compiled_as_one_graph(run: Path, digits: tuple[np.ndarray, np.ndarray]):
    classifier, images = semisonic.load(run), channels_first(digits[0][:4])
    expected = classifier(images)
    exported = torch.export.export(classifier, (images,)).module()
    compiled = torch.compile(classifier, fullgraph=True, backend="eager")
    for found in (exported(images), compiled(images), compiled(images / 255)):
        torch.testing.assert_close(found, expected)


def test_floats_of_a_tensor_are_differentiated_by(run: Path):
    images = torch.rand(2, 3, 16, 16, requires_grad=True)
    semisonic.load(run)(images).sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0


def test_a_network_that_was_given_is_given_again(run: Path, tmp_path: Path):
    checkpoint = checkpoints.load_checkpoint(run)
    fingerprint = network_fingerprint(build(ModelConfig(name="small"), 10, 16))
    model = {**checkpoint.state["model"], "name": "given", "fingerprint": fingerprint}
    checkpoints.save(tmp_path, 30, replace(checkpoint, state={**checkpoint.state, "model": model}), keep=1)
    with pytest.raises(UserError, match="the run's network was given in Python; pass network="):
        semisonic.load(tmp_path)
    images = torch.rand(2, 3, 16, 16)
    expected = semisonic.load(run)(images)
    made = build(ModelConfig(name="small"), 10, 16)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    for network in (made, lambda classes: build(ModelConfig(name="small"), classes, 16)):
        torch.testing.assert_close(semisonic.load(tmp_path, network=network)(images), expected)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())  # it was copied


def test_another_network_is_refused_by_name(run: Path):
    with pytest.raises(UserError) as caught:
        semisonic.load(run, network=nn.Linear(2, 2))
    lacks, extra = caught.value.messages
    assert lacks == f"network: is not that of {run}: the checkpoint lacks bias, weight"
    assert extra.startswith(f"network: is not that of {run}: the network has no head.bias, head.weight, layers.")
    with pytest.raises(UserError, match=r"of another shape: head.bias \(\[10\], not \[7\]\)"):
        semisonic.load(run, network=Small(7))
    with pytest.raises(UserError, match=r"network: of type str; give an nn.Module"):
        semisonic.load(run, network="small")
    with pytest.raises(UserError, match=r"network: made int from 10 classes, which is no nn.Module"):
        semisonic.load(run, network=lambda classes: classes)
    with pytest.raises(UserError, match="net: 'average'; give ema or raw"):
        semisonic.load(run, net="average")


def test_plug_ins_are_loaded_first(run: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[list[str | Path]] = []
    monkeypatch.setattr("semisonic.inference.classifier.load_plugins", lambda paths: seen.append(list(paths)))
    semisonic.load(run, plugin="mine.py")
    semisonic.load(run, plugin=["mine.py", Path("yours.py")])
    assert seen == [["mine.py"], ["mine.py", Path("yours.py")]]


@pytest.mark.parametrize("name", ["abc", "balanced"])
def test_the_head_and_offsets_of_add_ons_are_loaded_in_the_main_one_s_place(name: str, tmp_path: Path):
    with registered(**THROW_AWAY):
        trainer = make_trainer(tmp_path, "--model", "small", f"--addons.{name}.weight", "1", "--batch.labeled", "8",
                               "--batch.unlabeled-ratio", "2", "--threads", "1", "--data.labels", "40")  # fmt: skip
        with trainer.loader() as loader:
            for _ in range(3):
                trainer.training_step(next(loader))
        trainer.save()
        trainer.checkpoint_writer.finish()
        images = channels_first(load_data_set(DataConfig()).test.pixels[:9])
        trainer.algorithm.eval()
        with torch.no_grad():
            for net, module in (("ema", "ema"), ("raw", "network")):
                expected = trainer.algorithm.predict(images, module)
                torch.testing.assert_close(semisonic.load(tmp_path, net)(images), expected)
                assert not torch.allclose(trainer.algorithm.infer(images, module), expected)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        ("[1]", ["data: not a section of fields"]),
        (
            f"{{name: [digits], flip: 1, pad: {'x' * 999}}}",
            ["data.name: ", "data.flip: 1 is not valid", "data.pad: 'xx"],
        ),
    ],
)
def test_what_an_earlier_version_s_configuration_says_of_views_is_looked_at(data: str, lines: list[str]):
    checkpoint = checkpoints.Checkpoint({}, {}, {"image_size": 8}, f"data: {data}\n")
    with pytest.raises(UserError) as caught:
        weak_defaults(checkpoint, "run")
    messages = caught.value.messages
    assert all(told.startswith(f"run/config.yaml: {line}") for told, line in zip(messages, lines, strict=True))
    assert max(map(len, messages)) < 200
