"""What the files that a run writes may hold: a class for each, with bounds.

Who reads one of them goes through the function of its name here, and gets what the file holds as a dict: nothing is
converted, filled in or left out. Entries that a class does not name are those of later versions, or of the figures that
a method reports, and are kept. Entries of earlier versions are those that may be missing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from semisonic.records.reading import (
    MEGABYTE,
    decoded,
    field_of,
    first_repeated,
    lines_of,
    parse_json,
    read_json,
    shown,
)
from semisonic.schema import UserError
from semisonic.text import name_of

LINES = 5
"""Mistakes of a file that are told; of more, how many there are."""
STATE, METRICS = 256 * MEGABYTE, 4096 * MEGABYTE
"""Limits of files that grow with a run: the history of evaluations, and the metrics."""

LEAST_DEVIATION = 1e-12
"""Of pixels from 0 to 1."""

Count = Annotated[int, Field(ge=0, lt=2**53)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=4096)]


def _classes(names: list[str]) -> list[str]:
    if empty := [place for place, name in enumerate(names) if not name.strip()]:
        raise PydanticCustomError("empty_class", "number {number} has no name", {"number": empty[0]})
    if (twice := first_repeated(names)) is not None:
        raise PydanticCustomError("class_twice", "{name} is in it twice", {"name": name_of(twice)})
    return names


def _figures(entry: dict[str, Any]) -> dict[str, Any]:
    """Numbers, lists of them, and words: those that are not finite are as earlier versions wrote them."""
    step = entry.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 2**53:
        problem = "is missing" if "step" not in entry else f"{shown(step)} is no step"
        raise PydanticCustomError("no_step", "step: {problem}", {"problem": problem})
    for name, value in entry.items():
        parts = value if isinstance(value, list) else [value]
        if not all(part is None or isinstance(part, int | float | str) for part in parts):
            raise PydanticCustomError("no_figure", "{name}: no number", {"name": name_of(name)})
    return entry


def _deviation(value: float) -> float:
    """One that float32 can divide by, and what comes of it can be multiplied."""
    if value < LEAST_DEVIATION:
        raise PydanticCustomError("no_deviation", "input should be at least {least}", {"least": LEAST_DEVIATION})
    return value


Classes = Annotated[list[str], Field(min_length=1, max_length=2**20), AfterValidator(_classes)]
Figures = Annotated[dict[str, Any], AfterValidator(_figures)]
Channels = Annotated[list[Annotated[Number, Field(ge=-1e6, le=1e6)]], Field(min_length=3, max_length=3)]
Deviations = Annotated[
    list[Annotated[Number, Field(gt=0, le=1e6), AfterValidator(_deviation)]], Field(min_length=3, max_length=3)
]


class Record(BaseModel):
    """Base of what a file may hold: exact types, bounded values."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, protected_namespaces=())


class Status(Record):
    """status.json."""

    status: Annotated[str, Field(min_length=1, max_length=64)]
    step: Count
    steps: Count
    reason: str | None = None
    exit_code: Annotated[int, Field(ge=-255, le=255)] | None = None
    pid: Count | None = None


Percent = Annotated[Number, Field(ge=0, le=100)]


class PseudoLabels(Record):
    """Of a summary."""

    coverage: Number | None = None
    pseudo_label_precision: Number | None = None
    collapsed_classes: list[Any] = []


class Chosen(Record):
    """The checkpoint that the held-out images choose."""

    step: Count
    test_top1: Percent | None


_MISSING: Any = None
"""Default of an entry that may be missing, and is never null."""


class Frozen(Record):
    """A baseline on frozen features: accuracies, or an error."""

    test_top1: Percent = _MISSING
    held_out_top1: Percent = _MISSING
    error: str = _MISSING
    pseudo_label_precision: list[Percent | None] = _MISSING
    seconds: Annotated[Number, Field(ge=0)]


class FrozenReport(Record):
    """frozen.json, and `frozen` of a summary. A baseline that had nothing to do is not in it."""

    network: Name
    weights: Name
    neighbors: Frozen = _MISSING
    logistic: Frozen = _MISSING
    self_training: Frozen = _MISSING
    features_seconds: Annotated[Number, Field(ge=0)]
    seconds: Annotated[Number, Field(ge=0)] = 0.0


