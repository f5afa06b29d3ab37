"""How many images are to be labeled and held out, and whether there are so many."""

import math
from collections.abc import Sequence

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.imbalance import labeled_counts, unlabeled_counts


def label_problems(
    cfg: DataConfig, classes: int, label_counts: Sequence[int] | None = None, names: Sequence[str] = ()
) -> list[str]:
    """Mistakes in `data.labels` and `data.held_out`, one line each; [] where there is none.

    `label_counts`: labeled images of every class; without it only what needs no images is checked. names: of the
    classes, for messages. Where classes may be without a label, they take no part in the balance.
    """
    if cfg.labels_head is not None and cfg.split is None:
        return _curve_problems(cfg, classes, label_counts, names)
    if cfg.labels_from != "balanced":
        return _random_problems(cfg, label_counts)
    if cfg.absent_classes == "warn":
        if label_counts is None:
            return []
        present = [c for c in range(classes) if label_counts[c]]
        names = [names[c] for c in present] if names else names
        label_counts, classes = [label_counts[c] for c in present], len(present)
    problems = []
    if cfg.held_out % classes:
        problems.append(_not_balanced("held_out", cfg.held_out, classes))
    if cfg.split is not None:
        return problems
    if cfg.labels is not None and cfg.labels <= 0:
        problems.append(
            f"data.labels: {cfg.labels} labeled images; give a positive multiple of the {classes} classes, "
            f"such as {4 * classes}, or null for all"
        )
    elif cfg.labels is not None and cfg.labels % classes:
        problems.append(_not_balanced("labels", cfg.labels, classes))
    if not problems and label_counts is not None:
        problems += _count_problems(cfg, classes, label_counts, names)
    return problems


def _random_problems(cfg: DataConfig, label_counts: Sequence[int] | None) -> list[str]:
    if cfg.split is not None:
        return []
    if cfg.labels is not None and cfg.labels <= 0:
        return [f"data.labels: {cfg.labels} labeled images; give 1 or more, or null for all"]
    wanted = (1 if cfg.labels is None else cfg.labels) + cfg.held_out
    if label_counts is None or wanted <= sum(label_counts):
        return []
    asked = f"{cfg.labels or 'all'} labeled and {cfg.held_out} held-out images"
    field = "labels" if cfg.labels is not None else "held_out"
    return [f"data.{field}: {asked} asked for, but only {sum(label_counts)} training images have a label"]


def _curve_problems(
    cfg: DataConfig, classes: int, label_counts: Sequence[int] | None, names: Sequence[str]
) -> list[str]:
    """Of a split by class counts."""
    if cfg.held_out % classes:
        return [_not_balanced("held_out", cfg.held_out, classes)]
    labeled, unlabeled = labeled_counts(cfg, classes), unlabeled_counts(cfg, classes)
    if 0 in labeled:
        return [
            f"data.labels_head: {cfg.labels_head} images of the largest class and data.imbalance {cfg.imbalance:g} "
            f"leave none of class {called(labeled.index(0), names)}; give {math.ceil(cfg.imbalance)} or more"
        ]
    if label_counts is None:
        return []
    held, pool = cfg.held_out // classes, unlabeled or [0] * classes
    short = [c for c in range(classes) if labeled[c] + pool[c] + held > label_counts[c]]
    if not short:
        return []
    c = short[0]
    field = "unlabeled_head" if labeled[c] + held <= label_counts[c] else "labels_head"
    parts = [f"{labeled[c]} labeled", *([f"{pool[c]} unlabeled"] * bool(pool[c])), *([f"{held} held-out"] * bool(held))]
    others = f" ({len(short)} classes are short)" if len(short) > 1 else ""
    return [
        f"data.{field}: {' + '.join(parts)} images are asked of class {called(c, names)}, which has "
        f"{label_counts[c]}{others}; give less"
    ]


def _not_balanced(field: str, value: int, classes: int) -> str:
    low = value // classes * classes
    near = f"{low} or {low + classes}" if low else f"{classes}"
    return f"data.{field}: {value} is not the same number for each of the {classes} classes; give {near}"


def _count_problems(cfg: DataConfig, classes: int, label_counts: Sequence[int], names: Sequence[str]) -> list[str]:
    total, poorest = sum(label_counts), min(range(classes), key=lambda c: label_counts[c])
    wanted = (cfg.labels or 0) + cfg.held_out
    asked = f"{cfg.labels or 'all'} labeled and {cfg.held_out} held-out images"
    field = "labels" if cfg.labels is not None else "held_out"
    if wanted > total:
        return [f"data.{field}: {asked} asked for, but only {total} training images have a label"]
    # With all images labeled, each class must keep one after the held-out images are taken.
    need = wanted // classes + (cfg.labels is None)
    if need > label_counts[poorest]:
        return [
            f"data.{field}: {asked} need {need} of every class, but "
            f"{f'class {names[poorest]}' if names else 'the rarest one'} has only {label_counts[poorest]}; give less"
        ]
    return []


def called(number: int, names: Sequence[str]) -> str:
    return names[number] if number < len(names) else str(number)


def some(numbers: Sequence[int], names: Sequence[str]) -> str:
    more = f" and {len(numbers) - 10} more" if len(numbers) > 10 else ""
    return ", ".join(called(number, names) for number in numbers[:10]) + more
