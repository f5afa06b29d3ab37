"""The pages of the site: their figures are those of stored results, and each of them can be found."""

import re
import sys

import pytest

from tests.support.processes import ROOT

DOCS = ROOT / "docs"
for folder in (DOCS, ROOT / "benchmarks"):  # as docs/conf.py does
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from _extension.pages import mistakes, read, typed_figures  # noqa: E402
from _extension.stored import load  # noqa: E402

PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def listed(page: str) -> set[str]:
    """The pages that a page lists in its toctrees."""
    folder = (DOCS / page).parent
    found: set[str] = set()
    for block in read((DOCS / page).read_text())[1]:
        if block.directive == "toctree":
            options, entries = block.parts()
            for entry in filter(None, (entry.strip() for entry in entries)):
                paths = folder.glob(f"{entry}.md") if "glob" in options else [folder / f"{entry}.md"]
                found |= {path.relative_to(DOCS).as_posix() for path in paths} - {page}
    return found


@pytest.mark.parametrize("page", PAGES)
def test_references_lead_to_stored_results(page: str):
    assert list(mistakes(DOCS / page, ROOT / "benchmarks" / "results")) == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("measured/")])
def test_no_table_of_what_was_measured_has_a_typed_figure(page: str):
    assert list(typed_figures(DOCS / page)) == []


def test_every_page_is_in_a_list_of_pages():
    found, new = {"index.md"}, {"index.md"}
    while new:
        new = {below for page in new for below in listed(page)} - found
        found |= new
    assert set(PAGES) - found == set()


def test_the_foot_of_each_page_names_whom_the_license_names():
    named = re.search(r'^project_copyright = "(.+)"$', (DOCS / "conf.py").read_text(), re.M)
    assert named and f"Copyright (c) {named[1]}\n" in (ROOT / "LICENSE").read_text()


def test_a_picture_of_a_page_exists():
    named = [
        (page, target)
        for page in PAGES
        for target in re.findall(r"\{figure\} (\S+)|!\[[^\]]*\]\((\S+?)\)", (DOCS / page).read_text())
    ]
    assert [page for page, (figure, image) in named if not ((DOCS / page).parent / (figure or image)).exists()] == []


def test_the_errors_in_the_readme_are_the_stored_ones():
    """A README has no roles, so a test reads its table: method, error of the main job, and seconds of a run."""
    rows = re.findall(
        r"^\| (supervised|FixMatch) \| ([\d.]+) % \| (\d+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    stored = {row["entry"]: row for row in load(ROOT / "benchmarks" / "results" / "digits-accuracy-cpu.csv")}
    told = {name.lower(): (error, seconds) for name, error, seconds in rows}
    assert told == {name: (f"{row['last20_error']:.2f}", f"{row['seconds']:.0f}") for name, row in stored.items()}
