"""Tables of the labeled images of a run, such as their margins, as Parquet files."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from semisonic.checkpoint.atomic_files import write_bytes, writing
from semisonic.data.sets.base import DataSet, ImageFiles
from semisonic.data.sets.splits import Split
from semisonic.text import utf8_text


def write_label_table(path: Path, columns: Mapping[str, Tensor], data: DataSet, split: Split) -> None:
    """A row for each labeled image, in the split's order: `index` among the training images, `path` where it is a file,
    the `class` that it was given, and the columns, each [labeled set]. Replaces the file at once, or not at all.

    Bytes of a path that are not UTF-8 are written as \\xff (`text.utf8_text`). Raises `UserError` where it cannot be
    written.
    """
    import pyarrow  # for runs with such tables alone
    from pyarrow import parquet

    table: dict[str, object] = {"index": split.labeled}
    if isinstance(data.train, ImageFiles):
        table["path"] = [utf8_text(data.train.paths[index]) for index in split.labeled]
    table["class"] = [data.classes[label] for label in data.train.labels[split.labeled]]
    table |= {name: column.detach().cpu().numpy() for name, column in columns.items()}
    with writing(path):
        path.parent.mkdir(exist_ok=True)  # without its parents: a run's folder is not made anew
        content = pyarrow.BufferOutputStream()
        parquet.write_table(pyarrow.table(table), content)
        write_bytes(path, memoryview(content.getvalue()))
