"""The table of commands holds every row, they are run as it says, and what is stored is right for the present code."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import cases
from case_checks import Expected, Outcome
from case_inputs import MAKERS
from case_rows import CASES, Case
from tests.support.processes import ROOT

STORED = ROOT / "benchmarks" / "results" / "cases-cpu.json"
ROWS = {*(f"C{number}" for number in range(1, 15)), *(f"S{number}" for number in range(1, 8))}
FINE = Expected((0,))


def test_every_row_has_a_case_and_a_name_of_its_own():
    assert {case.row for case in CASES} >= ROWS
    assert {case.row for case in CASES} - ROWS >= {"X1", "X2", "X3"}
    assert len({case.name for case in CASES}) == len(CASES)
    assert {made for case in CASES for made in case.inputs} <= MAKERS.keys()


@pytest.mark.parametrize("name", sorted(MAKERS.keys() - {"nothing", "panorama"}))
def test_every_input_is_made(name: str, tmp_path: Path):
    MAKERS[name](tmp_path)
    assert any(tmp_path.iterdir())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_stored_outcome_is_of_this_command_and_right(case: Case):
    stored = json.loads(STORED.read_text())["cases"][case.name]
    assert stored["command"] == case.command
    assert "left_out" in stored["new"] or stored["new"]["problems"] == []
    assert "left_out" in stored["old"] or stored["old"]["problems"] == []


def run(command: str, expected: Expected = FINE, **more: object) -> dict:
    case = Case("C1-own", command, "", "", None, expected, **({"inputs": ("nothing",)} | more))  # type: ignore[arg-type]
    return cases.perform(case, ROOT, expected)


def test_a_command_has_a_folder_of_its_own_and_the_sources_of_its_checkout():
    found = run(
        "pwd; ls D; echo $W $CODE; echo $PYTHONPATH; echo gone >&2; exit 3", Expected((3,), ("^gone",), ("D/x",))
    )
    assert found["code"] == 3 and found["problems"] == []
    assert found["last"] == ["$W", "nothing", "$W $CODE", "$CODE/engine:$CODE/kernels", "gone"]
    assert not Path(found["last"][0]).exists()


def test_a_command_that_hangs_is_killed_with_all_that_it_started():
    found = run("sleep 100 & echo begun; wait", Expected((None,), ("begun",)), limit=0.5)
    assert found["code"] is None and found["problems"] == [] and found["seconds"] < 20


def test_what_is_otherwise_is_said():
    expected = Expected((2,), ("error",), ("fine",), (lambda outcome: outcome.text.strip(),))
    assert run("echo fine", expected)["problems"] == [
        "exit code 0, not 2", "nothing printed matches 'error'", "what was printed matches 'fine'", "fine",
    ]  # fmt: skip

    def check(outcome: Outcome) -> str:
        return (outcome.folder / "summary.json").read_text()

    assert "cannot be read: FileNotFoundError" in run("true", Expected(checks=(check,)))["problems"][0]


def test_results_are_added_to_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept = CASES[0].name
    own = replace(CASES[1], command="echo own", old=FINE, new=FINE, inputs=("nothing",))
    monkeypatch.setattr(cases, "CASES", (CASES[0], own))
    file = tmp_path / "cases.json"
    file.write_text(json.dumps({"cases": {kept: {"new": {"problems": []}}}}))
    cases.run(cases.parse(["--new", str(ROOT), "--only", own.name, "--out", str(file)]))
    stored = json.loads(file.read_text())
    assert list(stored["cases"]) == [kept, own.name] and stored["cases"][own.name]["new"]["last"] == ["own"]


def test_rows_that_there_are_not_are_refused(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        cases.parse(["--only", "C99"])
    assert "C99" in capsys.readouterr().err
