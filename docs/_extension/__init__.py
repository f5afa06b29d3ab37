"""The site's extension of Sphinx: figures and tables by reference to stored results, and pages made from the code."""

from typing import Any

from sphinx.application import Sphinx

from _extension import autodoc, code_pages, links, measured, wrappers


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    autodoc.setup(app)
    links.setup(app)
    measured.setup(app)
    wrappers.setup(app)
    code_pages.setup(app)
    return {
        "version": "1",
        "env_version": 2,  # another one has all pages written anew, which earlier builds left
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
