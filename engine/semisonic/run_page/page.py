"""The page of a run: one HTML file that needs no other and no network."""

from pathlib import Path

from semisonic.checkpoint.atomic_files import write_text, writing
from semisonic.pages.rendering import render
from semisonic.run_page.facts import Facts, Seen
from semisonic.run_page.model import run_page

FILE = "report.html"
"""In a run's folder."""
ROWS = 25
"""Classes of the table before the others are folded away."""
IMAGES = 24
"""Mistakes before the others are folded away."""


def html(facts: Facts, seen: Seen) -> str:
    return render("run_page/run.html.j2", page=run_page(facts, seen), rows=ROWS, images=IMAGES)


def write(facts: Facts, seen: Seen, path: Path | None = None) -> Path:
    """Writes the page of a run, by default into its folder; replaces one that is there. Raises `UserError`."""
    path = path or facts.folder / FILE
    text = html(facts, seen)
    with writing(path):
        write_text(path, text)
    return path
