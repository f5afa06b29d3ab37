"""What tests of the report begin with."""

from pathlib import Path

import pytest

from semisonic.compare.jobs import make_jobs, parse_entries
from tests.support.comparisons import fabricate, lines


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    """Three supervised runs, three of fixmatch, one of another setting, one that failed."""
    entries = {"supervised": (80.0, 84.0, 82.0), "fixmatch": (90.0, 93.0, 93.0), "fixmatch:threshold=0.5": (95.0,)}
    for name, values in entries.items():
        entry = parse_entries(name)[0][0]
        for seed, top1 in enumerate(values):
            argv = (f"--algorithm={entry.algorithm}", "--no-baseline", *(f"--{k}={v}" for k, v in entry.fields.items()))
            made = make_jobs([(entry, "40", seed, argv)], tmp_path, 1)[0]
            used = {"coverage": 0.75, "pseudo_label_precision": 0.9, "collapsed_classes": ["3"] if seed else []}
            fabricate(made, top1=top1, lines=lines(top1, entry.algorithm == "fixmatch"), seconds=10.0 if name == "supervised" else 30.0,
                      **({"pseudo_labels": used} if entry.algorithm == "fixmatch" else {}))  # fmt: skip
    entry = parse_entries("supervised")[0][0]
    failed = make_jobs([(entry, "40", 7, ("--algorithm=supervised", "--no-baseline"))], tmp_path, 1)[0]
    fabricate(failed, status="failed", code=2, reason="<no image>")
    return tmp_path
