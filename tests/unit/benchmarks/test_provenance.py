"""Every stored result says which command made it, with which seeds, on what hardware, with which versions."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import measure
import provenance
from provenance import Missing, Provenance
from tests.support.processes import ROOT

ABOUT: dict[str, Any] = {
    "command": "python benchmarks/data.py", "seeds": [0, 1, 2], "hardware": "a processor",
    "versions": {"python": "3.11.7", "torch": None},
}  # fmt: skip


@pytest.mark.parametrize("path", provenance.results(), ids=lambda path: path.name)
def test_a_stored_result_says_where_it_comes_from(path: Path):
    script = provenance.of(path).script
    if script.startswith("make "):
        assert f"\n{script.removeprefix('make ')}:" in (ROOT / "Makefile").read_text()
    else:
        assert (ROOT / script).is_file() or script in ("semisonic compare", "semisonic study")


def test_no_file_of_facts_is_left_without_its_result():
    files = [path for path in provenance.RESULTS.iterdir() if path.name.endswith(provenance.BESIDE)]
    assert files and all(path.with_name(path.name.removesuffix(provenance.BESIDE)).is_file() for path in files)


def test_no_stored_command_names_a_folder_of_one_machine():
    for path in provenance.results():
        assert not re.search(r"/(home|root|tmp|work)/", provenance.of(path).command), path.name


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_facts_are_read_from_the_top_the_environment_and_the_file_beside(tmp_path: Path):
    top = write(tmp_path / "top.json", ABOUT | {"rows": [1]})
    outer = {"environment": {"hardware": "inner", **ABOUT}, "hardware": "outer", "time": "today"}
    inner = write(tmp_path / "inner.json", outer)
    table = tmp_path / "table.csv"
    table.write_text("a,b\n")
    write(provenance.beside(table), ABOUT | {"note": "by hand"})
    assert provenance.of(top) == Provenance(*(ABOUT["command"], (0, 1, 2), "a processor", ABOUT["versions"], {}))
    assert provenance.of(inner).hardware == "outer" and provenance.of(inner).further == {"time": "today"}
    assert provenance.of(table).further == {"note": "by hand"}
    assert provenance.results(tmp_path) == [inner, table, top]


@pytest.mark.parametrize("fact", provenance.FACTS)
def test_a_result_without_a_fact_is_told(tmp_path: Path, fact: str):
    path = write(tmp_path / "result.json", {name: value for name, value in ABOUT.items() if name != fact})
    with pytest.raises(Missing, match=f"result.json: has no {fact}"):
        provenance.of(path)
    write(path, ABOUT | {fact: None})
    with pytest.raises(Missing, match=f"result.json: has no {fact}"):
        provenance.of(path)


def test_a_table_without_a_file_beside_it_is_told(tmp_path: Path):
    (tmp_path / "table.csv").write_text("a,b\n")
    with pytest.raises(Missing, match=r"table.csv: table.csv.provenance.json is not there"):
        provenance.of(tmp_path / "table.csv")


def test_all_that_is_wrong_is_told_at_once():
    wrong = {"command": 3, "seeds": ["one"], "hardware": ["x"], "versions": {"torch": "2.14"}}
    with pytest.raises(Missing) as found:
        provenance.checked(wrong, "it")
    assert len(found.value.lines) == 4 and all(line.startswith("it: ") for line in found.value.lines)


@pytest.mark.parametrize(
    ("seeds", "text"),
    [([0, 1, 2, 3], "0 to 3"), ([0, 1], "0, 1"), ([3, 7, 8], "3, 7, 8"), ("0 to 999", "0 to 999"),
     ("none: it counts", "none: it counts")],
)  # fmt: skip
def test_seeds_are_told_in_few_words(seeds: Any, text: str):
    assert provenance.checked(ABOUT | {"seeds": seeds}, "it").seeds_text() == text


@pytest.mark.parametrize("seeds", ["none: ", "none", "some", [0.5], [True], {"a": 1}, ["0"]])
def test_what_is_no_seed_is_none(seeds: Any):
    with pytest.raises(Missing, match="seeds are neither"):
        provenance.checked(ABOUT | {"seeds": seeds}, "it")


@pytest.mark.parametrize(
    ("command", "script"),
    [
        ("python benchmarks/memory.py --rounds 2", "benchmarks/memory.py"),
        ("OMP_NUM_THREADS=1 python3.11 benchmarks/data.py", "benchmarks/data.py"),
        ("python -m tests.dist.campaign --out x", "python -m tests.dist.campaign"),
        ("semisonic compare --seeds 0", "semisonic compare"),
        ('make accuracy ARGS="--out runs/fast"', "make accuracy"),
    ],
)
def test_a_command_names_its_script(command: str, script: str):
    assert provenance.script_of(command) == script


def test_a_result_is_stored_with_its_command_and_seeds(tmp_path: Path):
    about = measure.environment(torch.device("cpu"))
    for content in ({**about, "rows": [1]}, {"environment": about, "rows": [1]}):
        measure.store(tmp_path / "result.json", content, range(2), "python benchmarks/x.py")
        found = provenance.of(tmp_path / "result.json")
        assert (found.command, found.seeds) == ("python benchmarks/x.py", (0, 1))
        assert found.hardware == about["hardware"] and found.versions == about["versions"]
        assert json.loads((tmp_path / "result.json").read_text())["rows"] == [1]
    measure.store_beside(tmp_path / "table.csv", about, "none: it counts")
    assert provenance.of(tmp_path / "table.csv").command == measure.command()


def test_what_has_no_hardware_is_not_stored(tmp_path: Path):
    with pytest.raises(Missing, match=r"has no hardware\n.*has no versions"):
        measure.store(tmp_path / "result.json", {"kind": "made up"}, [0])
    assert not list(tmp_path.iterdir())


def test_a_command_is_written_as_one_types_it_in_the_repository():
    argv = [str(ROOT / "benchmarks/data.py"), "--out", str(ROOT / "benchmarks/results/a b.json"), "--rounds", "3"]
    assert measure.command(argv) == "python benchmarks/data.py --out 'benchmarks/results/a b.json' --rounds 3"


def test_scripts_write_results_by_store_alone():
    """`write_json` writes what a script keeps for itself, between its processes."""
    own = {"measure.py", "daily.py", "daily_anomalies.py", "without_gpu.py"}
    users = {path.name for path in (ROOT / "benchmarks").glob("*.py") if "write_json(" in path.read_text()}
    assert users == own
    for name in own - {"measure.py"}:
        written = re.findall(r"write_json\(([^,]*),", (ROOT / "benchmarks" / name).read_text())
        assert not any("args.out" in target or "args.result" in target.split("(")[0] for target in written), name
