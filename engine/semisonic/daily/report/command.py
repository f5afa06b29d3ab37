"""`daily PROJECT report`: writes the day's report, one page and one JSON file with the same numbers."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from semisonic.checkpoint.atomic_files import write_text, writing
from semisonic.daily.page.pictures import source_of
from semisonic.daily.page.thumbnails import NoPicture, Thumbnails
from semisonic.daily.report import words
from semisonic.daily.report.facts import collect
from semisonic.daily.report.model import Report, to_json
from semisonic.daily.report.page import page
from semisonic.daily.report.pictures import pictured
from semisonic.pages.pictures import data_uri
from semisonic.schema import ExitCode
from semisonic.text import printable

if TYPE_CHECKING:
    from semisonic.daily.project import Project


def run(project: "Project", args: argparse.Namespace) -> int:
    """The sub-command; returns the exit code. Raises `UserError`."""
    report, path = write_report(project)
    print(printable(words.headline(report)))
    print(f"Report: {printable(path)}")
    return ExitCode.OK


def write_report(project: "Project") -> tuple[Report, Path]:
    """Writes the report of the newest day; returns it, and where its page is. Those of earlier days stay.

    The same store and files give the same bytes. Raises `UserError`.
    """
    report = collect(project)
    folder = project.report
    name = f"day-{report.day:03d}"
    content = page(report, addresses(project, report))
    with writing(folder):
        folder.mkdir(exist_ok=True)
        write_text(folder / f"{name}.json", to_json(report))
        write_text(folder / f"{name}.html", content)
    return report, folder / f"{name}.html"


def addresses(project: "Project", report: Report) -> dict[int, str]:
    """By image, the address of its thumbnail inside of the page; images that cannot be shown have none."""
    thumbnails = Thumbnails(project.thumbs)
    found = {}
    with project.store() as store:
        for image in pictured(report):
            source = source_of(store.connection, image)
            assert source is not None  # the report is of the same store
            try:
                found[image] = data_uri(thumbnails.thumbnail(source).content, "webp")
            except NoPicture:
                continue
    return found
