"""Folders of images: found by the names of classes, left as they are, and what is wrong with them is told."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semisonic.inference.files import file_slices, image_files, labeled_folder
from semisonic.inference.inputs import Inputs
from semisonic.schema import UserError
from tests.support.image_folders import write_images

CLASSES = ["a", "b", "c"]


def mistakes(folder: Path) -> list[str]:
    with pytest.raises(UserError) as caught:
        labeled_folder(folder, CLASSES)
    return caught.value.messages


def test_a_folder_is_read_by_the_names_of_its_classes(tmp_path: Path):
    write_images(tmp_path / "c", "1.png 2.png")
    write_images(tmp_path / "a" / "below", "3.png")
    (tmp_path / "a" / "broken.png").write_bytes(b"no image")
    (tmp_path / "a" / "notes.txt").write_text("no image by name")
    found = labeled_folder(tmp_path, CLASSES)
    assert list(zip(found.files.paths, found.files.labels.tolist(), strict=True)) == [
        ("a/below/3.png", 0), ("c/1.png", 2), ("c/2.png", 2)
    ]  # fmt: skip
    assert found.notes == [
        "left out: a/broken.png: not an image",
        "no images of b",
        "1 file passed over, no image by name: .txt: 1, such as a/notes.txt",
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["a", "c"]  # nothing is added


def test_an_evaluation_inside_of_its_folder_is_no_class(tmp_path: Path):
    for name in ("cat", "dog", "out"):
        write_images(tmp_path / name, "confusion.png")
    (tmp_path / "out/evaluation.json").write_text("{}")
    found = labeled_folder(tmp_path, ("cat", "dog"))
    assert found.files.paths == ["cat/confusion.png", "dog/confusion.png"]
    assert found.notes == ["passed over, written by semisonic: out/"]


def test_mistakes_in_a_folder_are_one_line(tmp_path: Path):
    assert mistakes(tmp_path / "none") == [f"images: cannot read the folder {tmp_path}/none: No such file or directory"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert mistakes(empty) == [f"images: {empty} holds no class folders; one folder of images a class is needed"]
    write_images(tmp_path / "other" / "a", "1.png")
    write_images(tmp_path / "other" / "elk", "1.png")
    assert mistakes(tmp_path / "other") == [f"{tmp_path}/other: not classes of the run: elk; its classes are a, b, c"]
    (tmp_path / "bare" / "a").mkdir(parents=True)
    assert mistakes(tmp_path / "bare")[0].startswith(f"{tmp_path}/bare: no images found in the folders of the classes")
    write_images(tmp_path / "stray" / "a", "1.png")
    write_images(tmp_path / "stray", "x.png y.png")
    assert "2 images in no class's folder, such as x.png" in mistakes(tmp_path / "stray")[0]
    (tmp_path / "broken" / "a").mkdir(parents=True)
    (tmp_path / "broken" / "a" / "1.png").write_bytes(b"no image")
    assert mistakes(tmp_path / "broken") == [
        f"{tmp_path}/broken: none of 1 files can be decoded", "a/1.png: not an image"
    ]  # fmt: skip


@pytest.mark.parametrize("inputs", [Inputs(16), Inputs(16, "plain"), Inputs(32, "whole", 2)])
def test_dali_makes_of_files_what_the_conversion_makes_of_their_images(inputs: Inputs, tmp_path: Path):
    generator = np.random.default_rng(0)
    sizes = [(16, 16), (28, 28), (32, 32), (24, 40), (41, 23)]
    pictures = [Image.fromarray(generator.integers(0, 256, (*size, 3)).astype(np.uint8)) for size in sizes]
    (tmp_path / "images").mkdir()
    for number, image in enumerate(pictures):
        image.save(tmp_path / "images" / f"{number}.png")
    files, bad = image_files(tmp_path / "images")
    assert not bad and not (tmp_path / "images" / ".semisonic").exists()
    found = [images[valid] for images, _, valid in file_slices(inputs, files, 2, torch.device("cpu"))]
    difference = (torch.cat(found).int() - inputs.convert(pictures).int()).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 0.01  # what lies halfway between two levels


def test_one_image_is_a_folder_of_one(tmp_path: Path):
    write_images(tmp_path / "images", "1.png 2.png")
    files, _ = image_files(tmp_path / "images" / "2.png")
    assert files.paths == ["2.png"] and files.root == tmp_path / "images"
    for wrong in (tmp_path / "none", tmp_path / "images" / "1.txt"):
        if wrong.suffix:
            wrong.write_text("")
        with pytest.raises(UserError, match=r"no such file or folder|no images found"):
            image_files(wrong)
