"""The study of pre-training, on digits and in a few steps: every arm is there, and nobody starts with another's head."""

import json
from pathlib import Path

import pytest

import pretraining
from semisonic import cli
from semisonic.checkpoint import format as checkpoints

TINY = ["--data", "digits", "--root", "", "--pretraining-steps", "3", "--steps", "2"]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def semisonic(*arguments: object, cache: Path) -> dict[str, float]:
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        assert cli.dispatch(list(map(str, arguments))) == 0
        return {"seconds": 1.0, "cpu_seconds": 2.0}

    monkeypatch.setattr(pretraining, "semisonic", semisonic)


@pytest.mark.long
def test_every_arm_has_a_row_and_what_is_there_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file, places = tmp_path / "found.json", ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "found.json")]
    first = pretraining.run(pretraining.parse([*TINY, *places, "--seeds", "0", "--only", "random"]))
    assert [row["arm"] for row in first["table"]] == ["labels alone, random weights", "fixmatch, random weights"]
    result = pretraining.run(pretraining.parse([*TINY, *places, "--seeds", "0"]))
    assert [row["arm"] for row in result["table"]] == list(pretraining.ORDER)
    assert json.loads(file.read_text())["cells"] == result["cells"] and result["cells"][:2] == first["cells"]
    assert all(0 <= row["mean_error"] <= 100 and row["seeds"] == [0] for row in result["table"])
    assert result["pretraining"]["steps"] == 3 and result["pretraining"]["images"] == 3 * 2 * 224
    monkeypatch.setattr(pretraining, "semisonic", lambda *_, **__: pytest.fail("made again"))
    assert pretraining.run(pretraining.parse([*TINY, *places, "--seeds", "0"]))["cells"] == result["cells"]
    with pytest.raises(SystemExit, match="has cells of"):
        pretraining.run(pretraining.parse([*TINY, *places, "--steps", "9"]))
    bare = checkpoints.load_checkpoint(next((tmp_path / "work" / "weights").glob("step-*")))
    assert bare.model and not any("head" in name for name in bare.model)


def test_means_and_deviations_are_over_seeds():
    cells = [
        {"arm": "fixmatch, random weights", "seed": seed, "error": error, "images": 5, "seconds": 2.0 * seed,
         "cpu_seconds": 1.0}
        for seed, error in ((2, 30.0), (0, 10.0), (1, 20.0))
    ]  # fmt: skip
    (row,) = pretraining.table(cells)
    assert (row["seeds"], row["errors"]) == ([0, 1, 2], [10.0, 20.0, 30.0])
    assert (row["mean_error"], row["deviation"], row["seconds"]) == (20.0, 10.0, 2.0)
