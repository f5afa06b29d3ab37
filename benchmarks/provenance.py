"""Where a stored result comes from: the command that made it, its seeds, the hardware and the versions.

A JSON result has these facts in itself, at its top or in its object `environment`; CSV files and pictures have them in
a file beside them, FILE.provenance.json. `measure.store` and `measure.store_beside` write them. Needs no torch: the
pages and the tests read it.
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
BESIDE = ".provenance.json"
"""What the name of a file of facts ends in, after the whole name of the result."""
FACTS = ("command", "seeds", "hardware", "versions")
"""What every result must have."""
FURTHER = ("commit", "time", "device", "cpu", "cpu_threads", "cuda", "note")
"""What it has besides, where it is known."""
NOTHING_DRAWN = "none: "
"""How `seeds` begins where nothing is drawn at random; the reason follows."""
RANGE = re.compile(r"\d+ to \d+$")
"""`seeds` where there are too many to list."""
_PYTHON = re.compile(r"(?:^|/)python[0-9.]*$")

Seeds = Sequence[int] | str


class Missing(Exception):
    """Facts that a result does not have, or that are none; a line each."""

    def __init__(self, lines: Sequence[str]):
        super().__init__("\n".join(lines))
        self.lines = list(lines)


@dataclass(frozen=True)
class Provenance:
    """The facts of one result. `further` has those of `FURTHER` that are known."""

    command: str
    seeds: tuple[int, ...] | str
    hardware: str
    versions: dict[str, str | None]
    further: dict[str, Any]

    @property
    def script(self) -> str:
        """What was run, without options: benchmarks/memory.py, semisonic compare, make accuracy."""
        return script_of(self.command)

    def seeds_text(self) -> str:
        """The seeds as a page has them: 0 to 4; 0, 3; or why there are none."""
        if isinstance(self.seeds, str):
            return self.seeds
        first, last = self.seeds[0], self.seeds[-1]
        if len(self.seeds) > 2 and list(self.seeds) == list(range(first, last + 1)):
            return f"{first} to {last}"
        return ", ".join(map(str, self.seeds))


def script_of(command: str) -> str:
    """The program of a command line and, where it has some, the name of what it is to do."""
    words = [word for word in shlex.split(command) if not re.match(r"[A-Za-z_]+=", word)]
    if len(words) > 1 and _PYTHON.search(words[0]):
        return f"python -m {words[2]}" if words[1] == "-m" and len(words) > 2 else words[1]
    named = words[:2] if len(words) > 1 and not words[1].startswith("-") else words[:1]
    return " ".join(named)


def results(folder: Path = RESULTS) -> list[Path]:
    """The stored results, without the files of facts beside them."""
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.endswith(BESIDE))


def beside(path: Path) -> Path:
    return path.with_name(path.name + BESIDE)


def of(path: Path) -> Provenance:
    """The facts of a stored result. Raises `Missing` with all that is wrong with them."""
    return checked(read(path), path.name)


def read(path: Path) -> dict[str, Any]:
    """What a result says of itself, as it is; empty where it says nothing."""
    file = path if path.suffix == ".json" else beside(path)
    if not file.is_file():
        raise Missing([f"{path.name}: {file.name} is not there"])
    content = json.loads(file.read_text())
    if not isinstance(content, dict):
        raise Missing([f"{path.name}: is no object, so it has none of {', '.join(FACTS)}"])
    inner = content.get("environment")
    own = {**inner, **content} if isinstance(inner, dict) else content
    return {name: own[name] for name in (*FACTS, *FURTHER) if name in own}


def checked(own: dict[str, Any], name: str) -> Provenance:
    """Facts as they must be. Raises `Missing` with a line for each that is not."""
    wrong = [f"{name}: has no {fact}" for fact in FACTS if not own.get(fact)]
    given = {fact: own[fact] for fact in FACTS if own.get(fact)}
    for fact in ("command", "hardware"):
        if not isinstance(given.get(fact, ""), str):
            wrong.append(f"{name}: {fact} is no text")
    if "seeds" in given and not _are_seeds(given["seeds"]):
        wrong.append(f"{name}: seeds are neither whole numbers, nor '0 to 9', nor '{NOTHING_DRAWN}WHY'")
    if "versions" in given and not _are_versions(given["versions"]):
        wrong.append(f"{name}: versions has no number for python")
    if wrong:
        raise Missing(wrong)
    seeds, versions = given["seeds"], given["versions"]
    return Provenance(
        given["command"], seeds if isinstance(seeds, str) else tuple(seeds), given["hardware"],
        versions, {fact: own[fact] for fact in FURTHER if fact in own},
    )  # fmt: skip


def _are_seeds(value: Any) -> bool:
    if isinstance(value, str):
        reason = value.removeprefix(NOTHING_DRAWN).strip() if value.startswith(NOTHING_DRAWN) else ""
        return bool(reason or RANGE.match(value))
    return isinstance(value, list | tuple) and all(type(seed) is int for seed in value)


def _are_versions(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("python"), str)
