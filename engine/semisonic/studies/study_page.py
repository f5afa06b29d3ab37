"""The page of a study: a sentence, a picture and a table for each factor."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from semisonic.compare.page import COLORS, drawn, image
from semisonic.pages.drawings import Drawing
from semisonic.pages.rendering import render
from semisonic.reporting.pictures import drawing, name_in_picture
from semisonic.studies.declaration import Factor, Study
from semisonic.studies.results import Result, Results, differences, is_seen

COLUMNS = ("setting", "error %", "against the baseline", "seeds", "steps", "image passes", "seconds", "entry")
WORDS = ("setting", "entry")
"""Columns that are not numbers."""
LONGEST = 44
"""Letters of a setting in a picture."""


@drawing()
def errors(factor: Factor, found: Mapping[str, Result]) -> Drawing:
    """A line a setting: the errors of its seeds, their mean and its interval. found: by what the setting has."""
    figure = Figure(figsize=(6.5, 0.9 + 0.33 * len(found)), layout="constrained")
    axes = figure.subplots()
    for place, (name, result) in enumerate(found.items()):
        if result.error is None:
            continue
        color = COLORS[0] if name == factor.value else COLORS[2]
        seeds = list(result.errors.values())
        axes.plot(seeds, [place] * len(seeds), "o", color=color, alpha=0.35, markersize=6, markeredgewidth=0)
        axes.errorbar(
            result.error.mean, place, xerr=result.error.half or 0, fmt="D", color=color, markersize=5, capsize=4
        )
        if name == factor.value:
            axes.axvline(result.error.mean, color=color, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(found)), [name_in_picture(name, LONGEST) for name in found])
    axes.set(xlabel="test error, %", ylim=(len(found) - 0.5, -0.5))
    low, high = axes.get_xlim()
    axes.set_xlim(max(0, low), min(100, high))
    axes.grid(axis="x", alpha=0.25)
    return image(figure, f"{factor.title}: test error of each setting, with 95 % intervals over seeds")


def part(factor: Factor, found: Results, said: str) -> dict[str, Any]:
    """A factor's part of the page."""
    own = {name: found[given] for name, given in factor.settings.items() if given in found}
    behind = differences(factor, found)
    rows = []
    for name, result in own.items():
        against = behind.get(name)
        seconds = result.mean_seconds
        cells = (
            "" if result.error is None else result.error.text(), "" if against is None else against.text(sign=True),
            str(len(result.errors)), f"{result.steps:,}", f"{result.passes:,}",
            "" if seconds is None else f"{seconds:,.0f}",
        )  # fmt: skip
        rows.append(
            {
                "name": name,
                "entry": result.setting.entry,
                "cells": cells,
                "seen": against is not None and is_seen(against),
            }
        )
    picture = drawn(factor.title, partial(errors, factor, own))  # the figures stand, whatever a library does
    return {"title": factor.title, "said": said, "rows": rows, "note": factor.note, "picture": picture}


def page(study: Study, found: Results, content: Mapping[str, Any]) -> str:
    """The whole page. content: what the JSON file holds."""
    parts = [
        part(factor, found, own["said"]) for factor, own in zip(study.compared(), content["factors"], strict=True)
    ]  # fmt: skip
    return render(
        "studies/study.html.j2", study=study, parts=parts, columns=COLUMNS, words=WORDS, content=content,
        versions=", ".join(f"{name} {version}" for name, version in content["versions"].items()),
    )  # fmt: skip
