"""The auto-labels of a run with their scores, on the disk.

PROJECT/auto/RUN/part-RRRRR-PPPPP.parquet     rows in the order of the images' numbers
PROJECT/auto/RUN/label.json                   which networks made them, and what the columns are
"""

import io
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semisonic.checkpoint.atomic_files import replace, sync_folder, write_bytes, write_text
from semisonic.daily.writing import written
from semisonic.schema import UserError
from semisonic.text import dump_json

HEADER = "label.json"
FORMAT = 1
ROWS = 2**17
"""Rows of a part."""
COLUMNS = {
    "image": "number of the image in labels.db",
    "top": "top1 to top5: ids of the most probable classes on the plain image, best first; top1 is the label",
    "p": "p1 to p5: their probabilities, of the averaged network",
    "views": "mean probability of the label over weak views of the image",
    "run": "mean probability of the label over the run's snapshots",
    "folds": "mean probability of the label over the networks of the folds",
    "margin": "p1 - p2",
    "distance": "1 - mean cosine similarity to the 3 nearest images of earlier days; of the newest day's images alone",
    "calibrated": "p1 at the temperature that fits predictions out of fold: an estimate, and no measured accuracy",
    "suspicion": "mean rank of views and run (and folds) among all rows: 0 = surest, 1 = most suspicious",
    "certainty": "(views + run) / 2",
}
"""What the columns are. Those of `folds` and `calibrated` are there where the run has folds."""


@dataclass(frozen=True, eq=False)
class Table:
    """All rows, in the order of the images' numbers."""

    columns: dict[str, np.ndarray]
    """By the names in `COLUMNS`: image int64 [N], top int32 [N, T], p float32 [N, T], others float32 [N]."""

    def __len__(self) -> int:
        return len(self.columns["image"])

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def flat(self, rows: slice) -> dict[str, np.ndarray]:
        """Columns as they are in a file."""
        found: dict[str, np.ndarray] = {}
        for name in (name for name in COLUMNS if name in self.columns):
            value = self.columns[name][rows]
            if value.ndim == 1:
                found[name] = value
                continue
            for place in range(value.shape[1]):
                found[f"{name}{place + 1}"] = value[:, place]
        return found


def write(folder: Path, table: Table, about: Mapping[str, Any]) -> None:
    """Puts a table in the place of the one before, all or nothing of it. Raises `UserError`."""
    staged, old = _beside(folder)
    with written(folder):
        settle(folder)
        staged.mkdir(parents=True)
        for part, first in enumerate(range(0, len(table), ROWS)):
            columns = table.flat(slice(first, first + ROWS))
            write_bytes(staged / f"part-00000-{part:05d}.parquet", _parquet(columns))
        what = {name: text for name, text in COLUMNS.items() if name in table.columns}
        header = {"format": FORMAT, **about, "rows": len(table), "columns": what}
        write_text(staged / HEADER, dump_json(header, indent=1))
        if folder.exists():
            for path in folder.iterdir():
                if path not in own_files(folder):  # another step's, such as what the folds say of given labels
                    write_bytes(staged / path.name, path.read_bytes())
            replace(folder, old)
        replace(staged, folder)
        settle(folder)


def settle(folder: Path) -> None:
    """Puts back, or removes, what a kill in the middle of `write` has left. One process may call it."""
    staged, old = _beside(folder)
    if not folder.exists() and (staged / HEADER).is_file():
        replace(staged, folder)
    if not folder.exists() and old.exists():
        replace(old, folder)
    for path in (staged, old):
        if path.exists():
            shutil.rmtree(path)
    if folder.parent.exists():
        sync_folder(folder.parent)


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f".{folder.name}.tmp"), folder.with_name(f".{folder.name}.old")


def read_header(folder: Path) -> dict[str, Any] | None:
    """What a table is of; None where there is none that this version can read."""
    try:
        header = json.loads((folder / HEADER).read_bytes())
        return dict(header) if header["format"] == FORMAT and isinstance(header["rows"], int) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def own_files(folder: Path) -> list[Path]:
    """All that `write` has made in a folder."""
    return [*parts(folder), folder / HEADER]


def parts(folder: Path) -> list[Path]:
    """The files of a table, in the order of their rows."""
    return sorted(folder.glob("part-*.parquet"))


def read(folder: Path, *names: str) -> Table:
    """Columns by the names in `COLUMNS`; none are all. Raises `UserError` where a file is missing or damaged."""
    header = read_header(folder)
    if header is None:
        raise UserError(f"{folder}: holds no auto-labels that can be read; run `label` again")
    wanted = names or tuple(header["columns"])
    found = [_columns(path, wanted) for path in parts(folder)]
    columns = {name: np.concatenate([part[name] for part in found]) for name in wanted} if found else {}
    if sum(len(part[wanted[0]]) for part in found) != header["rows"] or not found:
        raise UserError(f"{folder}: has not the {header['rows']:,} rows that it should have; run `label` again")
    return Table(columns)


def batches(folder: Path, *names: str) -> Iterator[dict[str, np.ndarray]]:
    """The same, a file at a time."""
    for path in parts(folder):
        yield _columns(path, names)


def _columns(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        schema = parquet.read_schema(path).names
        found = {}
        for name in names:
            several = [f"{name}{k}" for k in range(1, 6) if f"{name}{k}" in schema] if name in ("top", "p") else []
            table = parquet.read_table(path, columns=several or [name])
            values = [column.to_numpy() for column in table.columns]
            found[name] = np.stack(values, 1) if several else values[0]
        return found
    except (OSError, pa.ArrowException, IndexError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run `label` again") from error


def _parquet(columns: dict[str, np.ndarray]) -> memoryview:
    import pyarrow as pa
    from pyarrow import parquet

    arrays = [pa.array(np.ascontiguousarray(values)) for values in columns.values()]
    content = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, names=list(columns)), content)
    return content.getbuffer()
