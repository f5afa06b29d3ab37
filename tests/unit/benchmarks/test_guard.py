"""The guard's verdicts: what counts as slower, and which results can be compared."""

import json
from pathlib import Path

import pytest

import guard
import measure


def result(**ratios: list[float]) -> dict:
    return {
        "kind": "throughput",
        "configuration": {"model": "small", "rows": 12},
        "hardware": "a machine",
        "device": "cpu",
        "cpu_threads": 2,
        "ratios": {name: measure.spread(values) for name, values in ratios.items()},
    }


def verdict(old: list[float], new: list[float]) -> str:
    (row,) = guard.compare(result(x=new), result(x=old))
    return row["verdict"]


def test_a_ratio_is_worse_if_it_fell_by_more_than_both_spreads():
    assert verdict([1.9, 2.0, 2.1], [1.7, 1.8, 1.9]) == "worse"  # by 0.2, spread 0.1
    assert verdict([1.9, 2.0, 2.1], [1.5, 1.8, 2.1]) == "same"  # the new spread is 0.3
    assert verdict([1.7, 2.0, 2.3], [1.8, 1.8, 1.8]) == "same"  # the old one is
    assert verdict([1.9, 2.0, 2.1], [2.1, 2.2, 2.3]) == "better"


def test_a_fall_of_five_per_cent_is_none():
    assert verdict([2.0, 2.0, 2.0], [1.91, 1.91, 1.91]) == "same"
    assert verdict([2.0, 2.0, 2.0], [1.89, 1.89, 1.89]) == "worse"


def test_a_ratio_that_is_no_longer_measured_counts_as_worse(tmp_path: Path):
    rows = guard.compare(result(x=[1.0]), result(x=[1.0], y=[1.0]))
    assert [row["verdict"] for row in rows] == ["same", "missing"]
    for name, content in (("new", result(x=[1.0])), ("old", result(x=[1.0], y=[1.0]))):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert guard.main([str(tmp_path / "new.json"), str(tmp_path / "old.json")]) == 1


def test_a_new_ratio_needs_no_stored_one():
    assert len(guard.compare(result(x=[1.0], y=[1.0]), result(x=[1.0]))) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"configuration": {"model": "small", "rows": 24}}, "rows is 24 here and 12 there"),
        ({"hardware": "another"}, "hardware is another here and a machine there"),
        ({"kind": "kernels"}, "kind is kernels here and throughput there"),
    ],
)
def test_results_of_other_work_are_not_compared(change: dict, said: str, tmp_path: Path, capsys):
    (tmp_path / "old.json").write_text(json.dumps(result(x=[1.0])))
    (tmp_path / "new.json").write_text(json.dumps(result(x=[1.0]) | change))
    assert guard.main([str(tmp_path / "new.json"), str(tmp_path / "old.json")]) == 2
    assert capsys.readouterr().err.strip() == f"error: the two results cannot be compared: {said}"


def test_the_baseline_is_the_stored_result_of_the_same_work(tmp_path: Path, capsys):
    stored = tmp_path / "results"
    stored.mkdir()
    other = result(x=[9.0]) | {"configuration": {"model": "wrn-28-2", "rows": 12}}
    for name, content in (("a", result(x=[2.0])), ("b", other), ("c", {"accuracy": 1})):
        (stored / f"{name}.json").write_text(json.dumps(content))
    new = tmp_path / "new.json"
    new.write_text(json.dumps(result(x=[1.0])))
    assert guard.main([str(new)], stored) == 1
    assert "a.json: worse: x" in capsys.readouterr().out
    new.write_text(json.dumps(result(x=[2.0])))
    assert guard.main([str(new)], stored) == 0
    new.write_text(json.dumps(result(x=[2.0]) | {"hardware": "elsewhere"}))
    assert guard.main([str(new)], stored) == 2
    assert "no result in" in capsys.readouterr().err


def test_a_file_without_ratios_is_refused(tmp_path: Path, capsys):
    (tmp_path / "x.json").write_text("{}")
    assert guard.main([str(tmp_path / "x.json")]) == 2
    assert guard.main([str(tmp_path / "absent.json")]) == 2
    assert "holds no ratios" in capsys.readouterr().err
