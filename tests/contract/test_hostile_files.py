"""Files that a run wrote or a user gave, with content that is none of theirs: each reader says so in a line.

`SEEN` lists the kinds of content that have once ended in a traceback, or in a wrong answer, with the line in its place.
"""

import io
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import semisonic
from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint.folder_lock import look, refuse_if_held
from semisonic.compare.jobs import Entry, read_settings
from semisonic.config.command_line import resolve
from semisonic.config.migrations import read_saved
from semisonic.distributed.deepspeed import ParallelConfig, read_deepspeed
from semisonic.models import pretrained
from semisonic.reporting.errors import refusals_told
from semisonic.reporting.metrics_file import read_metrics
from semisonic.runs.continuing import check_same
from semisonic.runs.run_folder import read_status
from semisonic.schema import UserError
from tests.support.fuzz import (
    FOLDER,
    INPUTS,
    Content,
    attack,
    check_refusal,
    damaged,
    json_files,
    odd_files,
    place,
    yaml_files,
)
from tests.support.processes import ROOT

STORED = ROOT / "tests" / "fixtures" / "e223564" / "fixmatch"
STEP = "checkpoints/step-20"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of an earlier version, to be damaged."""
    return Path(shutil.copytree(STORED, tmp_path / "run"))


def signed(checkpoint: Path) -> Path:
    """The checkpoint's folder, its manifest made to fit: as somebody writes one who means harm."""
    files = [checkpoint / name for name in checkpoints.FILES]
    manifest = {
        path.name: {"bytes": path.stat().st_size, "crc32": f"{zlib.crc32(path.read_bytes()):08x}"}
        for path in files
        if path.is_file()
    }
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    return checkpoint


def loaded(path: Path) -> object:
    """`path`: of a file of a checkpoint."""
    return semisonic.load(signed(path.parent))


def resumed(path: Path) -> object:
    """What --resume does with a run's config.yaml first."""
    with refusals_told():  # as around every command
        cfg = resolve(["--resume", "--out", str(path.parent)])[1]
        check_same(cfg, path.parent, longer=True)
        return read_saved(path.parent)


def weights(path: Path) -> object:
    return pretrained.read(path)


def settings(path: Path) -> object:
    found, problems = read_settings((), path, [Entry("fixmatch", "fixmatch", {})])
    if problems:
        raise UserError(problems)
    return found


READERS: dict[str, Callable[[Path], object]] = {
    "status.json": lambda path: read_status(path.parent),
    "metrics.jsonl": read_metrics,
    "config.yaml": resumed,
    "checkpoints/latest": lambda path: checkpoints.load_checkpoint(path.parents[1]),
    f"{STEP}/state.json": loaded,
    f"{STEP}/model.safetensors": loaded,
    f"{STEP}/config.yaml": loaded,
    f"{STEP}/manifest.json": lambda path: checkpoints.load_checkpoint(path.parent),
    ".lock": lambda path: (refuse_if_held(path.parent), look(path) if path.is_file() else None),
    "user.yaml": lambda path: resolve(["--config", str(path)]),
    "settings.yaml": settings,
    "zero.json": lambda path: read_deepspeed(ParallelConfig(deepspeed=path)),
    "weights.pth": weights,
    "weights.safetensors": weights,
}
"""A file, and what reads it."""


def changed(name: str, **entries: Any) -> bytes:
    return json.dumps({**json.loads((STORED / name).read_text()), **entries}).encode()


def configured(text: str) -> bytes:
    return (STORED / "config.yaml").read_bytes() + text.encode()


