"""Image files for a classifier: found, scanned, and decoded by DALI as the run's own evaluation decodes them."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from semisonic.data.loading.calls import Placement, StepRange
from semisonic.data.loading.draws import Draws
from semisonic.data.loading.image_source import ImageSource
from semisonic.data.loading.resident import upload
from semisonic.data.loading.sampler import EvaluationSampler
from semisonic.data.loading.stream import Stream
from semisonic.data.sets import manifest
from semisonic.data.sets.base import ImageFiles
from semisonic.data.sets.layout import class_folders
from semisonic.data.sets.listing import class_images
from semisonic.data.sets.walk import EXTENSIONS, PassedOver, is_image, relative
from semisonic.data.views.view import Geometry
from semisonic.inference.inputs import Inputs
from semisonic.inference.labeled import listed, unknown_classes
from semisonic.inference.sources import files_below
from semisonic.schema import UserError

NONE_DRAWN = Draws(0, "predict")
"""For views without randomness."""
WEAK_AREA = 0.2
"""Least share of an image's area that a weak crop showed before runs said it."""
SHOWN = 20
"""Files that a message lists."""


def image_files(folder: Path) -> tuple[ImageFiles, list[str]]:
    """All images below a folder (or one image), and one line for each file that cannot be decoded."""
    found = files_below(folder)
    return _scanned(found.root, list(found.names), np.full(len(found), -1))


def _scanned(root: Path, paths: list[str], labels: np.ndarray) -> tuple[ImageFiles, list[str]]:
    # A folder that is only looked at stays as it is: torchvision's ImageFolder would take .semisonic for a class.
    entries = manifest.scan(root, paths, write_inside=False).entries
    bad = [f"{path}: {entry.reason}" for path, entry in zip(paths, entries, strict=True) if not entry.sound]
    kept = [number for number, entry in enumerate(entries) if entry.sound]
    if not kept:
        raise UserError([f"{root}: none of {len(bad)} files can be decoded", *bad[:SHOWN]])
    files = ImageFiles(
        root=root,
        paths=[paths[number] for number in kept],
        labels=labels[kept],
        shapes=np.array([(entries[number].height, entries[number].width) for number in kept], dtype=np.int32),
        via_pillow=np.array([entries[number].status == manifest.VIA_PILLOW for number in kept]),
    )
    return files, bad


@dataclass(frozen=True, eq=False)
class LabeledFolder:
    """The images of a folder with one folder a class."""

    files: ImageFiles
    """Labels are numbers into the classes that were asked for."""
    bad: list[str]
    """A line for each file that cannot be decoded, and is left out."""
    without: list[str]
    """Classes without images."""
    passed: list[str] = field(default_factory=list)
    """A line for each kind of files that are no images."""

    @property
    def notes(self) -> list[str]:
        """What a user must be told of it, a line each."""
        missing = [f"no images of {listed(self.without)}"] if self.without else []
        return [f"left out: {line}" for line in self.bad] + missing + self.passed


def labeled_folder(folder: Path, classes: Sequence[str]) -> LabeledFolder:
    """The images of `folder`/CLASS, at any depth below it, by the names of the classes.

    Raises `UserError` where there is no such folder, or one of a class that is not in `classes`.
    """
    names, problems = class_folders("images", folder)
    if problems:
        raise UserError(problems)
    passed = PassedOver()
    found = {own.name: own.paths for own in class_images(folder, folder, names, passed)}
    if unknown := [name for name in found if name not in classes]:
        raise UserError(f"{folder}: {unknown_classes(unknown, classes)}")
    if stray := sorted(path.name for path in folder.iterdir() if path.is_file() and is_image(path.name)):
        raise UserError(f"{folder}: {len(stray)} images in no class's folder, such as {stray[0]}; move them to one")
    paths, labels = [], []
    for label, name in enumerate(classes):
        own = found.get(name, [])
        paths += own
        labels += [label] * len(own)
    if not paths:
        raise UserError(f"{folder}: no images found in the folders of the classes ({', '.join(sorted(EXTENSIONS))})")
    files, bad = _scanned(folder, paths, np.array(labels, np.int64))
    bad += [f"{relative(folder, entry.path)}: {entry.reason}" for entry in passed.broken]
    present = set(files.labels.tolist())
    without = [name for label, name in enumerate(classes) if label not in present]
    return LabeledFolder(files, bad, without, passed.notes())


def file_slices(
    inputs: Inputs, files: ImageFiles, batch: int, device: torch.device
) -> Generator[tuple[Tensor, Tensor, Tensor], None, None]:
    """Images uint8 [batch, 3, S, S], labels [batch] and validity bool [batch], in the order of the files; the last
    slice repeats the last image, marked invalid. To be closed where it is not exhausted.
    """
    with closing(view_slices(inputs, files, batch, device)) as slices:
        for views, indices, valid in slices:
            rest = upload({"labels": files.labels[indices], "valid": valid}, device)
            yield views["view"], rest["labels"], rest["valid"]


def view_slices(
    inputs: Inputs,
    files: ImageFiles,
    batch: int,
    device: torch.device,
    specs: Mapping[str, str] | None = None,
    draws: Draws = NONE_DRAWN,
    flip: bool = False,
    crop_area: float = WEAK_AREA,
) -> Generator[tuple[dict[str, Tensor], np.ndarray, np.ndarray], None, None]:
    """Views by name, each uint8 [batch, 3, S, S]; which files they are of, int64 [batch]; and validity bool [batch].

    specs: the views, by name; None: `view`, as the run's evaluation sees the image. flip and crop_area: as the run
    drew weak views. In the order of the files; the last slice repeats the last image, marked invalid. To be closed
    where it is not exhausted.
    """
    geometry = Geometry(
        size=inputs.size - 2 * inputs.border, pad=0, flip=flip, fill=(0, 0, 0), encoded=True,
        least=crop_area, device="gpu" if device.type == "cuda" else "cpu",
        interpolation=inputs.interpolation, crop=inputs.crop,
    )  # fmt: skip
    sampler = EvaluationSampler(len(files), min(batch, len(files)))
    source, views, steps = ImageSource(files, geometry), specs or {"view": inputs.view}, StepRange(stop=sampler.steps)
    with closing(Stream(draws, source, views, sampler, Placement(device), steps)) as stream:
        for step in range(sampler.steps):
            indices = sampler.indices(step)
            images = {name: functional.pad(view, [inputs.border] * 4) for name, view in next(stream).items()}
            if specs is None:
                _take_framed(images["view"], inputs, files, indices)
            yield images, indices, sampler.valid(step)


def _take_framed(images: Tensor, inputs: Inputs, files: ImageFiles, indices: np.ndarray) -> None:
    """Puts files that have the border already, being of S x S, in the place of what the stream made of them."""
    if not inputs.border:
        return
    for position, index in enumerate(indices.tolist()):
        if tuple(files.shapes[index]) == (inputs.size, inputs.size):
            images[position] = inputs(files.root / files.paths[index]).to(images.device)