class Summary(Record):
    """summary.json."""

    algorithm: Name
    step: Count
    labels: Count
    seed: int
    test_top1: Percent | None
    test_top1_interval: Annotated[list[Percent], Field(min_length=2, max_length=2)] | None = None
    test_top1_raw: Percent | None
    test_top1_last20_median: Percent | None
    test_by_class: dict[str, Percent] | None = None
    evaluations_past_ramps: Count = 0
    wall_seconds: Annotated[Number, Field(ge=0)]
    start_up: dict[str, dict[str, Number]] = {}
    images_per_second: Annotated[Number, Field(ge=0)]
    peak_memory_bytes: Annotated[Number, Field(ge=0)] | None = None
    data_wait: Number | None = None
    versions: dict[str, str | None] = {}
    hardware: str | None = None
    cpu_threads: Count | None = None
    pseudo_labels: PseudoLabels | None = None
    baseline: "Summary | None" = None
    frozen: FrozenReport | None = None
    held_out_selected: Chosen | None = None


class Preprocess(Record):
    view: Literal["plain", "whole"]
    border: Annotated[int, Field(ge=0, le=2**14)]
    pad: Annotated[int, Field(ge=0, le=2**14)] | None = None
    """Version 0.1.0 said neither this nor the next."""
    flip: bool | None = None
    crop_area: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Versions before schema 3 did not say it."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Versions before schema 4 said neither this nor the next two."""
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    shown_for: Name | None = None


class Head(Record):
    raw: Name
    ema: Name
    offset: list[Number] | None = None


class Network(Record):
    name: Name
    fingerprint: str | None = None
    tune: str | None = None
    lora_rank: Annotated[int, Field(ge=1, le=1024)] = 1
    lora_alpha: Annotated[Number, Field(gt=0, le=1e6)] | None = None


class Scaler(Record):
    """Of fp16's loss scale, of one role: all of it, or nothing where there was none."""

    scale: Annotated[Number, Field(gt=0, le=3.4e38)] = 1.0
    growth_factor: Annotated[Number, Field(gt=1, le=2**16)] = 2.0
    backoff_factor: Annotated[Number, Field(gt=0, lt=1)] = 0.5
    growth_interval: Annotated[int, Field(ge=1, lt=2**31)] = 2000
    growth_tracker: Annotated[int, Field(ge=0, lt=2**31, alias="_growth_tracker")] = 0


class State(Record):
    """state.json of a checkpoint: where the run stood, and what it takes to use its network."""

    format: int
    version: str | None = None
    config_schema: Annotated[Count, Field(alias="schema")] = 0
    step: Count
    elapsed: Annotated[Number, Field(ge=0)]
    world_size: Annotated[int, Field(ge=1, le=2**20)]
    split: Annotated[str, Field(max_length=256)]
    data: dict[str, str] | None = None
    history: list[Figures]
    scaler: dict[str, Scaler]
    meter: dict[str, Annotated[int, Field(ge=0, le=2**20)] | None] = {}
    classes: Classes
    labeled_counts: list[Count] | None = None
    image_size: Annotated[int, Field(ge=1, le=2**14)]
    preprocess: Preprocess
    mean: Channels
    std: Deviations
    algorithm: Name
    head: Head | None = None
    model: Network
    shared: list[Name] = []
    """Tensors of the network that are written once, as the EMA's: they are never trained."""
    weights: dict[Name, Annotated[str, Field(max_length=4096)]] | None = None
    """What the network started from."""


class Info(Record):
    """`info` in the state of a step that is kept."""

    classes: Annotated[int, Field(ge=1, le=2**20)]
    image_size: Annotated[int, Field(ge=1, le=2**14)]
    labeled: Count
    unlabeled: Count
    steps: Count
    labeled_batch: Count
    unlabeled_batch: Count
    class_prior: list[Number]
    mean: Channels
    std: Deviations


