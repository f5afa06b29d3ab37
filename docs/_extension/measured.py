"""Role `measured`, directives `results` and `study`: what is shown of stored results, and where mistakes are."""

from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

import provenance
from _extension.figures import figure, files_of
from _extension.pages import line_of
from _extension.studies import Found, command_of, study
from _extension.tables import Table, table
from _extension.words import BadReference

LOG = logging.getLogger(__name__)
RESULTS = Path("..") / "benchmarks" / "results"
"""The folder of the stored results, from that of the pages."""


class Measured(SphinxRole):
    """{measured}`FILE PATH [FORMAT]`: one figure."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        folder = Path(self.env.srcdir, RESULTS).resolve()
        try:
            shown = figure(self.text, folder)
            for file in files_of(self.text):
                self.env.note_dependency(folder / file)
        except BadReference as error:
            page = Path(self.env.doc2path(self.env.docname))
            line = line_of(page, self.text, self.lineno)
            LOG.warning("measured: %s", error, location=(self.env.docname, line), type="measured")
            return [nodes.problematic(self.rawtext, self.rawtext)], []
        return [nodes.abbreviation(self.rawtext, shown, explanation=self.text, classes=["measured"])], []


class Results(SphinxDirective):
    """A table of a stored result, with a caption that says how it came to be."""

    required_arguments = 1
    has_content = True
    final_argument_whitespace = True
    option_spec: ClassVar[dict[str, Any]] = dict.fromkeys(
        ("columns", "sort", "where", "names", "caption"), directives.unchanged_required
    )

    def run(self) -> list[nodes.Node]:
        folder = Path(self.env.srcdir, RESULTS).resolve()
        try:
            made = table(self.arguments[0], self.options, list(self.content), folder)
            known = provenance.of(folder / made.file)
        except (BadReference, provenance.Missing) as error:
            LOG.warning("results: %s", error, location=self.get_location(), type="measured")
            return []
        for path in (folder / made.file, provenance.beside(folder / made.file)):
            self.env.note_dependency(path)
        return [self._table(made, known)]

    def _table(self, made: Table, known: provenance.Provenance) -> nodes.table:
        group = nodes.tgroup(cols=len(made.headers))
        group += [nodes.colspec(colwidth=1) for _ in made.headers]
        body = [[self._entry(cell.text, cell.number, cell.code) for cell in row] for row in made.rows]
        numbers = [any(row[i].number for row in made.rows) for i in range(len(made.headers))]
        head = [self._entry(text, number) for text, number in zip(made.headers, numbers, strict=True)]
        group += nodes.thead("", nodes.row("", *head))
        group += nodes.tbody("", *(nodes.row("", *cells) for cells in body))
        whole = nodes.table("", self._caption(made, known), group, classes=["results"])
        self.set_source_info(whole)
        return whole

    @staticmethod
    def _entry(text: str, number: bool, code: bool = False) -> nodes.entry:
        kind = nodes.literal if code else nodes.inline
        return nodes.entry("", nodes.paragraph("", "", kind(text, text)), classes=["number"] if number else [])

    def _caption(self, made: Table, known: provenance.Provenance) -> nodes.title:
        """The page's words, the command that printed the result, on what, and the file itself."""
        caption = nodes.title()
        if text := self.options.get("caption"):
            caption += [*self.parse_inline(f"{text} ")[0]]
        script = nodes.literal(known.script, known.script)
        caption += nodes.abbreviation("", "", script, explanation=known.command, classes=["measured"])
        caption += nodes.Text(f": {facts(known)}: ")
        stored = addnodes.download_reference(
            "", "", nodes.literal(made.file, made.file), reftarget=f"/{(RESULTS / made.file).as_posix()}",
            refdoc=self.env.docname, refdomain="", reftype="download", refexplicit=False, refwarn=True,
        )  # fmt: skip
        caption += stored
        return caption


def facts(known: provenance.Provenance) -> str:
    """On what a result was measured, with which seeds and version, as a caption says it."""
    seeds = known.seeds_text()
    drawn = "" if seeds.startswith(provenance.NOTHING_DRAWN) else f"seeds {seeds}"
    torch = known.versions.get("torch")
    return "; ".join(filter(None, (known.hardware, drawn, f"torch {torch}" if torch else "")))


class Study(Results):
    """What a stored study says, in sentences and tables; a note where it has not been stored."""

    has_content = False
    option_spec: ClassVar[dict[str, Any]] = {"sentence": directives.flag}

    def run(self) -> list[nodes.Node]:
        folder, file = Path(self.env.srcdir, RESULTS).resolve(), self.arguments[0]
        self.env.note_dependency(folder / file)
        try:
            found, command = study(file, folder), command_of(file)
            if found is None:
                return [self._missing(command)]
            if "sentence" in self.options:
                return [nodes.paragraph("", one) for one in found.said[:1]]
            return self._found(found, provenance.of(folder / file))
        except (BadReference, provenance.Missing) as error:
            LOG.warning("study: %s", error, location=self.get_location(), type="measured")
            return []

    def _missing(self, command: str) -> nodes.Node:
        text = nodes.paragraph("", "", nodes.Text("These runs have not been measured yet. "))
        if "sentence" in self.options:
            return text
        text += [nodes.literal(command, command), nodes.Text(" measures them.")]
        return nodes.note("", text)

    def _found(self, found: Found, known: provenance.Provenance) -> list[nodes.Node]:
        points = [nodes.list_item("", nodes.paragraph("", one)) for one in found.said]
        made: list[nodes.Node] = [nodes.bullet_list("", *points)] if points else []
        for part in found.parts:
            self.options = {"caption": f"{part.title}."} if part.title else {}
            made.append(self._table(part.table, known))
            made += [nodes.paragraph("", part.note)] if part.note else []
        return [*made, *(nodes.paragraph("", note) for note in found.notes)]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_role("measured", Measured())
    app.add_directive("results", Results)
    app.add_directive("study", Study)
