"""Your own images by a CSV, `data.csv`: columns path, label (empty: unlabeled) and optionally split (train or test).

A further column, `data.weight_column`, may say how much each labeled training image counts (empty: 1).

No label is an empty field, and nothing else: `nan`, `None`, `NA`, `unknown` and the like are refused with their lines,
unless `data.classes` lists them or `data.doubts` is warn. Every line has as many fields as the first.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.class_names import NO_LABEL, no_label_problems
from semisonic.data.sets.limits import Limits, open_limited
from semisonic.data.sets.listing import Listing, list_classes, shortened
from semisonic.data.sets.spellings import Role, role_of
from semisonic.data.sets.walk import count_of, relative, unreadable
from semisonic.records.csv_file import Table, check_columns, open_csv
from semisonic.schema import HEAVIEST, UserError
from semisonic.text import name_of

LONGEST = 4000
"""Characters of a path or label; no path of a file has more."""
_PARTS: Mapping[Role | None, str] = {Role.LABELED: "train", Role.TEST: "test"}


def open_list(file: Path, limits: Limits, weight: str | None = None) -> Table:
    """The CSV `data.csv`; weight: the column of weights. Raises UserError where it cannot be read, is larger than
    allowed, or lacks a column."""
    try:
        open_limited(file, limits.bytes).close()
    except OSError as error:
        raise UserError(f"data.csv: cannot read {file}: {unreadable(os.fspath(file), error)}") from error
    table = open_csv(file, "data.csv")
    check_columns(table, file, "data.csv", ("path", "label", *([weight] if weight else [])), ("split",))
    return table


@dataclass
class _Rows:
    """What was read of a CSV so far."""

    listing: Listing
    columns: Sequence[str]
    places: tuple[int, int, int | None, int | None]
    """Of path, label, split and weight in a row; None: there is no such column."""
    where: str
    """What messages call the file."""
    seen: dict[str, int] = field(default_factory=dict)
    """Path -> its line."""
    labels: dict[str, list[int] | None] = field(default_factory=dict)
    """Label -> its lines, where it may stand for none."""


def list_csv(cfg: DataConfig) -> Listing:
    """The images that `data.csv` names, with what is wrong. Raises UserError where it cannot be read."""
    assert cfg.csv is not None
    file = cfg.csv
    table = open_list(file, cfg.limits, cfg.weight_column)
    listing = Listing(cfg.root if cfg.root else file.parent)
    path_at, label_at, part_at = table.places(("path", "label", "split"))
    weight_at = None if cfg.weight_column is None else table.header.index(cfg.weight_column)
    assert path_at is not None and label_at is not None  # `open_list` looked for them
    rows = _Rows(listing, table.header, (path_at, label_at, part_at, weight_at), str(file))
    for line, cells in table.rows:
        _add_row(rows, line, cells)
    listing.problems += _backslashes(rows) + _all_zero(rows)
    unknown = {label: lines for label, lines in rows.labels.items() if lines and label not in cfg.classes}
    listing.problems = shortened(listing.problems, f"data.csv: {file}")
    listing.doubt(cfg, no_label_problems(f"{file}, ", unknown))
    if cfg.test_root is not None:
        if listing.test:
            listing.problems.append(f"data.test_root: {file} names test images itself; leave one of the two out")
        listing.test += list_classes(listing, "data.test_root", cfg.test_root)
    return listing


def _backslashes(rows: _Rows) -> list[str]:
    """A line on paths as Windows writes them, of which there is no file."""
    name = next((name for name in rows.seen if "\\" in name), None)
    if name is None or os.path.lexists(rows.listing.root / name):  # a name may be too long for any file
        return []
    return [f"data.csv: line {rows.seen[name]} of {rows.where} has the path {name_of(name)}; write / in place of \\"]


def _all_zero(rows: _Rows) -> list[str]:
    """A line where weights leave nothing to learn from."""
    weights, labeled = rows.listing.weights, [path for path, label in rows.listing.train if label is not None]
    if not labeled or any(weights.get(path, 1.0) for path in labeled):
        return []
    column = rows.columns[rows.places[3] or 0]
    return [
        f"data.weight_column: every labeled image of {rows.where} has the weight 0 in its column {name_of(column)}, "
        f"from line {rows.seen[labeled[0]]} on; give some of them more"
    ]


def _weight(text: str) -> float | None:
    """A field of the column of weights; None: it is no weight."""
    try:
        weight = float(text.strip() or 1)
    except ValueError:
        return None
    return weight if 0 <= weight <= HEAVIEST else None


def _problem(root: Path, name: str, label: str | None, part: str) -> str | None:
    """What is wrong with a row, whatever the others are; a name that no file has is told when files are read."""
    if not name:
        return "names no path"
    if len(name) > LONGEST or len(label or "") > LONGEST or len(part) > LONGEST:
        return f"has a field of more than {LONGEST:,} characters"
    if "://" in name:
        return f"names {name_of(name)}; images are read from files, not from addresses"
    if name.startswith("~") and not os.path.lexists(root / name):
        return f"names {name_of(name)}, which is no file; ~ stands for no home folder here"
    return None


def _add_row(rows: _Rows, line: int, fields: list[str]) -> None:
    if problem := _row_problem(rows, line, fields):
        rows.listing.problems.append(f"data.csv: line {line} of {rows.where} {problem}")


def _row_problem(rows: _Rows, line: int, fields: list[str]) -> str | None:
    """Adds the image of a row to the listing, or says what is wrong with it."""
    if len(fields) != len(rows.columns):
        advice = "; a field with commas needs quotes" if len(fields) > len(rows.columns) else ""
        return (
            f"has {count_of(len(fields), 'field')}, its first line {len(rows.columns)} "
            f"({name_of(', '.join(rows.columns))}){advice}"
        )
    listing = rows.listing
    path_at, label_at, part_at, weight_at = rows.places
    name, label = fields[path_at].strip(), fields[label_at].strip() or None
    part = "train" if part_at is None else fields[part_at].strip() or "train"
    if part not in ("train", "test"):
        part = _PARTS.get(role_of(part), part)
    if problem := _problem(listing.root, name, label, part):
        return problem
    plain = name[0] != os.sep and os.pardir not in name  # spares a million files two slow calls each
    path = os.path.normpath(name) if plain else relative(listing.root, str(listing.root / name))
    first = rows.seen.setdefault(path, line)
    if label is not None:
        if label not in rows.labels:
            rows.labels[label] = [] if label.casefold() in NO_LABEL else None
        if (lines := rows.labels[label]) is not None:
            lines.append(line)
    if first != line:
        return f"repeats the image of line {first}: {name_of(name)}"
    if part not in ("train", "test"):
        return f"has split {part!r}; train, test or nothing is valid"
    if part == "test" and label is None:
        return f"is a test image without a label: {name_of(name)}"
    if weight_at is not None and part == "train" and label is not None:
        if (weight := _weight(fields[weight_at])) is None:
            column, found = name_of(rows.columns[weight_at]), name_of(fields[weight_at].strip())
            return f"has the weight {found} in its column {column}; give a number of 0 to 1,000,000, or nothing for 1"
        listing.weights[path] = weight
    (listing.train if part == "train" else listing.test).append((path, label))
    return None
