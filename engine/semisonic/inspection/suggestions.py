"""What to set for a training on the images that an inspection found."""

import shlex
from collections.abc import Iterator, Sequence

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.class_names import NO_LABEL
from semisonic.data.sets.spellings import role_of
from semisonic.inspection.findings import ClassCount, Inspection, Roles, Suggestion
from semisonic.training.intervals import interval_of_few

SIZES = (16, 24, 28, 32, 40, 48, 64, 80, 96, 112, 128, 160, 192, 224)
"""Sides of training images that are suggested; larger ones cost more than they mostly bring."""
SMALL = 40
"""Pixels up to which the networks and settings of CIFAR-10 fit."""
FEW = 5
"""Labeled images of a class below which its accuracy is a matter of luck."""
_ACCURACY = 90  # percent; an example
UNEVEN = 10
"""Times as many labeled images in one class as in another from which it is said."""


def suggested_size(found: Inspection) -> int | None:
    """The largest usual side that half of the images have; None where no image is known."""
    side = found.files.shorter_side
    if side is None:
        return None
    if side.least == side.most and side.median <= SMALL:
        return max(8, int(side.median) // 4 * 4)
    return max((size for size in SIZES if size <= side.median), default=SIZES[0])


def suggest(found: Inspection, cfg: DataConfig) -> None:
    """Adds suggestions and the command of a training."""
    found.suggestions += _suggestions(found, cfg)
    found.command = command(found, cfg)


def _suggestions(found: Inspection, cfg: DataConfig) -> Iterator[Suggestion]:
    size, side = suggested_size(found), found.files.shorter_side
    if found.files.size is None and size is not None and side is not None:
        yield Suggestion(f"--data.size {size}", f"half of the images have a shorter side of {side.median:.0f} or more")
    elif found.files.size is not None and size is not None and found.files.smaller * 2 > found.files.images:
        yield Suggestion(f"--data.size {size}", f"most images are smaller than {found.files.size}, and are enlarged")
    if found.unusable and cfg.bad_files == "error":
        yield Suggestion("--data.bad-files skip", "leaves out what cannot be used, and says how many")
    copies = found.copies
    if (copies.contradictions or copies.leaks) and cfg.duplicates in (None, "refuse"):
        yield Suggestion(
            "--data.duplicates drop", "leaves out images under two classes, and training images that are in the test"
        )
    chosen = found.files.size or size
    if chosen is not None and chosen <= SMALL:
        yield Suggestion(
            "--recipe cifar10",
            "settings for small images, in place of a ResNet-50; a million steps on a GPU. On a CPU: --recipe digits",
        )
    elif chosen is not None:
        yield Suggestion("--model resnet18 --batch.labeled 16", "for a small GPU; the recipe has a ResNet-50 and 64")


def command(found: Inspection, cfg: DataConfig) -> str:
    """A training with the fields that were given and those that it needs."""
    parts = ["semisonic", "train", "--data", "folder"]
    given = cfg.model_dump(exclude_unset=True, exclude={"name"})
    for name, value in given.items():
        if value is None:
            continue
        option = f"--data.{name.replace('_', '-')}"
        if isinstance(value, bool):
            parts.append(option if value else f"--no-data.{name.replace('_', '-')}")
        elif isinstance(value, tuple):
            parts += [option, ",".join(value)]
        else:
            parts += [option, str(value)]
    own = {part for part in parts if part.startswith("--")}
    options = [suggestion.option for suggestion in found.suggestions if not suggestion.option.startswith("--model")]
    added = [option for option in options if option.partition(" ")[0] not in own]
    return " ".join([*map(shlex.quote, parts), *added])


# What looks odd.


def odd_roles(roles: Roles) -> list[str]:
    """Lines about what there is nothing of, or little."""
    lines = []
    if roles.drawn and roles.pool == roles.drawn:
        lines.append(
            "no image is without a label: what is learned from unlabeled images is nothing new; give more of them, or "
            "--data.labels N, to see what N labels do"
        )
    if roles.test and (interval := interval_of_few(_ACCURACY, roles.test)):
        low, high = interval
        lines.append(
            f"few test images: an accuracy of {_ACCURACY} % on {roles.test:,} has a 95 % interval of {low:.0f} to "
            f"{high:.0f} %"
        )
    return lines


_OTHER_PARTS = {"images", "image", "img", "imgs", "data", "dataset", "mask", "masks", "annotations", "new folder"}


def odd_classes(names: Sequence[str]) -> list[str]:
    """A line for each class whose name is hardly one. (Classes that are probably one, a training refuses.)"""
    lines = []
    for name in names:
        plain = name.strip().casefold()
        if role_of(name) is not None or plain in _OTHER_PARTS:
            lines.append(f"class {name}: a usual name of a part of a data set; is it a class?")
        elif plain in NO_LABEL:
            lines.append(f"class {name}: mostly stands for no label; is it a class?")
        elif name != name.strip():
            lines.append(f"class {name!r}: has blanks around it")
    return lines


def uneven_classes(classes: Sequence[ClassCount]) -> list[str]:
    """Lines about classes with few images, or far fewer than others."""
    if not classes:
        return []
    most, least = max(classes, key=lambda c: c.labeled), min(classes, key=lambda c: c.labeled)
    lines = []
    if least.labeled and most.labeled >= UNEVEN * least.labeled:
        lines.append(
            f"classes are uneven: {most.labeled:,} labeled images of {most.name}, {least.labeled:,} of {least.name}"
        )
    few = [f"{c.name} ({c.labeled})" for c in classes if c.labeled < FEW]
    if few:
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        lines.append(f"classes with fewer than {FEW} labeled images: {', '.join(few[:5])}{more}")
    if any(c.test for c in classes) and (without := [c.name for c in classes if not c.test]):
        more = f" and {len(without) - 5} more" if len(without) > 5 else ""
        lines.append(f"classes without a test image, whose accuracy is not measured: {', '.join(without[:5])}{more}")
    return lines
