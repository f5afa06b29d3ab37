"""What is known without a GPU is compared with what is stored: numbers with equal versions, rules with all."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import aot
import measure
import without_gpu
from run_parts import Outcome
from tests.support.processes import ROOT


def part(rows: dict[str, Any], versions: tuple[str, ...] = ("torch", "triton")) -> SimpleNamespace:
    """A part of two rows whose rule is that nothing spills."""
    return SimpleNamespace(
        ABOUT="made up",
        VERSIONS=versions,
        SECONDS=60.0,
        CASES=tuple(rows),
        rows=lambda names: {name: rows[name] for name in names},
        broken=lambda name, row: [f"{name}: {row['spills']} spills"] if row["spills"] else [],
        grown=aot.larger,
    )


ROWS = {"one": {"spills": 0, "launches": 3, "graphs": {"forward": 2}}, "two": {"spills": 0, "launches": 5, "name": "x"}}


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with the table of a part, which is the only one."""
    monkeypatch.setattr(without_gpu, "PARTS", {"made-up": "made_up"})
    use(monkeypatch, part(ROWS))
    measure.write_json(without_gpu.file_of("made-up", tmp_path), without_gpu.make_table("made-up", ()))
    return tmp_path


def use(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """The part's module; its process is this one."""
    monkeypatch.setattr(without_gpu, "module_of", lambda name: module)

    def run_all(parts: Any, only: Any, jobs: int, into: Path) -> list[Outcome]:
        for name in parts:
            measure.write_json(without_gpu.file_of(name, into), without_gpu.make_table(name, only))
        return [Outcome(name, "passed", 0, 1.0, "") for name in parts]

    monkeypatch.setattr(without_gpu, "run_all", run_all)


def changed(name: str, **values: Any) -> dict[str, Any]:
    return ROWS | {name: ROWS[name] | values}


def test_equal_numbers_pass_and_fewer_do(stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    assert without_gpu.main(["--check", "--results", str(stored)]) == 0
    assert "2 rows were compared" in capsys.readouterr().out
    use(monkeypatch, part(changed("one", launches=2)))
    assert without_gpu.main(["made-up", "--check", "--results", str(stored)]) == 0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (changed("two", launches=6), "two: launches was 5 and is 6"),
        (changed("one", graphs={"forward": 3}), "one: graphs: forward was 2 and is 3"),
        (changed("one", graphs={}), "one: graphs: forward was 2 and is missing"),
        (changed("two", spills=4), "two: 4 spills"),
        (ROWS | {"three": ROWS["one"]}, "three: is not in the stored table"),
    ],
)
def test_one_more_is_noticed(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, rows: dict[str, Any], said: str
):
    use(monkeypatch, part(rows))
    assert without_gpu.main(["--check", "--results", str(stored)]) == 1
    assert said in capsys.readouterr().out


def test_with_other_versions_the_rules_alone_are_compared(stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    path = without_gpu.file_of("made-up", stored)
    content = json.loads(path.read_text())
    content["versions"]["triton"] = "1.0"
    path.write_text(json.dumps(content))
    use(monkeypatch, part(changed("two", launches=600)))
    assert without_gpu.main(["--check", "--results", str(stored)]) == 0
    assert "no counts were compared: triton" in capsys.readouterr().out
    use(monkeypatch, part(changed("two", spills=1)))
    assert without_gpu.main(["--check", "--results", str(stored)]) == 1
    use(monkeypatch, part(changed("two", launches=600), versions=()))
    assert without_gpu.main(["--check", "--results", str(stored)]) == 1, "what is the engine's own is compared always"


def test_some_cases_can_be_compared_but_not_stored(stored: Path, capsys: Any):
    assert without_gpu.main(["--check", "--only", "two", "--results", str(stored)]) == 0
    assert "1 rows were compared" in capsys.readouterr().out
    assert without_gpu.main(["--only", "two"]) == 2
    assert "--check or --results" in capsys.readouterr().err


def test_a_table_says_what_it_was_made_with(stored: Path):
    content = json.loads(without_gpu.file_of("made-up", stored).read_text())
    assert content["command"] == "python benchmarks/without_gpu.py made-up" and content["rows"] == ROWS
    assert {"torch", "triton", "python"} <= content["versions"].keys() and content["hardware"]


def test_a_broken_rule_is_an_error_where_the_table_is_stored(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    use(monkeypatch, part(changed("one", spills=2)))
    assert without_gpu.main(["--results", str(stored)]) == 1
    assert "made-up: one: 2 spills" in capsys.readouterr().out


def test_a_part_that_fails_is_named(stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.setattr(without_gpu, "run_all", lambda *args: [Outcome("made-up", "time limit", None, 60.0, "")])
    assert without_gpu.main(["--check", "--results", str(stored)]) == 1
    assert "made-up time limit" in capsys.readouterr().err


def test_mistakes_are_one_line(stored: Path, capsys: Any):
    for arguments, said in (
        (["nonsense"], "nonsense: no such part; one of made-up"),
        (["--only", "nonsense", "--check"], "--only nonsense: no such case"),
        (["--check", "--results", str(stored / "none")], "without-gpu-made-up.json: No such file"),
    ):
        assert without_gpu.main(arguments) == 2
        found = capsys.readouterr().err.strip()
        assert said in found and found.startswith("error: ") and "\n" not in found


def test_every_part_keeps_the_contract():
    for name, path in without_gpu.PARTS.items():
        module = without_gpu.module_of(name)
        assert path.startswith("aot.") and set(aot.Part.__annotations__) <= set(dir(module)), name
        assert module.CASES and len(set(module.CASES)) == len(module.CASES)
    assert (ROOT / "benchmarks" / "without_gpu.py").exists() and without_gpu.main(["--list"]) == 0


def test_processes_of_parts_know_no_launcher_and_no_interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    found = without_gpu.environment(tmp_path)
    assert not {"RANK", "TRITON_INTERPRET"} & found.keys()
    assert found["TRITON_CACHE_DIR"].startswith(str(tmp_path)), "what was compiled before is compiled again"
