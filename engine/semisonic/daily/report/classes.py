"""The classes of a project on a day, and what was done to them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from semisonic.daily.report.known import Known
from semisonic.daily.report.model import ClassFacts, Estimate, Event
from semisonic.daily.store import NONE
from semisonic.daily.store.events import Event as Row
from semisonic.daily.store.events import select, undone

CLOSE = 5.0
"""Seconds between additions of classes that are told together."""
NAMED = 12
"""Classes that are named of those."""
SHOWN = 200
"""Changes, at most; the newest."""


def class_facts(known: Known, precision: Mapping[int, tuple[int, int, Estimate | None]]) -> list[ClassFacts]:
    """Of each active class. precision: by class, looks of the audit, those at right labels, and the share."""
    label = known.current.class_id
    size = max(known.names, default=0) + 1

    def count(which: np.ndarray) -> np.ndarray:
        return np.bincount(label[which & (label != NONE)], minlength=size)

    people, network = count(known.by_person), count(known.by_network)
    labeled = known.by_person | known.by_network
    today, before = count(labeled & known.today), count(labeled & (known.current.day == known.day - 1))
    found = []
    for row in known.classes:
        if row.status != "active":
            continue
        looked, right, share = precision.get(row.id, (0, 0, None))
        found.append(ClassFacts(
            id=row.id, name=row.name, status=row.status, by_people=int(people[row.id]),
            by_network=int(network[row.id]), looked=looked, right=right, precision=share, today=int(today[row.id]),
            yesterday=int(before[row.id]) if known.day > 1 else None,
        ))  # fmt: skip
    return found


def changes(known: Known) -> list[Event]:
    """What was done to the classes, labels that were accepted, and notes; the newest first."""
    rows = select(known.store.connection, "image IS NULL ORDER BY id")
    out, names = undone(rows), dict[int, str]()
    told: list[tuple[Row, str, list[str]]] = []
    for row in rows:
        added: list[str] = []
        if row.kind == "class":
            text, added = _class_change(row.details, names)
        elif row.kind == "accept":
            text = _acceptance(row.details)
        elif row.kind == "note" and "text" in row.details:
            text = str(row.details["text"])
        else:
            continue
        text += " (undone)" if row.id in out else ""
        if added and told and told[-1][2] and row.id not in out and _close(told[-1][0], row):
            told[-1][2].extend(added)
        else:
            told.append((row, text, [] if row.id in out else added))
    first = known.first.get(known.day, 0)
    return [
        Event(at=row.at, who=row.who, text=_added(added) if added else text, today=row.id >= first)
        for row, text, added in told[::-1][:SHOWN]
    ]


def _class_change(details: Mapping[str, Any], names: dict[int, str]) -> tuple[str, list[str]]:
    """(what a change of the classes did; the names of a class that it added alone). names: before it, kept up."""
    name = names.get(details["id"], "")
    match details["do"]:
        case "add":
            names[details["id"]] = details["name"]
            return _added([details["name"]]), [details["name"]]
        case "rename":
            names[details["id"]] = details["name"]
            return f"renamed the class {details.get('from', name)} to {details['name']}", []
        case "merge":
            return f"merged the class {name} into {names.get(details['into'], '')}", []
        case "split":
            parts = [part["name"] for part in details["parts"]]
            names |= {part["id"]: part["name"] for part in details["parts"]}
            return f"split the class {name} into {', '.join(parts)}", []
        case _:
            return f"retired the class {name}", []


def _added(names: list[str]) -> str:
    if len(names) == 1:
        return f"added the class {names[0]}"
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"added {len(names):,} classes: {', '.join(names[:NAMED])}{more}"


def _acceptance(details: Mapping[str, Any]) -> str:
    text = f"accepted the {details['count']:,} surest auto-labels"
    least = details.get("at_least")
    return text if least is None else f"{text}, of which at least {100 * least:g} % are right by the audit"


def _close(before: Row, row: Row) -> bool:
    between = datetime.fromisoformat(row.at) - datetime.fromisoformat(before.at)
    return before.who == row.who and abs(between.total_seconds()) < CLOSE
