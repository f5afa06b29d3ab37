"""Roles and directives in a small site that Sphinx builds: what they show, and where a mistake is."""

import io
import json
import re
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


def test_a_study_shows_what_is_stored_and_says_what_is_not(results: Path, site: Path):
    point = {"algorithm": "fixmatch", "choose": "typical", "labels": 20, "error": 2.0, "error_half_width": 0.5}
    about = {"command": "semisonic study labels", "seeds": [0, 1], "hardware": "one", "versions": {"python": "3"}}
    content = {**about, "points": [point], "said": ["Twenty are enough.", "Ten are not."]}
    (results / "study-labels-digits.json").write_text(json.dumps(content))
    page = (
        "# A page\n\n```{study} study-labels-digits.json\n:sentence:\n```\n\n## Below\n\n"
        "```{study} study-labels-digits.json\n```\n\n```{study} study-ema-digits.json\n```\n\n"
        "```{study} study-ema-fashion-mnist.json\n:sentence:\n```\n"
    )
    html, warnings = built(site, results, page)
    assert warnings == ""
    above, _, below = html.partition("Below")
    assert above.count("Twenty are enough.") == 1 and "Ten are not." not in above
    assert "Ten are not." in below and "2.00 ± 0.50" in below and "one; seeds 0, 1" in below
    assert html.count("These runs have not been measured yet.") == 2
    words = re.sub(r"<[^>]+>", "", html)
    assert words.count("semisonic study ema --data digits measures them.") == 1 and "fashion-mnist" not in words


@pytest.mark.parametrize(
    "text, message",
    [
        ("A\nline {measured}`one.json no`.", "index.md:4: WARNING: measured: one.json: no: is no name"),
        ("```{results} one.json cells\nno\n```", "index.md:3: WARNING: results: column no: no: is no name"),
        (
            "```{results} rows.csv\nentry\n```",
            "index.md:3: WARNING: results: rows.csv: rows.csv.provenance.json is not",
        ),
        ("```{study} ema.json\n```", "index.md:3: WARNING: study: ema.json: is no name of a study"),
        ("A {field}`no.such`.", "index.md:3: WARNING: 'field' reference target not found: no.such"),
    ],
)
def test_a_mistake_is_a_warning_with_its_page_and_line(results: Path, site: Path, text: str, message: str):
    _, warnings = built(site, results, f"# A page\n\n{text}\n")
    assert message in warnings


def test_seeds_are_left_out_where_nothing_is_drawn():
    known = provenance.Provenance("python a.py", "none: it counts", "two cores", {"python": "3"}, {})
    assert facts(known) == "two cores"
