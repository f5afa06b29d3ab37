"""The labels of a project: what was said of each image, by whom and when, and what stands of it.

All of it is one SQLite file, `labels.db`. `Store` is how the rest of the project reads and writes it.
"""

from semisonic.daily.store.classes import head_rows
from semisonic.daily.store.database import DatabaseProblem
from semisonic.daily.store.events import SOURCES, Event, check_who
from semisonic.daily.store.rows import (
    ANY,
    LOOKED,
    NONE,
    PERSON,
    Added,
    AuditRow,
    AuditRows,
    Change,
    ClassRow,
    Conflict,
    Current,
    NewImage,
    Now,
    Revision,
    ScoreBatch,
    Scores,
    SecondLook,
    State,
)
from semisonic.daily.store.store import Store

__all__ = [
    "ANY", "LOOKED", "NONE", "PERSON", "SOURCES", "Added", "AuditRow", "AuditRows", "Change", "ClassRow", "Conflict",
    "Current", "DatabaseProblem", "Event", "NewImage", "Now", "Revision", "ScoreBatch", "Scores", "SecondLook", "State",
    "Store", "check_who", "head_rows",
]  # fmt: skip
