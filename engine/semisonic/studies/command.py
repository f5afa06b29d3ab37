"""`semisonic study NAME`: questions that many runs answer, each with a page."""

import difflib
from collections.abc import Callable, Sequence

from semisonic.schema import ExitCode, UserError


def labels(argv: Sequence[str]) -> int:
    """How few labels suffice, and which images to label: error against labels."""
    from semisonic.studies.labels import study

    return study(argv)


STUDIES: dict[str, Callable[[Sequence[str]], int]] = {"labels": labels}


def main(argv: Sequence[str]) -> int:
    """The command, from its arguments to its exit code. Raises `UserError`."""
    name, *rest = argv or ["--help"]
    if name in STUDIES:
        return STUDIES[name](rest)
    if name not in ("-h", "--help"):
        close = difflib.get_close_matches(name, STUDIES, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}? One of " if close else "one of "
        raise UserError(f"{name}: no such study; {hint}{', '.join(STUDIES)}")
    print("semisonic study NAME [OPTIONS] [FIELDS]: many runs that answer one question, on a page.\n")
    for known, function in STUDIES.items():
        print(f"  {known:<10} {function.__doc__}")
    print("\nsemisonic study NAME --help shows its options. The same command continues what was stopped.")
    return ExitCode.OK
