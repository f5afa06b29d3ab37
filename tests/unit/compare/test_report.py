"""The report is one page and two tables, and its table fits the terminal."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from rich.console import Console

from semisonic.compare.report import row_record, run_record, show, write_report
from semisonic.compare.rows import discover, rows_of
from tests.support.comparisons import fabricate, job


class Resources(HTMLParser):
    """What a page would load, where it leads to, and the depth of its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.plots = 0
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        addresses = [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        (self.links if tag == "a" else self.loads).extend(addresses)
        self.plots += ("role", "img") in attrs
        if tag not in ("img", "meta", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in ("img", "meta", "br", "link"):
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_page_and_two_tables(comparison: Path, capfd: pytest.CaptureFixture):
    console = Console(width=200)
    assert write_report(comparison, ["fixmatch", "supervised"], console, {}) == comparison / "compare.html"
    printed = capfd.readouterr().out
    assert "-10.00 ± 2.48" in printed and "fixmatch (threshold=0.5)" in printed
    content = (comparison / "compare.html").read_text()
    parsed = Resources()
    parsed.feed(content)
    assert not parsed.open and parsed.plots == 7  # five curves, thresholds by class, use of classes
    assert all(source.startswith(("#", "data:image/png;base64,")) for source in parsed.loads)
    assert len(parsed.links) == 7 + 7 + 1 and all((comparison / unquote(link)).is_dir() for link in parsed.links)
    assert "<no image>" not in content and "&lt;no image&gt;" in content and "fixmatch (threshold=0.5)" in content
    for word in (
        "Test accuracy",
        "Coverage",
        "Precision",
        "Threshold of each class",
        "Use of classes",
        "2 of 3",
        "a computer",
    ):
        assert word in content, word
    with (comparison / "compare.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["entry"] for row in table] == [
        "fixmatch",
        "supervised",
        "fixmatch:threshold=0.5",
    ]  # the command's order first
    assert (
        float(table[0]["against_supervised"]) == -10
        and table[0]["pairs"] == "3"
        and table[1]["against_supervised"] == ""
    )
    with (comparison / "runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 8 and {run["status"] for run in runs} == {"finished", "failed"}
    assert next(run for run in runs if run["status"] == "failed")["reason"] == "<no image>"
    again = content
    write_report(comparison, ["fixmatch", "supervised"], console, {})
    assert (comparison / "compare.html").read_text() == again  # the same files give the same page


def test_the_table_fits_the_terminal(comparison: Path, capfd: pytest.CaptureFixture):
    rows = rows_of(discover(comparison), ["supervised", "fixmatch", "fixmatch:threshold=0.5"])
    for width, columns in ((200, 11), (104, 8), (80, 6)):
        show(rows, Console(width=width))
        printed = capfd.readouterr().out.splitlines()
        assert all(len(line) <= width for line in printed) and len(printed) == 5
        assert len(re.findall(r"\S+(?: \S+)*", printed[1])) == columns
        assert "fixmatch (threshold=0.5)" in printed[4] and "-10.00 ± 2.48" in printed[3]


def test_what_runs_say_is_text_in_the_tables(tmp_path: Path):
    used = {"coverage": None, "collapsed_classes": ["=1+1", "cat"]}
    fabricate(job(tmp_path), top1=90.0, pseudo_labels=None, seconds=0.0)
    fabricate(job(tmp_path, entry="fixmatch"), top1=89.0, pseudo_labels=used)
    (row,) = (row for row in rows_of(discover(tmp_path), ["supervised", "fixmatch"]) if row.entry == "fixmatch")
    assert row.coverage is None and row.relative_time is None and row.collapsed == 1
    records = [run_record(run) for run in discover(tmp_path)]
    assert {record["collapsed_classes"] for record in records} == {"", "'=1+1 cat"}
    assert row_record(row)["against_supervised"] == "1"
