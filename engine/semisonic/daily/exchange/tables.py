"""Labels as a table: CSV that spreadsheets show as text, and Parquet."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from semisonic.checkpoint.atomic_files import replace, stage_parts
from semisonic.daily.exchange.rows import COLUMNS, FILE, LONGEST, NEEDED, Row, event_of, hash_of
from semisonic.records.csv_file import check_columns, open_csv
from semisonic.records.files import open_regular
from semisonic.schema import UserError
from semisonic.text import csv_cell, plain_text, utf8_text

BATCH = 50_000
"""Rows that are written or read at once."""
MOST_ROWS = 20_000_000
MOST_A_ROW = 16 * LONGEST
"""Bytes of the rows of a Parquet file, on average."""
FIELD = "import"
"""What messages call the table that is read."""


def cell_of(row: Row, column: str) -> str:
    """A field of a row as text."""
    value = getattr(row, column)
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value.hex() if isinstance(value, bytes) else str(value)


def write_csv(path: Path, rows: Iterable[Row], columns: Sequence[str] = COLUMNS) -> int:
    """Writes a table whole or not at all; returns its number of rows. Raises OSError."""
    count = 0

    def parts() -> Iterator[bytes]:
        nonlocal count
        yield (",".join(columns) + "\n").encode()
        source = iter(rows)
        while batch := list(islice(source, BATCH)):
            text = io.StringIO()
            table = csv.writer(text, lineterminator="\n")
            table.writerows([csv_cell(cell_of(row, column)) for column in columns] for row in batch)
            count += len(batch)
            yield text.getvalue().encode()

    replace(stage_parts(path, parts()), path)
    return count


def read_csv(path: Path, problems: list[str], columns: Sequence[str] = COLUMNS) -> Iterator[Row]:
    """The rows of a table; what is wrong with one goes to `problems`. Raises `UserError` where it cannot be read."""
    table = open_csv(path, FIELD)
    check_columns(table, path, FIELD, NEEDED, [column for column in columns if column not in NEEDED])
    places = {column: place for column in columns if (place := table.places([column])[0]) is not None}
    for line, cells in table.rows:
        where = f"line {line}"
        if len(cells) != len(table.header):
            problems.append(f"{where}: has {len(cells)} fields, the first line {len(table.header)}")
        elif row := row_of({column: cells[place] for column, place in places.items()}, where, problems):
            yield row


def row_of(cells: Mapping[str, str], where: str, problems: list[str]) -> Row | None:
    """A row of the cells that a table has, by their columns."""
    text = {name: value if name in ("path", FILE) else value.strip() for name, value in cells.items()}
    try:
        event, digest = event_of(text.pop("event", "")), hash_of(text.pop("hash", ""))
    except ValueError:
        problems.append(f"{where}: event must be a whole number and hash 32 hexadecimal digits, or both empty")
        return None
    text.pop("certainty", None)
    text["state"] = text.get("state", "").lower()
    return Row(event=event, hash=digest, where=where, **text)  # type: ignore[arg-type]


def write_parquet(path: Path, rows: Iterable[Row]) -> int:
    """The same as Parquet. Bytes of a path that are not UTF-8 are written as in a CSV."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds: dict[str, Any] = dict.fromkeys(COLUMNS, pa.string()) | {"certainty": pa.float32(), "event": pa.int64()}
    schema = pa.schema(list(kinds.items()))
    content, count, source = io.BytesIO(), 0, iter(rows)
    with parquet.ParquetWriter(content, schema) as writer:
        while batch := list(islice(source, BATCH)):
            columns = {
                name: [utf8_text(cell_of(row, name)) if kind == pa.string() else getattr(row, name) for row in batch]
                for name, kind in kinds.items()
            }
            writer.write_table(pa.table({name: pa.array(columns[name], kind) for name, kind in kinds.items()}, schema))
            count += len(batch)
    replace(stage_parts(path, [content.getbuffer()]), path)
    return count


def read_parquet(path: Path, problems: list[str]) -> Iterator[Row]:
    """The same of Parquet."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with open_regular(path) as file:
            names, texts = _parquet_columns(path, parquet.ParquetFile(file))
            table = parquet.ParquetFile(file, read_dictionary=texts)  # a text that is repeated is in memory once
            number = 0
            for batch in table.iter_batches(BATCH, columns=names):
                columns = {name: _texts(batch.column(name)) for name in names}
                for place in range(len(batch)):
                    number += 1
                    cells = {name: values[place] for name, values in columns.items()}
                    if row := row_of(cells, f"row {number}", problems):
                        yield row
    except (pa.ArrowException, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise UserError(f"{FIELD}: {path} cannot be read as Parquet: {reason}") from error


def _parquet_columns(path: Path, table: Any) -> tuple[list[str], list[str]]:
    """Those of `COLUMNS` that the file has, and which of these are texts. Raises `UserError`."""
    import pyarrow as pa

    if table.metadata.num_rows > MOST_ROWS:
        raise UserError(f"{FIELD}: {path} has {table.metadata.num_rows:,} rows; at most {MOST_ROWS:,} are read")
    schema = table.schema_arrow
    if missing := [name for name in NEEDED if name not in schema.names]:
        found = ", ".join(schema.names[:10])
        raise UserError(f"{FIELD}: {path} has no column {' and no column '.join(missing)} (found: {found})")
    names = [name for name in COLUMNS if name in schema.names and name != "certainty"]
    if twice := [name for name in names if schema.names.count(name) > 1]:
        raise UserError(f"{FIELD}: {path} has the column {twice[0]} twice; keep one")
    texts = []
    for name in names:
        kind = schema.field(name).type
        own = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_string(own) or pa.types.is_large_string(own):
            texts.append(name)
        elif not (pa.types.is_integer(own) or own == pa.null()):
            raise UserError(f"{FIELD}: {path}: the column {name} holds {own}, and not text")
    _check_size(path, table.metadata, names)
    return names, texts


def _check_size(path: Path, metadata: Any, names: Sequence[str]) -> None:
    """Raises `UserError` for a small file that would fill the memory."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = map(group.column, range(group.num_columns))
        size = sum(one.total_uncompressed_size for one in columns if one.path_in_schema in names)
        if size > MOST_A_ROW * max(group.num_rows, 1000):
            raise UserError(
                f"{FIELD}: {path} holds {size:,} bytes in {group.num_rows:,} rows; at most {MOST_A_ROW:,} a row"
            )


def _texts(column: Any) -> list[str]:
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        return ["" if value is None else plain_text(str(value)) for value in column.to_pylist()]
    values = _texts(column.dictionary)
    return ["" if place is None else values[place] for place in column.indices.to_pylist()]
