"""`semisonic study NAME`: questions that many runs answer, each with a page."""

import difflib
from collections.abc import Sequence

from semisonic.schema import ExitCode, UserError
from semisonic.studies import labels
from semisonic.studies.catalog import CATALOG
from semisonic.studies.running import run

SUMMARIES = {"labels": "how few labels suffice, and which images to label"} | {
    study.name: study.summary for study in CATALOG.values()
}
"""What a study is about, by its name."""


def main(argv: Sequence[str]) -> int:
    """The command, from its arguments to its exit code. Raises `UserError`."""
    name, *rest = argv or ["--help"]
    if name in CATALOG:
        return run(CATALOG[name], rest)
    if name == "labels":
        return labels.study(rest)
    if name not in ("-h", "--help"):
        close = difflib.get_close_matches(name, SUMMARIES, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}? One of " if close else "one of "
        raise UserError(f"{name}: no such study; {hint}{', '.join(SUMMARIES)}")
    print("semisonic study NAME [OPTIONS] [FIELDS]: many runs that answer one question, on a page.\n")
    for known, summary in SUMMARIES.items():
        print(f"  {known:<10} {summary}")
    print("\nsemisonic study NAME --help shows its options. The same command continues what was stopped.")
    return ExitCode.OK