def pickled(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


STATE, MODEL = f"{STEP}/state.json", f"{STEP}/model.safetensors"
SEEN: tuple[tuple[str, str, Content, str], ...] = (
    ("status.json", "a list", b"[]", "a list of 0; an object of named entries is needed"),
    ("status.json", "no step", b'{"status": "failed"}', "step: is missing"),
    ("status.json", "a step of another type", changed("status.json", step="3"), "step: '3': input should be a valid integer"),
    ("status.json", "empty", b"", "is empty"),
    ("status.json", "not UTF-8", b"\xff\xfe", "is not text in UTF-8 (byte 0)"),
    ("status.json", "a folder", FOLDER, "a folder, not a regular file"),
    ("status.json", "deep", b"[" * 10_000, "more than 64 sections and lists inside each other"),
    ("metrics.jsonl", "a word", b"step\n", "line 1: line 1: is not JSON (Expecting value)"),
    ("metrics.jsonl", "a number", b"3\n", "line 1: 3; an object of named entries is needed"),
    ("metrics.jsonl", "no step", b"{}\n", "line 1: step: is missing"),
    ("metrics.jsonl", "not UTF-8", b"\xff\n", "is not text in UTF-8 (byte 0)"),
    ("config.yaml", "empty", b"", "expected fields and sections, found NoneType"),
    ("config.yaml", "a list", b"- 1\n", "expected fields and sections, found list"),
    ("config.yaml", "deep", b"a: " + b"[" * 10_000, "more than 64 sections and lists inside each other"),
    ("config.yaml", "cut", b"a: {b", "is not YAML"),
    ("config.yaml", "a schema that is a word", b"schema: x\n", "schema 'x' is of another version than this one"),
    ("config.yaml", "steps that are a word", configured("steps: x\n"), "steps is given twice"),
    ("config.yaml", "not UTF-8", b"\xff", "is not text in UTF-8 (byte 0)"),
    ("config.yaml", "a record of nothing", configured("content: 3\n"), "content is given twice"),
    ("checkpoints/latest", "a folder", FOLDER, "is damaged"),
    ("checkpoints/latest", "bytes", b"\xff\0", "is damaged"),
    ("checkpoints/latest", "a path", b"../../../etc", "names ../../../etc, which is not there"),
    (STATE, "no format", b"{}", "has no format, this version reads 2"),
    (STATE, "a format of another type", b'{"format": [2]}', "checkpoint format a list of 1, this version reads 2"),
    (STATE, "a list", b"[]", "a list of 0; an object of named entries is needed"),
    (STATE, "no classes", b'{"format": 2}', "and 8 more mistakes"),
    (STATE, "a mean of nan", changed(STATE, mean=[float("nan")] * 3), "mean.0: nan: input should be a finite number"),
    (STATE, "a deviation of zero", changed(STATE, std=[0, 0, 0]), "std.0: 0: input should be greater than 0"),
    (STATE, "a negative deviation", changed(STATE, std=[-1, 1, 1]), "std.0: -1: input should be greater than 0"),
    (STATE, "two channels", changed(STATE, mean=[0, 0]), "mean: a list of 2: list should have at least 3 items"),
    (STATE, "a class twice", changed(STATE, classes=["a"] * 10), "classes: a is in it twice"),
    (STATE, "a class without a name", changed(STATE, classes=["", "b"]), "classes: number 0 has no name"),
    (STATE, "classes that are a word", changed(STATE, classes="abc"), "classes: 'abc': input should be a valid list"),
    (STATE, "other classes", changed(STATE, classes=["a", "b"]), "of another shape: head.bias ([10], not [2])"),
    (STATE, "a size of nothing", changed(STATE, image_size=0), "image_size: 0: input should be greater than or equal to 1"),
    (STATE, "a size that is a word", changed(STATE, image_size="16"), "image_size: '16': input should be a valid integer"),
    (STATE, "no network", changed(STATE, model=None), "model: null; an object of named entries is needed"),
    (STATE, "an unknown network", changed(STATE, model={"name": "x"}), "model.name: no network x"),
    (STATE, "a giant network", changed(STATE, model={"name": "wrn-28-64"}), "the checkpoint lacks"),
    (STATE, "no view", changed(STATE, preprocess={}), "preprocess.view: is missing"),
    (STATE, "a history of words", changed(STATE, history=["x"]), "history.0: 'x': input should be a valid dictionary"),
    (MODEL, "a length of 2^60", b"\0" * 7 + b"\x10{}", "is no safetensors file (a header of 1,152,921,504,606,846,976"),
    (MODEL, "empty", b"", "is no safetensors file (a header of 0 bytes in a file of 0)"),
    (MODEL, "no tensors", b"\x02" + b"\0" * 7 + b"{}", "the checkpoint holds no ema weights"),
    (f"{STEP}/config.yaml", "not UTF-8", b"\xff", "is not text in UTF-8 (byte 0)"),
    (f"{STEP}/manifest.json", "a list", b"[]", "not a readable checkpoint (manifest.json: a list of 0; an object of named"),
    (f"{STEP}/manifest.json", "bytes of a word", b'{"model.safetensors": 3}', "manifest.json: model.safetensors: 3; an object"),
    ("user.yaml", "deep", b"[" * 10_000, "more than 64 sections and lists inside each other"),
    ("user.yaml", "twice", b"seed: 1\nseed: 2\n", "line 2: seed is given twice"),
    ("user.yaml", "a folder", FOLDER, "a folder, not a regular file"),
    ("user.yaml", "no date", b"out: 2001-99-99\nseed: x\n", "seed: 'x' is not valid"),
    ("settings.yaml", "deep", b"[" * 10_000, "more than 64 sections and lists inside each other"),
    ("zero.json", "not UTF-8", b"\xff", "is not text in UTF-8 (byte 0)"),
    ("zero.json", "deep", b"[" * 10_000, "more than 64 sections and lists inside each other"),
    ("weights.pth", "a class", pickled(Path("x")), "is no file of weights that can be read; save a state dict with"),
    ("weights.pth", "a number", pickled({3: torch.zeros(1)}), "3 is no name of a tensor"),
    ("weights.pth", "a list", pickled([torch.zeros(1)]), "must hold a state dict, names with a tensor each"),
    ("weights.pth", "bytes", b"\x80\x02x", "is no file of weights that can be read"),
    ("weights.safetensors", "a length of 2^60", b"\0" * 7 + b"\x10{}", "is no safetensors file"),
)  # fmt: skip
"""(file, kind of content, content, what the line says of it)."""


@pytest.mark.parametrize(
    ("name", "kind", "content", "message"), SEEN, ids=[f"{name}-{kind}" for name, kind, *_ in SEEN]
)
def test_content_that_was_once_a_traceback_is_a_line(run: Path, name: str, kind: str, content: Content, message: str):
    place(run / name, content)
    error = check_refusal(lambda: READERS[name](run / name), "")
    assert error is not None and any(message in line for line in error.messages), error


def contents() -> dict[str, Any]:
    """What is tried in the place of each file."""
    config = json.loads(json.dumps(read_saved(STORED).fields)) | {"schema": 1}
    state = json.loads((STORED / STATE).read_text())
    model = (STORED / MODEL).read_bytes()
    holder = {"host": "h", "pid": 1, "started": "now", "boot": "b", "numbers": "n", "ticks": 3, "token": "t"}
    return {
        "status.json": json_files(json.loads((STORED / "status.json").read_text())),
        "metrics.jsonl": damaged((STORED / "metrics.jsonl").read_bytes()),
        "config.yaml": yaml_files(config),
        "checkpoints/latest": odd_files(b"step-20\n"),
        STATE: json_files({**state, "history": state["history"][:1]}),
        MODEL: odd_files(model),
        f"{STEP}/config.yaml": odd_files((STORED / STEP / "config.yaml").read_bytes()),
        f"{STEP}/manifest.json": json_files(json.loads((STORED / STEP / "manifest.json").read_text())),
        ".lock": json_files(holder),
        "user.yaml": yaml_files({"seed": 1, "data": {"name": "digits", "labels": 40}, "optim": "sgd"}),
        "settings.yaml": yaml_files({"fixmatch": {"threshold": 0.9, "optim": {"lr": 0.1}}}),
        "zero.json": json_files({"zero_optimization": {"stage": 2}, "train_batch_size": 3}),
        "weights.pth": odd_files(pickled({"conv1.weight": torch.zeros(2, 3)})),
        "weights.safetensors": odd_files(model[:2000]),
    }


@INPUTS
@pytest.mark.parametrize("name", READERS)
def test_no_content_is_a_traceback(run: Path, name: str, inputs: int):
    stored = STORED / name
    kept = inputs * stored.stat().st_size / 1e6 if stored.is_file() else 0.0  # by hypothesis, of what it has made
    attack(READERS[name], run / name, contents()[name], inputs, megabytes=256 + kept, named="")


def test_a_run_that_is_as_it_was_is_read(run: Path):
    for name in ("status.json", "metrics.jsonl", "config.yaml", "checkpoints/latest", STATE, MODEL):
        READERS[name](run / name)
    with pytest.raises(UserError, match="No such file or directory"):
        READERS["user.yaml"](run / "user.yaml")
