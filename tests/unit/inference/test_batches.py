"""Batches of views: the plain image and weak ones of one decoding are those that are made by themselves."""

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from semisonic.inference.batches import Batches, Found
from semisonic.inference.decoding import examined_here
from semisonic.inference.inputs import Inputs
from semisonic.inference.reading import Reading
from semisonic.inference.sources import ArraySources, FileSources, Sources, files_below
from tests.support.image_folders import write_images


def network(view: str, **preprocess: Any) -> Any:
    """What batches ask of a network, whose images are of 16 x 16."""
    weak = {"flip": True, "pad": 2}
    about = {"view": view, **preprocess}
    inputs = Inputs(16, view)
    return SimpleNamespace(transform=inputs, preprocess=about, weak=weak, image_size=16, device=torch.device("cpu"))


@pytest.fixture(params=["files", "array"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Sources, Found, str]:
    if request.param == "files":
        write_images(tmp_path / "images", [f"{number}.png" for number in range(5)])
        files = files_below(tmp_path / "images")
        return files, examined_here(Reading(), files, range(5)), "plain"
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8))
    return ArraySources(tmp_path / "images.npy"), Found(range(5), np.arange(5), []), "whole"


def made(batches: Batches, found: Found) -> list[torch.Tensor]:
    """Each view of all images, [5, 3, 16, 16]."""
    with closing(batches.of(found)) as slices:
        parts = [[view[:count].clone() for view in views] for views, count in slices]
    return [torch.cat(own) for own in zip(*parts, strict=True)]


def test_the_plain_image_comes_first_and_weak_views_are_drawn_as_without_it(images: tuple[Sources, Found, str]):
    sources, found, view = images
    classifier = network(view)
    both = made(Batches(classifier, sources, 2, views=3), found)
    plain = made(Batches(classifier, sources, 2), found)
    weak = made(Batches(classifier, sources, 4, views=3, plain=False), found)
    assert (len(both), len(plain), len(weak)) == (4, 1, 3)
    assert all(torch.equal(one, other) for one, other in zip(both, [*plain, *weak], strict=True))
    assert not torch.equal(weak[0], weak[1]) and both[0].dtype == torch.uint8


def test_weak_views_of_files_show_as_much_as_those_of_the_run(tmp_path: Path):
    write_images(tmp_path / "images", [f"{number}.png" for number in range(5)])
    sources: FileSources = files_below(tmp_path / "images")
    found = examined_here(Reading(), sources, range(5))
    views = [
        made(Batches(network("plain", **area), sources, 4, 1, plain=False), found)[0]
        for area in ({}, {"crop_area": 0.2}, {"crop_area": 0.9})
    ]
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])
