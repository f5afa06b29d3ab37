"""Every HTML page of the engine, from templates that escape whatever they are given.

A template is named by its room and its file: `compare/page.html.j2` lies in `semisonic/compare/templates/page.html.j2`.
Pages extend `pages/base.html.j2`, which brings the one style (`pages/style.css.j2`), and need no other file.
"""

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound

from semisonic.pages.drawings import SERIES

TEMPLATES = "templates"
"""The folder of a room that holds its templates."""


def render(template: str, **values: Any) -> str:
    """A page, with `values` as text in it. Raises `jinja2.UndefinedError` where the template uses a value that is not
    given."""
    return environment().get_template(template).render(**values)


@cache
def environment() -> Environment:
    """The environment of all templates: everything is escaped, whatever a file is called, and nothing is undefined."""
    made = Environment(
        loader=Rooms(), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, auto_reload=False,
    )  # fmt: skip
    made.globals["SERIES"] = SERIES
    made.filters |= {"count": count, "percent": percent, "plural": plural}
    return made


class Rooms(BaseLoader):
    """Templates beside the code that fills them in."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        *room, file = template.split("/")
        if not room or not all(part.isidentifier() for part in room) or file.startswith("."):
            raise TemplateNotFound(template)
        found = files("semisonic").joinpath(*room, TEMPLATES, file)
        if not found.is_file():
            raise TemplateNotFound(template)
        return found.read_text(encoding="utf-8"), str(found), None


def count(value: int) -> str:
    """12,340"""
    return f"{value:,}"


def percent(value: float, digits: int = 1) -> str:
    """A share as 96.8 %."""
    return f"{100 * value:.{digits}f} %"


def plural(value: int, one: str, several: str | None = None) -> str:
    """1 image, 12,340 images."""
    return f"{value:,} {one if value == 1 else several or f'{one}s'}"
