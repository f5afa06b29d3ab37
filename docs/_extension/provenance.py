"""How a stored result came to be: by which command, on what, with which seeds and versions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _extension.stored import load

BESIDE = ".provenance.json"
"""What the name of a file of facts ends in that lies beside a CSV file, after the whole name of that."""


@dataclass(frozen=True)
class Provenance:
    """What is known; empty where a result does not say."""

    command: str = ""
    hardware: str = ""
    seeds: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""
    time: str = ""

    def sentence(self) -> str:
        """What a table's caption says beside the command."""
        torch = self.versions.get("torch")
        parts = [self.hardware, f"seeds {self.seeds}" if self.seeds else "", f"torch {torch}" if torch else ""]
        return "; ".join(part for part in parts if part)


def provenance(file: Path) -> Provenance:
    """Of a stored result: what stands at the top of a JSON file or in its `environment`, or in the file beside."""
    facts = file if file.suffix == ".json" else beside(file)
    content = load(facts) if facts.is_file() else {}
    said = {**content.get("environment", {}), **content} if isinstance(content, Mapping) else {}
    seeds = said.get("seeds")
    versions = said.get("versions") or {}
    return Provenance(
        command=_text(said.get("command")),
        hardware=_text(said.get("hardware")),
        seeds=", ".join(map(str, seeds)) if isinstance(seeds, list) else _text(seeds),
        versions={name: str(version) for name, version in versions.items() if version is not None},
        commit=_text(said.get("commit")),
        time=_text(said.get("time")),
    )


def beside(file: Path) -> Path:
    """The file of facts beside a result that cannot hold them."""
    return file.with_name(file.name + BESIDE)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
