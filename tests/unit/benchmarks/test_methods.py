"""Measurements of several methods: which are meant, and that one that fails leaves the others."""

from pathlib import Path

import pytest
import torch

import measure
import methods
import throughput
from semisonic.algorithms.registry import ALGORITHMS


def test_all_names_every_algorithm_and_a_list_its_own():
    assert methods.names("all") == list(ALGORITHMS)
    assert methods.names("vat,fixmatch,vat") == ["vat", "fixmatch"]
    with pytest.raises(measure.Mistake):
        methods.names(",")


def test_a_method_that_fails_is_reported_after_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys):
    """The others' table and file are there all the same."""

    def measured(name: str, *_: object) -> dict:
        if name == "vat":
            raise measure.Failed("bare", "Traceback\nRuntimeError: broken")
        speed = {
            "images_per_second": measure.spread([10.0]),
            "steps_per_second": measure.spread([1.0]),
            "peak_bytes": 1,
        }
        environment = measure.environment(torch.device("cpu"))
        return {"images_per_step": 10, "labeled": 2, "unlabeled": 8, "passes": ["10 forward"], "bare": speed,
                "step": speed, "ratio": measure.ratio([0.7], [1.0]), "idle": True, "environment": environment}  # fmt: skip

    monkeypatch.setattr(methods, "measured", measured)
    out = tmp_path / "out.json"
    argv = ["--algorithm", "vat,fixmatch", "--model", "small", "--rounds", "1", "--device", "cpu", "--out", str(out)]
    assert throughput.main(argv) == 1
    shown = capsys.readouterr()
    assert "10 forward" in shown.out and "note: fixmatch reaches 70% of its bare passes" in shown.out
    assert shown.err.strip().endswith("error: bare failed: RuntimeError: broken")
    written = out.read_text()
    assert '"fixmatch: step / bare"' in written and "vat failed: RuntimeError: broken" in written
