"""Did a change make something slower? Compares the ratios of a new result with those of a stored one.

    python benchmarks/guard.py NEW.json [BASELINE.json]

Ratios, never absolute times: two measurements of one run on one machine, so that machines and noise cancel. Without a
baseline it is the result in benchmarks/results/ of the same kind, configuration and hardware. A ratio (higher = better)
is worse if its median fell by more than the larger of both spreads, (max - min) / 2 over the rounds, and by more than
5 %. Exit code: 0 nothing is worse, 1 something is, 2 there is nothing to compare with.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
LEAST = 0.05
"""A fall by less than this share is never called one."""
SAME = ("kind", "configuration", "hardware", "device", "cpu_threads")
"""What two results must share to be compared."""

Result = dict[str, Any]


class Incomparable(Exception):
    """Why two results cannot be compared, in one line."""


def read(path: Path) -> Result:
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise Incomparable(f"{path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise Incomparable(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("ratios"), dict) or "kind" not in content:
        raise Incomparable(f"{path}: holds no ratios of a benchmark")
    return content


def _json(path: Path) -> Result:
    """A file of the results' folder, or nothing where it holds something else."""
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise Incomparable(f"{path}: not JSON ({error})") from error
    return content if isinstance(content, dict) else {}


def difference(new: Result, old: Result) -> str | None:
    """The first thing that forbids comparing two results, or None."""
    for name in SAME:
        mine, other = new.get(name), old.get(name)
        if name == "configuration" and isinstance(mine, dict) and isinstance(other, dict):
            for key in sorted(mine.keys() | other.keys()):
                if mine.get(key) != other.get(key):
                    return f"{key} is {mine.get(key)} here and {other.get(key)} there"
        elif mine != other:
            return f"{name} is {mine} here and {other} there"
    return None


def find_baseline(new: Result, path: Path, folder: Path) -> Path:
    """The stored result that `new`, read from `path`, is to be compared with."""
    files = [file for file in sorted(folder.glob("*.json")) if file.resolve() != path.resolve()]
    stored = {file: content for file in files if isinstance((content := _json(file)).get("ratios"), dict)}
    found = [file for file, content in stored.items() if difference(new, content) is None]
    if len(found) == 1:
        return found[0]
    if found:
        raise Incomparable(f"several results fit: {', '.join(map(str, found))}; name one")
    alike = [f"{file.name}: {difference(new, old)}" for file, old in stored.items() if old.get("kind") == new["kind"]]
    raise Incomparable(f"no result in {folder} has this configuration and hardware ({'; '.join(alike) or 'none'})")


def half_range(ratio: dict[str, Any]) -> float:
    return (ratio["max"] - ratio["min"]) / 2


def compare(new: Result, old: Result) -> list[dict[str, Any]]:
    """A row for every ratio of the old result: name, both medians, what was allowed, and the verdict.

    verdict: "worse", "better" (by the same measure), "same", or "missing" where the new result lacks the ratio, which
    counts as worse. Raises Incomparable where the results are of different work or hardware.
    """
    if reason := difference(new, old):
        raise Incomparable(f"the two results cannot be compared: {reason}")
    rows = []
    for name, before in old["ratios"].items():
        after = new["ratios"].get(name)
        row = {"name": name, "old": before["median"], "new": None, "allowed": None, "verdict": "missing"}
        if after is not None:
            allowed = max(half_range(before), half_range(after), LEAST * before["median"])
            change = after["median"] - before["median"]
            verdict = "worse" if change < -allowed else "better" if change > allowed else "same"
            row |= {"new": after["median"], "allowed": allowed, "verdict": verdict}
        rows.append(row)
    return rows


def show(rows: list[dict[str, Any]], console: Console) -> None:
    table = Table()
    for column in ("ratio", "stored", "new", "change", "allowed", ""):
        table.add_column(column, justify="left" if column == "ratio" else "right")
    colors = {"worse": "red", "missing": "red", "better": "green", "same": ""}
    for row in rows:
        cells = ["", "", ""]
        if row["new"] is not None:
            cells = [f"{row['new']:.3f}", f"{row['new'] - row['old']:+.3f}", f"{row['allowed']:.3f}"]
        table.add_row(row["name"], f"{row['old']:.3f}", *cells, row["verdict"], style=colors[row["verdict"]])
    console.print(table)


def main(argv: Sequence[str], folder: Path = RESULTS) -> int:
    parser = argparse.ArgumentParser(
        "guard.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("new", type=Path, help="a result that a benchmark just wrote")
    parser.add_argument("baseline", type=Path, nargs="?", help="the result to compare it with")
    args = parser.parse_args(argv)
    try:
        new = read(args.new)
        baseline = args.baseline or find_baseline(new, args.new, folder)
        rows = compare(new, read(baseline))
    except Incomparable as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console = Console()
    show(rows, console)
    bad = [row["name"] for row in rows if row["verdict"] in ("worse", "missing")]
    console.print(
        f"against {baseline}: " + (f"worse: {', '.join(bad)}" if bad else "nothing is worse"),
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
