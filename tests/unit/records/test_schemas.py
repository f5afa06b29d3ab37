"""What each file of a run may hold: wrong entries have a line each, and those of other versions are read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semisonic.records import entries, schemas
from semisonic.records.reading import read_json
from semisonic.schema import UserError
from tests.support.checkpoints import state
from tests.support.fuzz import INPUTS, attack, json_files
from tests.support.processes import ROOT

STATE = {"format": 2, **state(history=[{"step": 3, "test/top1": 50.0, "test/top5": None}])}
STATUS = {"status": "failed", "step": 3, "steps": 9, "reason": "a line", "exit_code": 3, "pid": 7}
SUMMARY = {
    "algorithm": "fixmatch", "step": 9, "labels": 40, "seed": 0, "test_top1": 90.5, "test_top1_raw": 90, "wall_seconds": 2.5,
    "test_top1_last20_median": None, "images_per_second": 100.0, "pseudo_labels": {"coverage": 0.5, "collapsed_classes": []},
    "versions": {"torch": "2.11"}, "hardware": "a computer", "cpu_threads": 2, "peak_memory_bytes": 3,
}  # fmt: skip
FROZEN = {
    "network": "small", "weights": "w.pth", "features_seconds": 1.5, "seconds": 2.5,
    "neighbors": {"test_top1": 50.0, "k": 1, "seconds": 0.5}, "logistic": {"error": "a line", "seconds": 0.5},
    "self_training": {"held_out_top1": 50.0, "pseudo_label_precision": [None, 90.0], "seconds": 0.5},
}  # fmt: skip
SUMMARY["baseline"] = {**SUMMARY}
SUMMARY["frozen"] = FROZEN
LINE = {"step": 3, "time": 1.5, "kind": "train", "train/loss": 0.5, "train/class_share": [0.5, 0.5]}
MANIFEST = {name: {"bytes": 3, "crc32": "0123abcd"} for name in ("state.json", "config.yaml")}


def checked_state(path: Path) -> dict[str, Any]:
    return schemas.checked(entries.State, schemas.state(path), str(path))


READERS: dict[str, tuple[Callable[[Path], Any], Any]] = {
    "status.json": (schemas.status, STATUS),
    "summary.json": (schemas.summary, SUMMARY),
    "frozen.json": (schemas.frozen, FROZEN),
    "state.json": (checked_state, STATE),
    "manifest.json": (lambda path: schemas.manifest(path, tuple(MANIFEST)), MANIFEST),
}
WRONG_FROZEN: dict[str, Any] = {
    "neighbors: null; an object of named entries is needed": {"neighbors": None},
    "neighbors.seconds: is missing": {"neighbors": {"test_top1": 50.0}},
    "neighbors.test_top1: null: input should be a valid number": {"neighbors": {"test_top1": None, "seconds": 1.0}},
    "neighbors.test_top1: 101: input should be less than or equal to 100": {
        "neighbors": {"test_top1": 101, "seconds": 1}
    },
    "self_training.pseudo_label_precision: 'abc': input should be a valid list": {
        "self_training": {"pseudo_label_precision": "abc", "seconds": 1}
    },
    "weights: 3: input should be a valid string": {"weights": 3},
    "features_seconds: nan: input should be a finite number": {"features_seconds": float("nan")},
}
"""What a comparison would stumble over."""
WRONG_STATE: dict[str, Any] = {
    "preprocess.crop: 0.0: input should be greater than 0": {"preprocess": {"view": "plain", "border": 0, "crop": 0.0}},
    "preprocess.crop: nan: input should be less than or equal to 1": {
        "preprocess": {"view": "plain", "border": 0, "crop": float("nan")}
    },
    "preprocess.crop: 1.5: input should be less than or equal to 1": {
        "preprocess": {"view": "plain", "border": 0, "crop": 1.5}
    },
    "preprocess.interpolation: 'nearest': input should be 'bilinear' or 'bicubic'": {
        "preprocess": {"view": "plain", "border": 0, "interpolation": "nearest"}
    },
    "labeled_counts.0: -1: input should be greater than or equal to 0": {"labeled_counts": [-1, 2]},
    "weights.sha256: 3: input should be a valid string": {"weights": {"sha256": 3}},
    "shared: 'x': input should be a valid list": {"shared": "x"},
    "model.lora_rank: 0: input should be greater than or equal to 1": {"model": {"name": "small", "lora_rank": 0}},
    "model.lora_alpha: inf: input should be a finite number": {"model": {"name": "small", "lora_alpha": float("inf")}},
    "std.1: 0.0: input should be greater than 0": {"std": [0.5, 0.0, 0.5]},
    "std.0: -1: input should be greater than 0": {"std": [-1, 0.5, 0.5]},
    "std.2: 1e-300: input should be at least 1e-12": {"std": [0.5, 0.5, 1e-300]},
    "mean.0: nan: input should be a finite number": {"mean": [float("nan"), 0.5, 0.5]},
    "mean: a list of 2: list should have at least 3 items after validation, not 2": {"mean": [0.5, 0.5]},
    "classes: cat is in it twice": {"classes": ["cat", "dog", "cat"]},
    "classes: number 1 has no name": {"classes": ["cat", " "]},
    "classes: a list of 0: list should have at least 1 item after validation, not 0": {"classes": []},
    "classes.1: 3: input should be a valid string": {"classes": ["cat", 3]},
    "step: -1: input should be greater than or equal to 0": {"step": -1},
    "step: 1.0: input should be a valid integer": {"step": 1.0},
    "step: True: input should be a valid integer": {"step": True},
    "image_size: 1000000: input should be less than or equal to 16384": {"image_size": 10**6},
    "elapsed: inf: input should be a finite number": {"elapsed": float("inf")},
    "world_size: '1': input should be a valid integer": {"world_size": "1"},
    "history.0: step: is missing": {"history": [{"test/top1": 1.0}]},
    "history.0: test/top1: no number": {"history": [{"step": 1, "test/top1": {}}]},
    "history: an object of 0 entries: input should be a valid list": {"history": {}},
    "preprocess.view: 'other': input should be 'plain' or 'whole'": {"preprocess": {"view": "other", "border": 0}},
    "scaler.network.scale: 0.0: input should be greater than 0": {"scaler": {"network": {"scale": 0.0}}},
    "scaler.network.scale: null: input should be a valid number": {"scaler": {"network": {"scale": None}}},
    "scaler.network.growth_interval: 0: input should be greater than or equal to 1": {
        "scaler": {"network": {"growth_interval": 0}}
    },
    "scaler.network: a list of 0; an object of named entries is needed": {"scaler": {"network": []}},
    "model.name: is missing": {"model": {}},
    "model: null; an object of named entries is needed": {"model": None},
    "head.offset.0: nan: input should be a finite number": {"head": {"raw": "a", "ema": "b", "offset": [float("nan")]}},
}  # fmt: skip


@pytest.mark.parametrize(("message", "entries"), WRONG_STATE.items(), ids=WRONG_STATE)
def test_a_wrong_entry_of_a_state_has_its_line(tmp_path: Path, message: str, entries: dict[str, Any]):
    path = tmp_path / "state.json"
    path.write_text(json.dumps({**STATE, **entries}))
    with pytest.raises(UserError) as caught:
        checked_state(path)
    assert caught.value.messages == [f"{path}: {message}"]


@pytest.mark.parametrize(("message", "entries"), WRONG_FROZEN.items(), ids=WRONG_FROZEN)
def test_a_wrong_entry_of_frozen_baselines_has_its_line(tmp_path: Path, message: str, entries: dict[str, Any]):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({**SUMMARY, "frozen": {**FROZEN, **entries}}))
    with pytest.raises(UserError) as caught:
        schemas.summary(path)
    assert caught.value.messages == [f"{path}: frozen.{message}"]


@pytest.mark.parametrize("name", READERS)
def test_valid_files_are_read_as_they_are(tmp_path: Path, name: str):
    """So are entries of later versions; a list, and a missing entry, are not."""
    read, valid = READERS[name]
    path = tmp_path / name
    content = {**valid, **({} if name == "manifest.json" else {"of a later version": {"a": [1]}})}
    path.write_text(json.dumps(content))
    assert read(path) == content
    path.write_text(json.dumps([content]))
    with pytest.raises(UserError, match=f"{name}: a list of 1; an object of named entries is needed"):
        read(path)
    path.write_text(json.dumps(dict(list(valid.items())[1:])))
    with pytest.raises(UserError, match=name):
        read(path)


def test_files_of_earlier_versions_are_read():
    stored = ROOT / "tests" / "fixtures"
    for path in stored.rglob("state.json"):
        assert checked_state(path) == read_json(path)
    for path in stored.rglob("status.json"):
        assert schemas.status(path)
    for path in stored.rglob("metrics.jsonl"):
        assert schemas.metrics(path)


def test_many_mistakes_are_a_few_lines():
    with pytest.raises(UserError) as caught:
        schemas.checked(entries.State, {}, "state.json")
    assert len(caught.value.messages) == 6 and caught.value.messages[-1] == "state.json: and 9 more mistakes"


@INPUTS
@pytest.mark.parametrize("name", READERS)
def test_any_file_is_read_or_refused(tmp_path: Path, name: str, inputs: int):
    read, valid = READERS[name]
    attack(read, tmp_path / name, json_files(valid), inputs)


@INPUTS
def test_any_metrics_are_read_or_refused(tmp_path: Path, inputs: int):
    lines = json_files(LINE).map(lambda content: content + b"\n" if isinstance(content, bytes) else content)
    attack(schemas.metrics, tmp_path / "metrics.jsonl", lines, inputs)
