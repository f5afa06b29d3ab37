"""Templates: what they are given is text, what they lack is an error, and an installed engine has them all."""

import pytest
from jinja2 import TemplateNotFound, UndefinedError

from semisonic.pages import rendering
from semisonic.pages.rendering import count, environment, percent, plural, render
from tests.support.parsed_pages import EVIL, Seen
from tests.support.processes import ROOT


def test_values_are_text_in_pages_and_in_what_pages_share():
    made = environment().from_string(
        '{% extends "pages/base.html.j2" %}{% from "pages/parts.html.j2" import table, plot %}{% set title = evil %}'
        '{% block body %}<p title="{{ evil }}">{{ evil }}</p>{{ table((evil,), ((evil,),), (evil,)) }}{{ plot(evil) }}{% endblock %}'
    )
    seen = Seen(made.render(evil=EVIL))
    assert not {"img", "script"} & set(seen.tags) and seen.text.count(EVIL) == 5


def test_what_is_not_given_is_an_error():
    with pytest.raises(UndefinedError, match="title"):
        render("pages/base.html.j2")


@pytest.mark.parametrize(
    "name",
    [
        "base.html.j2",
        "pages/none.html.j2",
        "../pages/base.html.j2",
        "pages/../base.html.j2",
        "pages/templates/base.html.j2",
        "pages/",
    ],
)
def test_templates_are_those_of_rooms(name: str):
    with pytest.raises(TemplateNotFound):
        rendering.environment().get_template(name)


def test_every_template_is_found_under_its_name_and_compiles():
    engine = ROOT / "engine" / "semisonic"
    found = sorted(engine.rglob("templates/*.j2"))
    assert len(found) >= 5
    for path in found:
        environment().get_template(f"{path.parent.parent.relative_to(engine)}/{path.name}")


def test_a_page_loads_nothing_and_runs_nothing():
    page = environment().from_string('{% extends "pages/base.html.j2" %}{% set title = "a" %}').render()
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert "url(" not in page and "@import" not in page and "prefers-color-scheme: dark" in page


def test_numbers_as_people_read_them():
    assert (count(12340), percent(0.9684), percent(0.5, 0)) == ("12,340", "96.8 %", "50 %")
    assert [plural(n, "image") for n in (0, 1, 1200)] == ["0 images", "1 image", "1,200 images"]
    assert plural(2, "class", "classes") == "2 classes"
