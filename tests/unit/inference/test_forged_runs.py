"""A run that somebody else has made: its configuration has nothing read that the user did not name."""

import json
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import semisonic
from semisonic import cli
from semisonic.inference.evaluate import evaluate_checkpoint
from semisonic.inference.pool import predict_pool
from semisonic.schema import UserError
from tests.support.fuzz import check_refusal

Forge = Callable[..., Path]
_watched: list[list[str]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in ("open", "os.listdir", "os.scandir", "os.mkdir") and isinstance(arguments[0], str | bytes):
        _watched[-1].append(str(arguments[0]))


@pytest.fixture
def read_paths() -> Iterator[list[str]]:
    """Paths that are opened or listed while the test runs."""
    if not getattr(_hook, "added", False):
        sys.addaudithook(_hook)
        _hook.added = True  # type: ignore[attr-defined]
    _watched.append([])
    yield _watched[-1]
    _watched.pop()


@pytest.fixture
def forge(run: Path, tmp_path: Path) -> Forge:
    """Makes a copy of a finished run's latest checkpoint with other files, whose manifest is right."""

    def made(
        config: dict[str, Any] | None = None, state: dict[str, Any] | None = None, **tensors: torch.Tensor
    ) -> Path:
        name = (run / "checkpoints" / "latest").read_text().strip()
        folder = tmp_path / "forged" / name
        shutil.copytree(run / "checkpoints" / name, folder)
        file = folder / "config.yaml"
        content = yaml.safe_load(file.read_text())
        for field, value in (config or {}).items():
            section, _, leaf = field.rpartition(".")
            (content[section] if section else content)[leaf] = value
        file.write_text(yaml.safe_dump(content))
        file = folder / "state.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **(state or {})}))
        if tensors:
            weights = load_file(folder / "model.safetensors")
            save_file({**weights, **tensors}, folder / "model.safetensors")
        manifest = {
            path.name: {"bytes": path.stat().st_size, "crc32": f"{zlib.crc32(path.read_bytes()):08x}"}
            for path in folder.iterdir()
            if path.name != "manifest.json"
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return made


@pytest.mark.parametrize("evaluate", [evaluate_checkpoint, predict_pool])
def test_a_folder_that_the_run_alone_names_is_not_looked_at(
    forge: Forge, tmp_path: Path, read_paths: list[str], evaluate: Callable[[Path], object]
):
    secret = tmp_path / "secret"
    (secret / "cat").mkdir(parents=True)
    (secret / "list.csv").write_text("path,label\n")
    section = {"name": "folder", "size": 16, "root": str(secret), "test_root": str(secret), "classes": ["cat", "dog"]}
    folder = forge(config={"data": {**section, "csv": str(secret / "list.csv"), "download": True}})
    read_paths.clear()
    with pytest.raises(UserError) as caught:
        evaluate(folder)
    assert [line.split(":")[0] for line in caught.value.messages] == ["data.root", "data.csv", "data.test_root"]
    assert f"give --root {secret} to read it" in caught.value.messages[0]
    assert not [path for path in read_paths if path.startswith(str(secret))]


def test_a_plug_in_that_the_run_names_is_asked_for_and_not_run(forge: Forge, tmp_path: Path, read_paths: list[str]):
    evil = tmp_path / "evil.py"
    evil.write_text("raise SystemExit('it ran')")
    folder = forge(config={"plugins": [{"path": str(evil), "sha256": "0" * 64}]})
    read_paths.clear()
    with pytest.raises(UserError, match=r"plugins: .* was made with evil.py .*; name it with --plugin FILE"):
        evaluate_checkpoint(folder)
    assert str(evil) not in read_paths


FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "a deviation of zero": ({"state": {"std": [0.3, 0, 0.3]}}, "state.json: std.1: 0: input should be greater than 0"),
    "a mean that is nan": ({"state": {"mean": [float("nan")] * 3}}, "state.json: mean.0: nan: input should be a finite number"),
    "a class twice": ({"state": {"classes": ["0"] * 10}}, "state.json: classes: 0 is in it twice"),
    "a class too few": (
        {"state": {"classes": list("012345678")}}, "of another shape: head.bias ([10], not [9]), head.weight"
    ),
    "a newer schema": ({"state": {"schema": 99}}, "state.json: schema 99 is of another version than this one"),
    "another format": ({"state": {"format": 3}}, "checkpoint format 3, this version reads 2"),
    "a giant network": (
        {"state": {"model": {"name": "wrn-28-64"}}}, "is not that of"
    ),
    "many classes": ({"state": {"classes": [str(i) for i in range(10**5)]}}, "head.bias ([10], not [100000])"),
    "no network": ({"state": {"model": {"name": "none"}}}, "model.name: no network none"),
    "fields of no network": ({"state": {"model": {"name": "small", "drop": 2}}}, "state.json: model: drop: 2: extra"),
    "a head that is not there": (
        {"state": {"head": {"raw": "a", "ema": "b", "offset": None}}}, "the checkpoint holds no tensors b.*, which its state.json"
    ),
    "an offset of another length": (
        {"state": {"head": {"raw": "network.head", "ema": "ema.head", "offset": [1.0]}}}, "head.offset: 1 numbers are not those"
    ),
    "weights that are not finite": (
        {"ema.head.bias": torch.full((10,), float("nan"))}, "model.safetensors: not finite: head.bias"
    ),
    "weights of another type": (
        {"ema.head.bias": torch.zeros(10, dtype=torch.int64)}, "of another type: head.bias (torch.int64, not torch.float32)"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), FORGED.values(), ids=FORGED)
def test_a_forged_checkpoint_is_a_line(forge: Forge, changes: dict[str, Any], message: str):
    folder = forge(**changes)
    error = check_refusal(lambda: semisonic.load(folder), folder.name if message[0] != "m" else "")
    assert error is not None and any(message in line for line in error.messages), error


@pytest.mark.parametrize("field", ["data", "data.name", "model", "steps"])
@pytest.mark.parametrize("value", [3, None, [1], "x" * 5000, {"a": {"a": 1}}])
def test_a_forged_configuration_is_a_line(forge: Forge, field: str, value: Any):
    folder = forge(config={field: value})
    assert check_refusal(lambda: evaluate_checkpoint(folder), "") or field == "steps"


def test_the_command_says_so_without_a_traceback(forge: Forge, capfd: pytest.CaptureFixture[str]):
    folder = forge(state={"std": [0.3, -1, 0.3]})
    assert cli.predict([str(folder), str(folder)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line == f"error: {folder}/state.json: std.1: -1: input should be greater than 0"
