"""The entries of files on the page of file formats: what may stand there is said in words, and nothing is left out."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from _extension import records_page
from _extension.records_page import records
from semisonic.config.migrations import RECORDS
from semisonic.records.entries import Percent, Record
from semisonic.records.yaml_text import read_yaml
from semisonic.reporting.metrics_file import read_metrics
from tests.support.processes import ROOT

PAGE = (ROOT / "docs" / "reference" / "formats.md").read_text()
SHOWN = re.findall(r"^```\{records\} (\S+)$", PAGE, re.MULTILINE)
BELOW = {"runs/ENTRY-LABELS-seedS", "runs/day-003"}
CODE = re.compile(r"`([^`\n]+)`")


class Inner(Record):
    """Words of the class."""

    share: Percent | None
    """A | B."""


class Outer(Record):
    one: Inner
    """Of one."""
    many: list[Inner] = []
    named: dict[str, Inner]
    pair: Annotated[list[float], Field(min_length=2, max_length=2)]
    kind: Literal["a", "b"] = "a"
    size: Annotated[int, Field(ge=1, lt=2**53, alias="SIZE")]
    same: "Outer | None" = None


def test_a_table_says_what_each_entry_may_be(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(records_page, "model_of", lambda name: Outer)
    assert records("any").splitlines()[2:] == [
        "| `one` | object | Of one. |",
        r"| `one.share` | number (0 to 100) or null | A \| B. |",
        "| `many` | list: object or missing | Words of the class. Entries as of `one`. |",
        "| `named` | object: object | Words of the class. Entries as of `one`. |",
        "| `pair` | list of 2: number |  |",
        "| `kind` | `a` or `b` or missing |  |",
        "| `SIZE` | whole number |  |",
        "| `same` | object or null |  |",
    ]


def test_entries_of_lists_and_objects_go_on_with_their_names(monkeypatch: pytest.MonkeyPatch):
    class Several(Record):
        many: list[Inner]
        named: dict[str, list[Percent]]

    monkeypatch.setattr(records_page, "model_of", lambda name: Several)
    monkeypatch.setattr(records_page, "documented", lambda model: {})
    assert [line.split("|")[1:3] for line in records("any").splitlines()[2:]] == [
        [" `many` ", " list: object "],
        [" `many[].share` ", " number (0 to 100) or null "],
        [" `named` ", " object: list: number (0 to 100) "],
    ]


@pytest.mark.parametrize("name", SHOWN)
def test_every_entry_has_words(name: str):
    cells = [re.split(r"(?<!\\)\|", row)[1:-1] for row in records(name).splitlines()[2:]]
    assert [entry for entry, _, words in cells if not words.strip() or "None" in words] == []


def stands_on_page(path: Path) -> bool:
    """Whether a file of a run's folder, or the folder that it lies in, is named."""
    name = re.sub(r"step-\d+", "step-N", path.as_posix()).removeprefix("supervised/")
    folders = {f"{parent.as_posix()}/" for parent in Path(name).parents}
    return bool(({name} | (folders - {"checkpoints/", "checkpoints/step-N/"})) & set(CODE.findall(PAGE)))


def test_every_file_of_a_finished_run_is_on_the_page(run: Path):
    files = [path.relative_to(run) for path in run.rglob("*") if path.is_file()]
    assert len(files) > 20 and Path("supervised/summary.json") in files
    assert [path for path in files if not stands_on_page(path)] == []


def test_a_file_that_is_not_named_would_be_told():
    assert not stands_on_page(Path("other.json")) and not stands_on_page(Path("checkpoints/step-3/other.json"))
    assert stands_on_page(Path("trackers/semisonic/events")) and stands_on_page(Path("checkpoints/latest"))


def test_every_entry_of_a_finished_run_is_on_the_page(run: Path):
    state = run / "checkpoints" / "step-30"
    told = set(CODE.findall(PAGE)) | {entry for name in SHOWN for entry in CODE.findall(records(name))}
    summary = json.loads((run / "summary.json").read_text())
    found = {*summary, *(f"{part}.{name}" for part in ("pseudo_labels", "held_out_selected") for name in summary[part])}
    for file in (run / "status.json", state / "state.json", state / "manifest.json"):
        found |= set(json.loads(file.read_text()))
    found |= {name for line in read_metrics(run / "metrics.jsonl") for name in line}
    found |= set(read_yaml(run / "config.yaml")).intersection(RECORDS)
    written = {"model.safetensors", "optimizer.safetensors", "state.json", "config.yaml"}  # of the manifest
    assert sorted(found - told - written) == []


def test_columns_of_comparisons_are_on_the_page():
    from semisonic.compare.report import row_record, run_record
    from semisonic.compare.rows import Estimate, Run
    from semisonic.training.class_groups import FIGURES

    summary: dict[str, Any] = {
        "test_top1": 90.0, "test_top1_raw": 90.0, "test_top1_last20_median": None,
        "test_by_class": dict.fromkeys(FIGURES, 50.0),
    }  # fmt: skip
    one = Run("fixmatch", "40", 0, Path("run"), {}, summary)
    some = Estimate(1.0, 0.5, 2)
    from semisonic.compare.rows import Row

    row = Row("fixmatch", "40", [one], some, some, some, 1.0, 1.0, 1.0, 0.5, 0.5, 0, some,
              dict.fromkeys(("many", "medium", "few"), some))  # fmt: skip
    told = set(CODE.findall(PAGE.partition("## A comparison")[2].partition("## A study")[0]))
    columns = {name for name in row_record(row) if not (name.endswith("_half_width") and name.startswith(FIGURES))}
    assert columns | set(run_record(one)) <= told
