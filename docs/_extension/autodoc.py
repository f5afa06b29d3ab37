"""How Sphinx's autodoc shows this project's code, whose docstrings are plain text."""

from typing import Any

from sphinx.application import Sphinx

from _extension.docstrings import restructured


def process_docstring(app: Sphinx, what: str, name: str, thing: object, options: Any, lines: list[str]) -> None:
    """Makes reStructuredText of a docstring, in place."""
    lines[:] = restructured(lines)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", process_docstring)
