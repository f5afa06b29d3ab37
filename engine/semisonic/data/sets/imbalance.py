"""Splits by class counts: as many labeled and unlabeled images of every class as a falling curve says.

The largest class has N1 images and the last gamma times fewer, geometrically between them: the curve that papers on
imbalanced classes cut their data sets by. Classes stand in the data set's order.
"""

from collections.abc import Sequence

import numpy as np

from semisonic.data.sets.base import DataConfig

SHAPES = ("unlabeled_head", "imbalance_unlabeled", "imbalance_order")
"""Fields that shape the unlabeled pool of such a split."""


def class_counts(head: int, ratio: float, classes: int) -> list[int]:
    """Images of every class: int(head ratio^(-c/(C-1))), and int(head/ratio) of the last; [C]."""
    falling = [int(head * ratio ** (-c / (classes - 1))) for c in range(classes - 1)]
    return [*falling, int(head / ratio)]  # itself, as rounding may have the power a hair below a whole number


def labeled_counts(cfg: DataConfig, classes: int) -> list[int]:
    """Labeled images of every class that `cfg` asks for, [C]; it has `labels_head`."""
    assert cfg.labels_head is not None
    return class_counts(cfg.labels_head, cfg.imbalance, classes)


def unlabeled_counts(cfg: DataConfig, classes: int) -> list[int] | None:
    """Further images of every class in the pool, [C]; None: all that are left, and those without a label."""
    if cfg.unlabeled_head is None:
        return None
    ratio = cfg.imbalance if cfg.imbalance_unlabeled is None else cfg.imbalance_unlabeled
    counts = class_counts(cfg.unlabeled_head, ratio, classes)
    return counts[::-1] if cfg.imbalance_order == "reversed" else counts


def shape_problems(cfg: DataConfig) -> list[str]:
    """Fields of such a split that do not go together, one line each; they show without images."""
    default = DataConfig()
    given = [field for field in SHAPES if getattr(cfg, field) != getattr(default, field)]
    asked = [*(["imbalance"] if cfg.imbalance != 1 else []), *given]
    if cfg.labels_head is None:
        return [
            f"data.{field}: needs the labeled images of the largest class; give data.labels_head, such as 1500"
            for field in asked[:1]
        ]
    problems = []
    if cfg.split is not None:
        problems.append("data.split: names the images itself; leave it or data.labels_head out")
    if cfg.labels_from != "balanced":
        problems.append(
            f"data.labels_from: {cfg.labels_from} does not look at classes, of which data.labels_head sets the counts; "
            "leave one of the two out"
        )
    if cfg.unlabeled_head is None and given:
        problems.append(
            f"data.{given[0]}: needs the unlabeled images of the largest class; give data.unlabeled_head, such as 3000"
        )
    return problems


def drawn(cfg: DataConfig, images: int, orders: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labeled, unlabeled and held-out indices; orders: of every class, its images as they are drawn from a seed.

    Of every class the first are labeled, the next unlabeled and the next held out, so that a larger `labels_head` of
    one seed contains the smaller. images: all training images, which the pool takes what is left of where
    `unlabeled_head` is not given.
    """
    classes, held = len(orders), cfg.held_out // len(orders)
    labeled, unlabeled = labeled_counts(cfg, classes), unlabeled_counts(cfg, classes)
    before = labeled if unlabeled is None else [n + m for n, m in zip(labeled, unlabeled, strict=True)]
    first = np.concatenate([order[:n] for order, n in zip(orders, labeled, strict=True)])
    held_out = np.concatenate([order[n : n + held] for order, n in zip(orders, before, strict=True)])
    if unlabeled is None:
        pool = np.ones(images, bool)
        pool[held_out] = False
    else:
        pool = np.zeros(images, bool)
        pool[np.concatenate([order[:n] for order, n in zip(orders, before, strict=True)])] = True
    pool[first] &= cfg.unlabeled_includes_labeled
    return np.sort(first), np.flatnonzero(pool), np.sort(held_out)
