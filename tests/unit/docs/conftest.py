"""The extension of the site, and the benchmarks that it reads, are found from their folders, as docs/conf.py does."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

for folder in ("docs", "benchmarks"):
    if str(ROOT / folder) not in sys.path:
        sys.path.append(str(ROOT / folder))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of stored results: rows.csv and one.json."""
    folder = tmp_path / "results"
    folder.mkdir()
    rows = ["entry,error,error_half_width,seconds", "uda,3.15,0.7,10", "a=b/c,2.5,,", "fixmatch,12,1.5,-20"]
    (folder / "rows.csv").write_text("\n".join(rows))
    cells = [{"arm": "x", "seed": seed, "error": error} for seed, error in ((0, 1.0), (1, 3.0))]
    cells.append({"arm": "y", "seed": 0, "error": None})
    content = {
        "environment": {"hardware": "a processor", "versions": {"python": "3.11.7", "torch": "2.14.1"}},
        "command": "python benchmarks/one.py",
        "seeds": [0, 1],
        "cells": cells,
        "seconds": {"none / aum": {"median": 2.0, "min": 1.5, "max": 2.5}, "aum": {"median": 4, "min": 3, "max": 5}},
        "done": True,
    }
    (folder / "one.json").write_text(json.dumps(content))
    return folder
