"""How a run used its labels and its pool, and which labels it found hard to learn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semisonic.run_page.facts import Facts, Seen, labeled_counts
from semisonic.run_page.images import name_at, picture
from semisonic.schema import UserError
from semisonic.text import name_of, plain_text

MARGINS = "margins.parquet"
"""In a run's folder `labels`."""
DOUBTFUL = 24
"""Labels that are shown."""
LARGEST = 512 * 2**20
"""Bytes of a table of margins that are read."""


@dataclass(frozen=True)
class Part:
    """Images of a run by their use."""

    name: str
    count: int | None
    text: str


@dataclass(frozen=True)
class Doubtful:
    """A labeled image whose label the network was slow to learn."""

    uri: str | None
    name: str
    label: str
    margin: float
    small: bool


@dataclass(frozen=True)
class Margins:
    """The mean margins of given labels over the run."""

    labels: int
    below: int
    """Labels with a margin below 0."""
    shown: list[Doubtful]
    pictured: bool
    """Whether the images were there to be shown."""


def parts_of(facts: Facts, seen: Seen) -> list[Part]:
    """Labeled, held-out, unlabeled and test images, and how often each of the former were seen."""
    split, cfg, done = facts.split, facts.cfg, facts.step
    if split is None:
        return []
    parts = []
    counts = labeled_counts(facts, seen.data)
    spread = ""
    if counts:
        spread = (
            f"{min(counts):,} a class" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,} a class"
        )
    labeled = len(split.labeled)
    read = cfg.batch.labeled * done if cfg.views.labeled else 0
    parts.append(Part("labeled", labeled, _joined(spread, _seen(read, labeled) if read else "not trained on")))
    if len(split.held_out):
        parts.append(Part("held out", len(split.held_out), "never trained on; they choose the checkpoint that is kept"))
    if cfg.views.unlabeled:
        pool = len(split.unlabeled)
        within = "the labeled ones among them" if cfg.data.unlabeled_includes_labeled else "none of the labeled ones"
        parts.append(Part("unlabeled pool", pool, _joined(within, _seen(cfg.unlabeled_sizes.before(done), pool))))
    else:
        parts.append(Part("unlabeled pool", len(split.unlabeled), "not read by this method"))
    tests = (facts.summary or {}).get("test_images")
    if tests is None and seen.data is not None:
        tests = seen.data.test_count
    parts.append(Part("test", tests, "never trained on" if tests != 0 else "none: the run has no test images"))
    return parts


def _joined(*texts: str) -> str:
    return "; ".join(text for text in texts if text)


def _seen(read: int, count: int) -> str:
    """How often each of so many images was seen."""
    epochs = read / max(count, 1)
    times = f"{epochs:,.0f}" if epochs >= 10 else f"{epochs:.2g}"
    return f"each seen about {times} times" if epochs >= 1 else f"{100 * epochs:.0f} % of them were seen"


def margins_of(facts: Facts, seen: Seen) -> Margins | None:
    """The labels with the smallest margins first; None where the run has recorded none. Raises `UserError`."""
    path = facts.folder / "labels" / MARGINS
    if not path.is_file():
        return None
    index, mean, labels, paths = _read(path)
    order = np.argsort(mean, kind="stable")
    first = order[mean[order] < 0][:DOUBTFUL]
    train = None if seen.data is None else seen.data.train
    shown = []
    for row in first.tolist():
        there = train is not None and 0 <= index[row] < len(train)
        uri, small = picture(train, int(index[row])) if train is not None and there else (None, False)
        name = name_at(train, int(index[row])) if train is not None and there else f"image {index[row]:,}"
        name = name_of(plain_text(paths[row])) if paths else name
        shown.append(Doubtful(uri, name, name_of(labels[row]), float(mean[row]), small))
    return Margins(len(mean), int((mean < 0).sum()), shown, train is not None)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, Sequence[str], Sequence[str] | None]:
    """(places among the training images, mean margins, classes, files or None) of the labels that were seen."""
    import pyarrow  # for runs with such a table alone
    from pyarrow import parquet

    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path}: larger than any run's margins")
        table = parquet.read_table(path)
        total, n, index = (table[name].to_numpy() for name in ("sum", "n", "index"))
        labels = table["class"].to_pylist()
        paths = table["path"].to_pylist() if "path" in table.column_names else None
        known = np.flatnonzero((n > 0) & np.isfinite(total))
    except (OSError, KeyError, TypeError, ValueError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: not a table of margins: {error}") from error
    mean = total[known] / n[known]
    own = known.tolist()
    return index[known], mean, [str(labels[row]) for row in own], [str(paths[row]) for row in own] if paths else None
