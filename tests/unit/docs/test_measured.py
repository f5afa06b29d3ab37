"""Roles and directives in a small site that Sphinx builds: what they show, and where a mistake is."""

import io
import shutil
from pathlib import Path

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

import provenance
from _extension.measured import facts

CONF = 'extensions = ["myst_parser", "_extension"]\nmyst_enable_extensions = ["colon_fence"]\nnitpicky = True\n'


def built(folder: Path, results: Path, page: str) -> tuple[str, str]:
    """The HTML of a page, and what Sphinx warns of."""
    docs = folder / "project" / "docs"
    docs.mkdir(parents=True)
    shutil.copytree(results, folder / "project" / "benchmarks" / "results")
    (docs / "conf.py").write_text(CONF)
    (docs / "index.md").write_text(page)
    warnings = io.StringIO()
    with docutils_namespace():
        app = Sphinx(docs, docs, folder / "html", folder / "read", "html", status=None, warning=warnings)
        app.build()
    return (folder / "html" / "index.html").read_text(), warnings.getvalue()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def test_a_figure_and_a_table_are_shown_with_what_they_come_from(results: Path, site: Path):
    page = (
        "# A page\n\nAn error of {measured}`one.json seconds/aum/median .1f` %.\n\n"
        "```{results} one.json cells\n:caption: All *cells*.\n\narm code\nerror .1f\n```\n"
    )
    html, warnings = built(site, results, page)
    assert warnings == ""
    assert '<abbr class="measured" title="one.json seconds/aum/median .1f">4.0</abbr>' in html
    assert '<td class="number"><p><span>3.0</span></p></td>' in html and ">–<" in html
    caption = html.partition("<caption>")[2].partition("</caption>")[0]
    assert "<em>cells</em>" in caption and 'title="python benchmarks/one.py"' in caption
    assert "a processor; seeds 0, 1; torch 2.14.1" in caption and "one.json" in caption


@pytest.mark.parametrize(
    "text, message",
    [
        ("A\nline {measured}`one.json no`.", "index.md:4: WARNING: measured: one.json: no: is no name"),
        ("```{results} one.json cells\nno\n```", "index.md:3: WARNING: results: column no: no: is no name"),
        (
            "```{results} rows.csv\nentry\n```",
            "index.md:3: WARNING: results: rows.csv: rows.csv.provenance.json is not",
        ),
        ("A {field}`no.such`.", "index.md:3: WARNING: 'field' reference target not found: no.such"),
    ],
)
def test_a_mistake_is_a_warning_with_its_page_and_line(results: Path, site: Path, text: str, message: str):
    _, warnings = built(site, results, f"# A page\n\n{text}\n")
    assert message in warnings


def test_seeds_are_left_out_where_nothing_is_drawn():
    known = provenance.Provenance("python a.py", "none: it counts", "two cores", {"python": "3"}, {})
    assert facts(known) == "two cores"
