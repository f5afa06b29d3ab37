"""Directives whose content is made from the code whenever the site is built, and the role that links to a field."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from _extension.algorithms_page import algorithm_sections, algorithm_steps
from _extension.commands_page import commands
from _extension.exit_codes import exit_codes
from _extension.fields_page import configuration
from _extension.published import FILE, published
from _extension.records_page import records

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "engine" / "semisonic"


def fields() -> str:
    """Markdown of all fields but the algorithm's."""
    return configuration(ENGINE)


TEXTS: dict[str, Callable[[], str]] = {
    "configuration": fields,
    "commands": commands,
    "exit-codes": exit_codes,
    "algorithm-steps": algorithm_steps,
    "algorithm-sections": algorithm_sections,
    "published": published,
}
"""Directive -> what makes its content."""


class Generated(SphinxDirective):
    """What a function returns, as if it stood in the page. Read again when the engine's source has changed."""

    text: ClassVar[Callable[..., str]]

    def run(self) -> list[nodes.Node]:
        for folder in (ENGINE, ROOT / "kernels", Path(__file__).parent):
            for file in folder.rglob("*.py"):
                self.env.note_dependency(file)
        self.env.note_dependency(FILE)
        return self.parse_text_to_nodes(type(self).text(*self.arguments), allow_section_headings=True)


class Records(Generated):
    """The entries of a file, by the name of the class that describes it."""

    required_arguments = 1
    text = staticmethod(records)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_directive("records", Records)
    app.add_object_type("field", "field", objname="configuration field", indextemplate="pair: %s; field")
    for name, text in TEXTS.items():
        app.add_directive(name, type(name, (Generated,), {"text": staticmethod(text), "__doc__": text.__doc__}))
