"""The part `step`: the code that is generated for a step of FixMatch, counted, and compiled for sm_90."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aot import Row, larger
from aot.machine_code import no_local_memory

ABOUT = "the generated CUDA code of a step of FixMatch: launches, tiny ones, copies; its kernels compiled for sm_90"
VERSIONS = ("torch", "triton")
SECONDS = 3000.0
BEFORE = Path(__file__).parents[1] / "results" / "without-gpu-step-before.json"
"""The same counts of the engine before tiny kernels were made fewer, which rows show beside their own."""
BATCH = ("--batch.labeled", "64", "--batch.unlabeled-ratio", "7", "--precision", "bf16")


@dataclass(frozen=True)
class Case:
    algorithm: str
    model: str = "wrn-28-2"
    fields: tuple[str, ...] = ()
    every: bool = True
    """Whether all configurations that Inductor would try are compiled, or the first of each kernel."""

    @property
    def command(self) -> list[str]:
        return ["--algorithm", self.algorithm, "--model", self.model, *BATCH, *self.fields]


TABLE = {
    "fixmatch, wrn-10-2": Case("fixmatch", "wrn-10-2", every=False),
    "fixmatch, wrn-28-2": Case("fixmatch"),
    "fixmatch, weak views apart, wrn-28-2": Case("fixmatch", fields=("--algorithm.weak-pass", "separate")),
}
CASES = tuple(TABLE)


def rows(names: Sequence[str]) -> dict[str, Row]:
    return rows_of({name: TABLE[name] for name in names})


def rows_of(cases: Mapping[str, Case]) -> dict[str, Row]:
    """The rows of cases, whose equal kernels are compiled once."""
    from aot.step_kernels import Compiler

    compiler, before = Compiler(), json.loads(BEFORE.read_text())["rows"]
    return {
        name: row(case, compiler) | ({"before": before[name]["together"]} if name in before else {})
        for name, case in cases.items()
    }


def row(case: Case, compiler: Any) -> Row:
    """The counts of a case, and what its kernels came to as machine code."""
    from aot import step_code

    graphs = step_code.generate(case.command)
    return counts(case, graphs) | machine_code(case, graphs, compiler)


def counts(case: Case, graphs: Sequence[Any]) -> Row:
    from aot import step_counts

    return {
        "command": " ".join(case.command),
        "together": step_counts.total(graphs),
        "graphs": {graph.name: step_counts.count(graph) for graph in graphs},
        "graphs of each": dict(Counter(graph.name for graph in graphs)),
        "tiny kernels": remaining(graphs),
    }


def machine_code(case: Case, graphs: Sequence[Any], compiler: Any) -> Row:
    from aot.step_counts import sources
    from aot.step_kernels import summary

    compiled: dict[str, list[Row]] = {}
    for graph in graphs:
        for name, own in compiler.all_rows(sources(graph.code), case.every).items():
            compiled[f"{graph.name}: {name}"] = own
    return {
        "machine code": {"tried": "all configurations" if case.every else "the first", **summary(compiled.values())},
        "in local memory": [
            {"kernel": name, "first": place == 0, **one}
            for name, own in compiled.items()
            for place, one in enumerate(own)
            if one["stack"] or one["local"] or one["spills"]
        ],
    }


def remaining(graphs: Sequence[Any]) -> dict[str, dict[str, int]]:
    """What the tiny launches are: kind -> kernel -> launches."""
    from aot.step_counts import KINDS, tiny

    found: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for graph in graphs:
        for kind, launch in tiny(graph):
            found[kind][f"{graph.name}: {launch.kernel}"] += 1
    return {kind: dict(sorted(own.items())) for kind, own in found.items()}


def broken(name: str, row: Row) -> list[str]:
    """One graph a role's method, and no kernel in its first configuration with a stack or spills."""
    lines = [f"{name}: {graph} is {count} graphs" for graph, count in row["graphs of each"].items() if count != 1]
    for one in row["in local memory"]:
        if one["first"]:
            lines += no_local_memory(f"{name}: {one['kernel']}, {one['configuration']}", one)
    return lines


def grown(name: str, row: Row, stored: Row) -> list[str]:
    return larger(name, row["together"], stored["together"])
