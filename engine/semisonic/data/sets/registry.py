"""Data sets by name: what there is, what is wrong with a configuration, and the images themselves.

To add a data set, write a function DataConfig -> DataSet and list it in `DATA_SETS`, or register it from a plug-in.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from semisonic.data.sets import digits, eurosat, imagenet, medmnist, semi_aves
from semisonic.data.sets.base import DataConfig, DataSet
from semisonic.data.sets.checks import repeated
from semisonic.data.sets.duplicates import without_duplicates
from semisonic.data.sets.eurosat import eurosat_problems, load_eurosat
from semisonic.data.sets.given import GIVEN, given_problems, load_given
from semisonic.data.sets.image_folder import folder_problems, load_folder
from semisonic.data.sets.imagenet import imagenet_problems, load_imagenet
from semisonic.data.sets.imbalance import shape_problems
from semisonic.data.sets.label_counts import label_problems
from semisonic.data.sets.medmnist import load_medmnist, medmnist_problems
from semisonic.data.sets.semi_aves import aves_problems, load_aves
from semisonic.data.sets.shown import as_shown
from semisonic.data.sets.torchvision_sets import KNOWN, load_torchvision, torchvision_problems
from semisonic.registry import Registry
from semisonic.schema import UserError
from semisonic.text import name_of


@dataclass(frozen=True)
class Registered:
    """What stands behind a name of `data.name`."""

    summary: str
    """One line about it."""
    load: Callable[[DataConfig], DataSet]
    problems: Callable[[DataConfig], list[str]] = lambda cfg: []
    """Mistakes that show without reading images, one line each."""
    size: int | None = None
    """Side of its images; None: the user chooses."""
    classes: int | None = None
    """None: known once the data are read."""
    counts: Sequence[int] | None = None
    """Labeled images of every class, where known without reading them."""
    published: bool = False
    """Whether its split into training and test images is one that results are compared on."""
    resizable: bool = False
    """Whether the user may choose another size than that, which the images are brought to."""
    files: bool = False
    """Whether its images stay files, of which a weak crop is a part."""


DATA_SETS: Registry[Registered] = Registry(
    "data set",
    {
        "digits": Registered(
            "scikit-learn's digits, 8x8 gray shown at 16x16, 1,397 + 400, comes with the installation",
            digits.load_digits,
            size=digits.SIZE,
            classes=10,
            counts=digits.COUNTS,
            published=True,
        ),
        **{
            name: Registered(
                known.title, load_torchvision, torchvision_problems, known.size, known.classes, known.counts, True
            )
            for name, known in KNOWN.items()
        },
        "eurosat": Registered(
            "land use seen by satellites, 64x64, 21,600 + 5,400 by the files' names",
            load_eurosat, eurosat_problems, eurosat.SIZE, len(eurosat.IMAGES), eurosat.COUNTS, True, resizable=True,
        ),
        **{
            name: Registered(
                f"{med.title}, 28x28 (or 64, 128, 224), {med.images[0]:,} + {med.images[1]:,} of MedMNIST",
                load_medmnist, medmnist_problems, medmnist.SIZE, len(med.classes), None, True, resizable=True,
            )
            for name, med in medmnist.MED.items()
        },
        **{
            name: Registered(
                f"200 species of birds, files, 3,959 labeled + {pool} unlabeled + 8,000",
                load_aves, aves_problems, semi_aves.SIZE, semi_aves.CLASSES, None, True, resizable=True, files=True,
            )
            for name, pool in (("semi-aves", "26,640"), (semi_aves.OUT, "148,848 (of other species, too)"))
        },
        "imagenet": Registered(
            "ILSVRC 2012, files, 1,281,167 + 50,000; lists of labeled images as data.split",
            load_imagenet, imagenet_problems, imagenet.SIZE, imagenet.CLASSES, None, True, resizable=True, files=True,
        ),
        "folder": Registered("your own images: a folder per class, or a CSV (data.csv)", load_folder, folder_problems),
        GIVEN: Registered("your own images, in Python: semisonic.train(data=...)", load_given, given_problems),
    },
)  # fmt: skip


def register_data_set(
    name: str,
    load: Callable[[DataConfig], DataSet],
    summary: str,
    problems: Callable[[DataConfig], list[str]] = lambda cfg: [],
    size: int | None = None,
    classes: int | None = None,
    counts: Sequence[int] | None = None,
) -> None:
    """Adds a data set; the arguments are `Registered`'s.

    Raises ValueError for a name that is taken or cannot be one, and for counts that are not of all classes.
    """
    if counts is not None and classes is not None and len(counts) != classes:
        raise ValueError(f"data set {name!r}: {len(counts)} counts of {classes} classes")
    DATA_SETS.register(name, Registered(summary, load, problems, size, classes, counts))


def data_sets() -> dict[str, str]:
    """Every data set's name and one line about it."""
    return {name: entry.summary for name, entry in DATA_SETS.items()}


