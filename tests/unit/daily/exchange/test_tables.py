"""Tables of labels: every text comes back as it was, and what is no such table is a line."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from semisonic.daily.exchange import tables
from semisonic.daily.exchange.rows import COLUMNS, FILE, Row
from semisonic.daily.exchange.tables import read_csv, read_parquet, write_csv, write_parquet
from semisonic.schema import UserError
from tests.support.daily_projects import CLASSES

WAYS = {"csv": (write_csv, read_csv), "parquet": (write_parquet, read_parquet)}
ROWS = [
    Row(
        f"/x/{number}\udce9\n\"',=\\x0a.png",
        label,
        "auto",
        "ann",
        "2026",
        "day-001",
        0.25,
        number,
        bytes([number] * 16),
        label,
    )
    for number, label in enumerate(CLASSES)
]


@pytest.mark.parametrize("way", WAYS)
def test_rows_come_back(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "BATCH", 3)
    write, read = WAYS[way]
    rows = [*ROWS, Row("/x/none.png", exported="")]
    assert write(tmp_path / "t", iter(rows)) == len(rows)
    problems: list[str] = []
    found = list(read(tmp_path / "t", problems))
    assert [row._replace(where="", certainty=None) for row in found] == [row._replace(certainty=None) for row in rows]
    assert not problems and found[1].where == {"csv": "line 3", "parquet": "row 2"}[way]
    assert write(tmp_path / "none", []) == 0 and not list(read(tmp_path / "none", problems))


def test_cells_are_text_in_spreadsheets(tmp_path: Path):
    write_csv(tmp_path / "t", [Row("=1+1", "@cat", who="+x", exported="-dog")])
    assert (tmp_path / "t").read_text().splitlines()[1] == "'=1+1,'@cat,,'+x,,,,,,'-dog"


def test_tables_of_others_need_a_path_and_a_label(tmp_path: Path):
    (tmp_path / "t.csv").write_text("label, path,note\n cat ,a.png,x\n,b.png,\n")
    assert list(read_csv(tmp_path / "t.csv", [])) == [Row("a.png", "cat", where="line 2"), Row("b.png", where="line 3")]
    parquet.write_table(pa.table({"path": ["a.png", "b.png"], "label": [3, None]}), tmp_path / "t.parquet")
    assert [row.label for row in read_parquet(tmp_path / "t.parquet", [])] == ["3", ""]


def test_wrong_rows_are_lines_and_the_others_are_read(tmp_path: Path):
    (tmp_path / "t.csv").write_text("path,label,event,hash\na,cat,x,\nb,cat\nc,cat,,00\nd,cat,5,\ne,cat,-1,\n")
    problems: list[str] = []
    assert [row.path for row in read_csv(tmp_path / "t.csv", problems)] == ["d"]
    assert [line.partition(":")[0] for line in problems] == ["line 2", "line 3", "line 4", "line 6"]
    assert problems[1] == "line 3: has 2 fields, the first line 4"


def test_what_is_no_such_table_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "t.parquet"

    def told(expected: str) -> None:
        with pytest.raises(UserError, match=expected):
            list(read_parquet(file, []))

    told("cannot be read as Parquet: No such file")
    for content in (b"", b"PAR1", b"PAR1" * 20):
        file.write_bytes(content)
        told("cannot be read as Parquet: ")
    parquet.write_table(pa.table({"path": ["a"], "class": ["b"]}), file)
    told(r"has no column label \(found: path, class\)")
    parquet.write_table(pa.table({"path": ["a"], "label": [[1]]}), file)
    told("the column label holds list")
    parquet.write_table(pa.table({"path": ["a", "b"], "label": ["x", "y"]}), file)
    monkeypatch.setattr(tables, "MOST_ROWS", 1)
    told("has 2 rows; at most 1 are read")


def test_a_small_file_does_not_fill_the_memory(tmp_path: Path):
    file, count, long = tmp_path / "t.parquet", 1000, "x" * 70_000
    column = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), [long])
    label = pa.array(["cat"] * count).dictionary_encode()
    parquet.write_table(pa.table({"path": column, "label": label}), file, store_schema=False)
    rows = list(read_parquet(file, []))
    assert file.stat().st_size < 20_000 and len(rows) == count and rows[0].label == "cat"
    assert all(row.path is rows[0].path for row in rows), "each text is there once"
    parquet.write_table(pa.table({"path": [long] * count, "label": ["cat"] * count}), file, use_dictionary=False)
    with pytest.raises(UserError, match=r"holds 70,\d{3},\d{3} bytes in 1,000 rows; at most 64,000 a row"):
        list(read_parquet(file, []))
    parquet.write_table(pa.table({"path": ["a"], "label": label[:1]}), file)  # a category of pandas
    assert [row.label for row in read_parquet(file, [])] == ["cat"]


def test_the_list_of_a_tree_has_a_column_more(tmp_path: Path):
    write_csv(tmp_path / "t", [Row("/x", "cat", file="cat/ x.png")], (FILE, *COLUMNS))
    assert [row.file for row in read_csv(tmp_path / "t", [], (FILE, *COLUMNS))] == ["cat/ x.png"]
