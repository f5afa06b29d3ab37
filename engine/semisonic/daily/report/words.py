"""The sentences of a report. What no person has checked at random is never called accuracy."""

from datetime import date

from semisonic.daily import audit_words
from semisonic.daily.report.model import Accuracy, Estimate, Report, Step
from semisonic.pages.rendering import plural

METHODS = {
    "simple": "Clopper and Pearson's interval of images that were drawn simply at random",
    "stratified": "from random images of parts that the network is about equally sure of, weighted by their sizes",
    "cautious": "Clopper and Pearson's intervals of all parts at once: wide, as few of the drawn images are checked",
}
"""How an interval came about."""


def percent(value: float, digits: int = 1) -> str:
    """96.8 %"""
    return f"{audit_words.percent(value, digits)} %"


def interval(found: Estimate) -> str:
    """94.9 to 98.2"""
    return f"{audit_words.percent(found.low)} to {audit_words.percent(found.high)}"


def points(value: float) -> str:
    """A difference of shares in points, with its sign."""
    shown = f"{100 * value:+.1f}"
    return "0.0" if float(shown) == 0 else shown


def day_of(text: str) -> str:
    """28 November 2026, of a date or time as the store writes it."""
    found = date.fromisoformat(text[:10])
    return f"{audit_words.day_of_month(found)} {found.year}"


def minutes(value: float | None) -> str:
    """About how long; "" where that is not known."""
    if value is None:
        return ""
    if value < 1:
        return "less than a minute"
    if value < 90:
        return f"about {plural(round(value), 'minute')}"
    return f"about {value / 60:.1f} hours"


def headline(report: Report) -> str:
    """What is known of the labels that are handed out."""
    of = report.accuracy
    if of.said:
        return of.said
    if not of.labels:
        return f"No image of {of.of} has a label yet."
    if not of.by_network:
        return f"All {of.labels:,} labels of {of.of} were given or confirmed by people."
    text = f"How many of the {of.labels:,} labels of {of.of} are right is not known yet: "
    text += "no person has checked any at random."
    if of.confidence is not None:
        text += (
            f" The network's own mean confidence, {percent(of.confidence)}, is not a measurement; such figures have "
            "been up to 21 points too high."
        )
    return text


def audit(of: Accuracy) -> str:
    """How far the audit is."""
    if not of.drawn:
        return "No image has been drawn for an audit."
    return f"{plural(of.drawn, 'image')} drawn at random, {of.drawn - of.waiting:,} of them looked at."


def more(report: Report) -> str:
    """What a narrower interval costs."""
    of = report.accuracy
    if of.more_for_two_points is None:
        return ""
    if not of.more_for_two_points:
        return "The interval is no wider than ±2 points: no more looks are needed for that."
    time = minutes(of.more_for_two_points / report.pace)
    return f"±2 points would take {plural(of.more_for_two_points, 'more random image')}, {time}."


def shares(of: Accuracy) -> str:
    """What class shares cannot tell."""
    text = "Shares count the labels that are handed out, by people and by the network"
    if of.handed_out is None:
        return f"{text}. How many of them are wrong is not known, so a change may be the network's and not the images'."
    low, high = 100 * (1 - of.handed_out.high), 100 * (1 - of.handed_out.low)
    return (
        f"{text}, of which {low:.1f} to {high:.1f} % are wrong by the audit: a change that is smaller may be the "
        "network's and not the images'."
    )


STEPS = {
    "add": "Add the images of the next day",
    "label": "Label these before the training",
    "farthest": "Label the farthest images of the day: a new class would be among them",
    "train": "Train, then have the images of the day labeled",
    "audit": "Check the audit: without the network's labels, before looking at suspicious ones",
    "suspicious": "Look through suspicious labels of the network",
    "given": "Look again at suspicious labels of people",
    "second-look": "Decide what a change of the classes or two answers that differ have left open",
}
COMMANDS = {"add": "add FOLDER", "train": "train"}
"""What does it, where that is not the page."""


def step(one: Step) -> str:
    text = STEPS[one.what]
    if one.gain is not None:
        text += f"; the interval will be about ±{100 * one.gain:.1f} points"
    return f"{text}."


def command(one: Step, project: str) -> str:
    return f"semisonic daily {project} {COMMANDS.get(one.what, 'page')}"