class Lock(Record):
    """.lock: the process that holds a folder."""

    host: Annotated[str, Field(max_length=1024)]
    pid: Annotated[int, Field(ge=1, le=2**32)]
    started: Annotated[str, Field(max_length=64)]
    boot: Annotated[str, Field(max_length=256)]
    numbers: Annotated[str, Field(max_length=256)]
    ticks: Annotated[int, Field(ge=-1, lt=2**63)]
    token: Annotated[str, Field(max_length=64)]


class Written(Record):
    """Of a file of a checkpoint."""

    bytes: Count
    crc32: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]


class Change(Record):
    """A change of a run's length: the step at which it was made, and the numbers of steps before and after."""

    from_: Annotated[Count, Field(alias="from")]
    steps: Annotated[list[Count], Field(min_length=2, max_length=2)]


class Notes(Record):
    """The entries of config.yaml that are no fields."""

    content: dict[str, str | dict[str, str]] | None = None
    extended: list[Change] = []


M = TypeVar("M", bound=BaseModel)


def status(path: Path) -> dict[str, Any]:
    """What a status.json holds. Raises `UserError`, as all of these functions do."""
    return checked(Status, read_json(path), str(path))


def summary(path: Path) -> dict[str, Any]:
    """What a summary.json holds."""
    return checked(Summary, read_json(path, 64 * MEGABYTE), str(path))


def frozen(path: Path) -> dict[str, Any]:
    """What a frozen.json holds."""
    return checked(FrozenReport, read_json(path, MEGABYTE), str(path))


def state(path: Path) -> dict[str, Any]:
    """What the state.json of a checkpoint holds, of whatever format."""
    return _object(read_json(path, STATE), str(path))


def manifest(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """The manifest.json of a checkpoint, which has an entry for each of these names."""
    content = _object(read_json(path), str(path))
    for name in names:
        checked(Written, content.get(name), f"{path}: {name}")
    return content


def lock(content: bytes) -> dict[str, Any]:
    """What the content of a .lock says."""
    return checked(Lock, parse_json(decoded(content, ".lock"), ".lock"), ".lock")


def metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, under the names that they were written with; a last half line is left out."""
    return lines_of(path, METRICS, metrics_line)


def metrics_line(line: str, name: str) -> dict[str, Any]:
    """One of these lines; `name`: where it is, for messages."""
    content = _object(parse_json(line, name), name)
    try:
        return _figures(content)
    except PydanticCustomError as error:
        raise UserError(f"{name}: {error}") from error


def checked(model: type[M], content: Any, name: str) -> dict[str, Any]:
    """Content as it is, which `model` accepts. Raises `UserError` with a line for each of the first mistakes."""
    content = _object(content, name)
    try:
        model.model_validate(content)
    except ValidationError as error:
        raise UserError(mistakes(error, name)) from error
    return content


def mistakes(error: ValidationError, name: str) -> list[str]:
    """A line for each of the first mistakes of a file."""
    found = error.errors(include_url=False)
    lines = list(dict.fromkeys(f"{name}: {field_of(_place(item['loc']))}: {_said(item)}" for item in found))
    return lines[:LINES] + ([f"{name}: and {len(lines) - LINES} more mistakes"] if len(lines) > LINES else [])


def _object(content: Any, name: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise UserError(f"{name}: {shown(content)}; an object of named entries is needed")
    return content


def _place(loc: Sequence[int | str]) -> list[Any]:
    """Where a mistake is, without pydantic's names of the types that a value may have."""
    # Aliases stand as they are in the file; names of union members have brackets or are those of types.
    return [part for part in loc if not isinstance(part, str) or not (part in _TYPES or "[" in part)]


_TYPES = frozenset({"int", "float", "str", "none", "PseudoLabels", "Head", "Chosen", "Summary"})


def _said(item: Any) -> str:
    """What is wrong with a value, and which it is."""
    if item["type"] == "missing":
        return "is missing"
    if item["type"] == "model_type":
        return f"{shown(item['input'])}; an object of named entries is needed"
    message = item["msg"][:1].lower() + item["msg"][1:]
    custom = item["type"] in ("empty_class", "class_twice", "no_step", "no_figure")
    return name_of(message) if custom else f"{shown(item['input'])}: {name_of(message)}"