def image_size(cfg: DataConfig) -> int:
    """Side of the images that the network will see, in pixels; 32 where the configuration does not tell."""
    entry = DATA_SETS.get(cfg.name)
    return cfg.size or (entry.size if entry else None) or 32


def data_problems(cfg: DataConfig) -> list[str]:
    """Every mistake in `cfg` that shows without reading images, one line each, naming the field; else []."""
    entry = DATA_SETS.get(cfg.name)
    if entry is None:
        if reason := medmnist.NOT_TAKEN.get(cfg.name):
            return [f"data.name: {cfg.name} is not read: {reason}; valid: {', '.join(DATA_SETS)}"]
        close = DATA_SETS.close_to(cfg.name)
        hint = f"did you mean {close}? " if close else ""
        if "/" in cfg.name or cfg.name.startswith(".") or os.path.isdir(cfg.name):
            hint = f"for a folder of images give --data folder --data.root {cfg.name}; "
        return [f"data.name: there is no data set {name_of(cfg.name)!r}; {hint}valid: {', '.join(DATA_SETS)}"]
    problems = entry.problems(cfg)
    if cfg.name != GIVEN and cfg.fingerprint is not None:
        problems.append("data.fingerprint: a run records it of images that are given in Python; remove it")
    if entry.size is not None and not entry.resizable and cfg.size not in (None, entry.size):
        problems.append(
            f"data.size: the images of {cfg.name} are {entry.size} pixels wide, not {cfg.size}; leave it out"
        )
    if cfg.name != "folder":
        set_anyway = [field for field in ("csv", "test_root") if getattr(cfg, field) is not None]
        problems += [f"data.{field}: only for data.name=folder, not {cfg.name}" for field in set_anyway]
    if cfg.weight_column is not None and cfg.csv is None:
        problems.append(f"data.weight_column: {name_of(cfg.weight_column)} is a column of data.csv, which is not given")
    elif cfg.weight_column in ("path", "label", "split"):
        problems.append(f"data.weight_column: the column {cfg.weight_column} has another meaning; name one of weights")
    if cfg.test == "none" and cfg.test_root is not None:
        problems.append("data.test: none, but data.test_root names test images; leave one of the two out")
    if entry.published and cfg.duplicates in ("refuse", "drop"):
        problems.append(
            f"data.duplicates: {cfg.duplicates} is for images of your own; {cfg.name} keeps the split that it was "
            "published with, and tells of duplicates"
        )
    size = cfg.size or entry.size
    if entry.size is not None and not entry.files and cfg.crop_area != DataConfig().crop_area:
        problems.append(f"data.crop_area: is for image files; crops of {cfg.name} are those of data.pad")
    if cfg.name == GIVEN or (entry.size is not None and not entry.files):
        given = {"crop_ratio": cfg.crop_ratio is not None, "interpolation": cfg.interpolation != "auto"}
        shown = f"is for image files; images of {cfg.name} are shown as they are"
        problems += [f"data.{field}: {shown}" for field, is_given in given.items() if is_given]
    if cfg.pad is not None and size is not None and cfg.pad >= size:
        problems.append(
            f"data.pad: a margin of {cfg.pad} cannot be reflected from {size} pixels; give less than {size}"
        )
    if found := repeated(cfg.classes):
        problems.append(f"data.classes: {', '.join(found)} more than once; every class needs a name of its own")
    if len(cfg.classes) == 1:
        problems.append(f"data.classes: {cfg.classes[0]} alone; at least 2 classes are needed")
    if cfg.split is not None and not cfg.split.is_file():
        problems.append(f"data.split: no such file: {cfg.split}")
    if shapes := shape_problems(cfg):
        problems += shapes
    elif entry.classes is not None:
        problems += label_problems(cfg, entry.classes, entry.counts)
    elif cfg.labels is not None and cfg.labels <= 0 and cfg.split is None and cfg.labels_head is None:
        problems.append(f"data.labels: {cfg.labels} labeled images; give a multiple of the number of classes or null")
    return problems


def check_classes(cfg: DataConfig, data: DataSet) -> None:
    """Raises UserError where the classes are not those that `data.classes` lists, in its order."""
    if cfg.classes and cfg.classes != data.classes:
        other = next(
            (name for name in (*data.classes, *cfg.classes) if (name in cfg.classes) != (name in data.classes)), None
        )
        found = "in another order" if other is None else f"and {other} is not in both"
        raise UserError(f"data.classes: they are not those of the images of {cfg.name}, {found}; give none")


def load_data_set(cfg: DataConfig) -> DataSet:
    """Read the data set. Raises UserError with every problem found, one line each."""
    if problems := data_problems(cfg):
        raise UserError(problems)
    data = DATA_SETS[cfg.name].load(cfg)
    if not isinstance(data, DataSet):
        raise UserError(f"data.name: {cfg.name} was read as {type(data).__name__}, not as a DataSet")
    check_classes(cfg, data)
    if cfg.test == "none":
        data = replace(data, test=None)
    data = without_duplicates(data, cfg)
    return as_shown(data, cfg)
