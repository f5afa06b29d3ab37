"""A contact sheet as one page that needs no other file."""

from functools import partial

from semisonic.inspection.sheet import SIDE, Sheet
from semisonic.pages.pictures import data_uri
from semisonic.pages.rendering import render


def html(sheet: Sheet) -> str:
    """The page; everything that comes from files is text in it."""
    return render("inspection/sheet.html.j2", sheet=sheet, side=SIDE, inline=partial(data_uri, kind="png"))
