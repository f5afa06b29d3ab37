"""A data set as the network is shown it: by the data set's own normalization, or as the weights of a run expect."""

from dataclasses import replace
from typing import Any

from semisonic.data.sets.base import IMAGENET_MEAN, IMAGENET_STD, DataConfig, DataSet, ImageFiles

WHOLE = 0.875
"""Share of the shorter side that evaluations show where nothing says another."""


def as_shown(data: DataSet, cfg: DataConfig) -> DataSet:
    """The data set with mean, deviation, interpolation and crop as `cfg` settles them; what is so already stays.

    Images in memory have their size: they are shown whole.
    """
    expected = cfg.expected
    if expected.source is not None:
        data = replace(data, mean=expected.mean, std=expected.std, shown_for=expected.source)
    elif cfg.normalize == "imagenet":
        data = replace(data, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    interpolation = cfg.interpolation if cfg.interpolation != "auto" else expected.interpolation
    crop = cfg.crop_ratio if cfg.crop_ratio is not None else expected.crop
    if interpolation == "bicubic" and crop is None:
        crop = WHOLE
    return replace(data, interpolation=interpolation, crop=crop if isinstance(data.train, ImageFiles) else None)


def description(data: DataSet) -> str:
    """How the images of a data set are shown, in a line."""

    def channels(values: tuple[float, float, float]) -> str:
        return " ".join(f"{value:.4g}" for value in values)

    whose = data.shown_for or ("ImageNet" if (data.mean, data.std) == (IMAGENET_MEAN, IMAGENET_STD) else data.name)
    text = f"{data.size}x{data.size}, mean {channels(data.mean)}, deviation {channels(data.std)}"
    if isinstance(data.train, ImageFiles):
        text += f", {data.interpolation}, {data.crop or WHOLE:.4g} of the shorter side"
    return f"{text} (of {whose})"


def preprocess(data: DataSet) -> dict[str, Any]:
    """How its images come to the network, as a checkpoint says it to those who have no data set."""
    return {
        "view": "plain" if isinstance(data.train, ImageFiles) else "whole",
        "border": data.border,
        "pad": data.pad,
        "flip": bool(data.flip),
        "crop_area": data.crop_area,
        "interpolation": data.interpolation,
        "crop": data.crop,
        "shown_for": data.shown_for,
    }
