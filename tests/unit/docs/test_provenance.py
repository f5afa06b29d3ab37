"""What a caption says of a stored result."""

import json
from pathlib import Path

from _extension.provenance import Provenance, beside, provenance


def test_a_json_result_says_it_itself(results: Path):
    found = provenance(results / "one.json")
    assert (found.command, found.versions) == ("python benchmarks/one.py", {"torch": "2.14.1"})
    assert found.sentence() == "a processor; seeds 0, 1; torch 2.14.1"


def test_a_csv_result_has_a_file_beside_it(results: Path):
    assert provenance(results / "rows.csv") == Provenance()
    facts = {"command": "semisonic compare", "seeds": "none: nothing is drawn", "hardware": "one", "versions": {}}
    beside(results / "rows.csv").write_text(json.dumps(facts))
    assert provenance(results / "rows.csv").sentence() == "one; seeds none: nothing is drawn"
