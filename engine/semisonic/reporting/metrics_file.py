"""The lines of metrics.jsonl, as this version names what is in them.

Each is an object with `step`, `time`, and `kind`: "train", of what was measured over the steps since the last such
line, or "eval", of an evaluation. Names say on what: `train/`, the batches; `test/`, the test images; `held_out/`, the
held-out ones. Evaluations are of the EMA network, or with `_raw` of the raw one. A number that is not finite is the
text "nan", "inf" or "-inf"; null means that there is none: of accuracies by class, where no test image is of the class.

Earlier versions had no `kind` and other names, in these files and in the history of their checkpoints, and NaN, which
is no JSON. What is read is translated by the tables below; the lines of a file stay as they were written.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from semisonic.records import schemas
from semisonic.records.reading import read_text
from semisonic.text import numbers

TRAIN, EVAL = "train", "eval"
"""The kinds of lines."""

OF_THE_MACHINE = ("time", "images_per_second", "data_wait", "straggler/")
"""What is no part of a run's results, or such names begin with: the same run has other figures each time."""

EARLIER_GROUPS = {"eval": "test", "eval_raw": "test_raw"}
"""Before the slash of a name: in an earlier version -> now."""
EARLIER_WORDS = {"uda_mask": "uda_coverage", "labelled": "labeled"}
"""Within the names of training metrics, likewise."""


def current(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Figures by their names in this version, as numbers: a line has those that are not finite as text."""
    return {_current_name(name): numbers(value) for name, value in entry.items()}


def _current_name(name: str) -> str:
    group, slash, leaf = name.partition("/")
    if group == TRAIN:
        for earlier, now in EARLIER_WORDS.items():
            leaf = leaf.replace(earlier, now)
    return f"{EARLIER_GROUPS.get(group, group)}{slash}{leaf}"


def parse(lines: Iterable[str], name: str = "metrics.jsonl") -> Iterator[dict[str, Any]]:
    """Each line that is whole, with its kind and the present names. Raises `UserError` for what is no line of metrics;
    `name` is what messages call the file."""
    for number, line in enumerate(lines, start=1):
        if line.endswith("\n"):
            entry = current(schemas.metrics_line(line, f"{name}: line {number}"))
            yield {"kind": EVAL if "test/top1" in entry else TRAIN} | entry


def results(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A line without what depends on the machine: two runs that are the same have the same."""
    return {name: value for name, value in entry.items() if not name.startswith(OF_THE_MACHINE)}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl. Raises `UserError`."""
    return list(parse(lines_of(read_text(path, schemas.METRICS)), str(path)))


def lines_of(text: str) -> list[str]:
    """The lines of a file with their ends, of which `\\n` alone is one: the others may stand inside of a line."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)
