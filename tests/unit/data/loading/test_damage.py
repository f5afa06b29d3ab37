"""ImageFiles that changed since the scan: which of them are named, and what stays the error that it is."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semisonic.data.loading.calls import Placement
from semisonic.data.loading.damage import name_undecodable
from semisonic.data.loading.draws import Draws
from semisonic.data.loading.image_source import ImageSource
from semisonic.data.loading.sampler import EvaluationSampler
from semisonic.data.loading.stream import Extras, Stream
from semisonic.data.sets.base import DataConfig, ImageFiles
from semisonic.data.sets.registry import load_data_set
from semisonic.data.views.registry import Geometry
from semisonic.schema import UserError


@pytest.fixture
def images(tmp_path: Path) -> ImageFiles:
    rng = np.random.default_rng(0)
    for part, label, i in [(p, c, i) for p in ("train", "test") for c in "ab" for i in range(4)]:
        (tmp_path / part / label).mkdir(parents=True, exist_ok=True)
        kind = ("png", "jpg")[i % 2]
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(tmp_path / part / label / f"{i}.{kind}")
    found = load_data_set(DataConfig(name="folder", root=tmp_path, size=16, labels=None)).train
    assert isinstance(found, ImageFiles)
    return found


def stream_of(images: ImageFiles, columns=None) -> Stream:
    geometry = Geometry(size=16, pad=0, flip=False, fill=(0, 0, 0), encoded=True, device="cpu")
    source, sampler, placement = ImageSource(images, geometry), EvaluationSampler(8, 8), Placement(torch.device("cpu"))
    return Stream(Draws(0, "t"), source, {"v": "plain"}, sampler, placement, extras=Extras(columns))


def gone(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def garbage(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)


def another(path: Path) -> None:
    """A sound image of another shape and, as far as the size tells, the same file."""
    size = path.stat().st_size
    Image.new("RGB", (10, 12)).save(path)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))


@pytest.mark.parametrize("name", ["a/1.jpg", "b/2.png"])
@pytest.mark.parametrize("damage", [gone, truncated, garbage, another])
def test_a_file_that_changed_is_named(images: ImageFiles, damage, name: str):
    path = images.root / "train" / name
    damage(path)
    with pytest.raises(UserError) as caught:
        next(stream_of(images))
    (line,) = caught.value.messages
    assert line.startswith(f"data.root: cannot decode {path}") and line.endswith(
        "; repair it and continue with --resume"
    )


def test_only_the_first_files_of_many_are_listed(images: ImageFiles):
    for path in images.root.rglob("train/*/*"):
        gone(path)
    with pytest.raises(UserError) as caught:
        next(stream_of(images))
    assert len(caught.value.messages) == 6 and caught.value.messages[-1].startswith(
        "data.root: 3 more files of the batch;"
    )


@pytest.mark.parametrize("folder", ["train", "train/b"])
def test_a_folder_that_is_gone_is_one_line(images: ImageFiles, folder: str):
    shutil.rmtree(images.root / folder)
    with pytest.raises(UserError) as caught:
        next(stream_of(images))
    expected = (
        f"data.root: {images.root / folder} is not there any more; put back what is gone and continue with --resume"
    )
    assert caught.value.messages == [expected]


def test_an_error_of_another_kind_stays_what_it_is(images: ImageFiles):
    error = RuntimeError("out of memory")
    assert name_undecodable(error, images, [0, 1]) is error

    def broken(steps: range) -> dict:
        raise KeyError("label")

    with pytest.raises(KeyError, match="label"):  # from a thread, not a hang
        next(stream_of(images, columns=broken))
