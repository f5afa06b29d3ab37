"""What the files that a run writes hold: a class for each, with bounds, and words on every entry.

`records.schemas` reads the files by them. The string below an entry is what the site's page on file formats shows.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from semisonic.records.reading import first_repeated, shown
from semisonic.text import name_of

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


def figures(entry: dict[str, Any]) -> dict[str, Any]:
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
Figures = Annotated[dict[str, Any], AfterValidator(figures)]
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
    """`running`, `finished`, `stopped` or `failed`."""
    step: Count
    """Finished steps."""
    steps: Count
    """Steps of the whole run."""
    reason: str | None = None
    """Why it was stopped or has failed."""
    exit_code: Annotated[int, Field(ge=-255, le=255)] | None = None
    """What its process ended with; null while it runs."""
    pid: Count | None = None
    """Number of the process that wrote it."""


Percent = Annotated[Number, Field(ge=0, le=100)]


class PseudoLabels(Record):
    """Of a summary."""

    coverage: Number | None = None
    """Share of the unlabeled images whose pseudo-labels counted, 0 to 1."""
    pseudo_label_precision: Number | None = None
    """Share of these that were right, 0 to 1, where the truth is known."""
    collapsed_classes: list[Any] = []
    """Names of the collapsed classes."""


class Chosen(Record):
    """The checkpoint that the held-out images choose."""

    step: Count
    """The step whose accuracy on the held-out images was highest."""
    test_top1: Percent | None
    """Accuracy on the test images at that step, in percent."""


_MISSING: Any = None
"""Default of an entry that may be missing, and is never null."""


class Frozen(Record):
    """A baseline on frozen features: accuracies, or an error."""

    test_top1: Percent = _MISSING
    """Accuracy on the test images, in percent."""
    held_out_top1: Percent = _MISSING
    """Accuracy on the held-out images, in percent."""
    error: str = _MISSING
    """Why there is none."""
    pseudo_label_precision: list[Percent | None] = _MISSING
    """Of self-training: percent of the pseudo-labels of each round that were right."""
    seconds: Annotated[Number, Field(ge=0)]
    """What it took."""


class FrozenReport(Record):
    """frozen.json, and `frozen` of a summary. A baseline that had nothing to do is not in it."""

    network: Name
    """Name of the network."""
    weights: Name
    """What it started from, or `random`."""
    neighbors: Frozen = _MISSING
    """Nearest neighbors among the labeled images."""
    logistic: Frozen = _MISSING
    """Logistic regression on the labeled images."""
    self_training: Frozen = _MISSING
    """The same with pseudo-labels, in rounds."""
    features_seconds: Annotated[Number, Field(ge=0)]
    """What the features took."""
    seconds: Annotated[Number, Field(ge=0)] = 0.0
    """What all of it took."""


class Summary(Record):
    """summary.json."""

    algorithm: Name
    """Name of the method."""
    step: Count
    """Finished steps."""
    labels: Count
    """Labeled images, without the held-out ones."""
    seed: int
    """Of the split, the weights and the batches."""
    test_top1: Percent | None
    """Accuracy of the average (EMA) on the test images after the last step, in percent; null without test images."""
    test_top1_interval: Annotated[list[Percent], Field(min_length=2, max_length=2)] | None = None
    """Its 95 % interval, where there are fewer than 1,000 test images."""
    test_top1_raw: Percent | None
    """Accuracy of the raw weights, in percent."""
    test_top1_last20_median: Percent | None
    """Median of the last 20 evaluations past all ramps, in percent; null where there are fewer."""
    test_by_class: dict[str, Percent] | None = None
    """Where classes differ in their numbers of images: `balanced`, `gm`, `many`, `medium`, `few`, in percent."""
    evaluations_past_ramps: Count = 0
    """Evaluations after the end of all ramps."""
    wall_seconds: Annotated[Number, Field(ge=0)]
    """Of training and evaluation, over all starts of the run."""
    start_up: dict[str, dict[str, Number]] = {}
    """Of each stage of the last start: `seconds` and `cpu_seconds`."""
    images_per_second: Annotated[Number, Field(ge=0)]
    """Labeled and unlabeled images a second of all ranks together, the median over the run."""
    peak_memory_bytes: Annotated[Number, Field(ge=0)] | None = None
    """Of the first rank's GPU; without one, of its process."""
    data_wait: Number | None = None
    """Share of the time in which the training waited for images, 0 to 1."""
    versions: dict[str, str | None] = {}
    """Package: version."""
    hardware: str | None = None
    """Name of the GPU, or else of the CPU."""
    cpu_threads: Count | None = None
    """Of a rank."""
    pseudo_labels: PseudoLabels | None = None
    """At the last reading; none where a method makes no pseudo-labels."""
    baseline: "Summary | None" = None
    """The same of the supervised baseline."""
    frozen: FrozenReport | None = None
    """Baselines on frozen features."""
    held_out_selected: Chosen | None = None
    """What the held-out images choose."""


class Preprocess(Record):
    view: Literal["plain", "whole"]
    """`plain`: image files, scaled to the size; `whole`: images in memory, which have it."""
    border: Annotated[int, Field(ge=0, le=2**14)]
    """Pixels of black around the image itself."""
    pad: Annotated[int, Field(ge=0, le=2**14)] | None = None
    """Pixels by which weak views may be moved; null: they are cut out of the file. Version 0.1.0 did not say it."""
    flip: bool | None = None
    """Whether weak views are mirrored at random. Version 0.1.0 did not say it."""
    crop_area: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Least share of a file that a weak view shows."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How files are scaled."""
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    """Side of the square in the middle that evaluations see, over the file's shorter side; null: all of it."""
    shown_for: Name | None = None
    """Whose mean and deviations these are, where the starting weights expect their own."""


class Head(Record):
    raw: Name
    """Name of the head of the raw weights among the tensors."""
    ema: Name
    """Name of that of the average."""
    offset: list[Number] | None = None
    """What is added to the logits, by class."""


class Network(Record):
    name: Name
    """As `model.name`."""
    fingerprint: str | None = None
    """Of a network that was given in Python, by which it is known again."""
    tune: str | None = None
    """As `model.tune`."""
    lora_rank: Annotated[int, Field(ge=1, le=1024)] = 1
    """As `model.lora_rank`."""
    lora_alpha: Annotated[Number, Field(gt=0, le=1e6)] | None = None
    """As `model.lora_alpha`."""


class Scaler(Record):
    """Of fp16's loss scale, of one role: all of it, or nothing where there was none."""

    scale: Annotated[Number, Field(gt=0, le=3.4e38)] = 1.0
    """Factor of the loss."""
    growth_factor: Annotated[Number, Field(gt=1, le=2**16)] = 2.0
    """By which it grows."""
    backoff_factor: Annotated[Number, Field(gt=0, lt=1)] = 0.5
    """By which it shrinks after a step that was not finite."""
    growth_interval: Annotated[int, Field(ge=1, lt=2**31)] = 2000
    """Finite steps after which it grows."""
    growth_tracker: Annotated[int, Field(ge=0, lt=2**31, alias="_growth_tracker")] = 0
    """Finite steps since the last change."""


class State(Record):
    """state.json of a checkpoint: where the run stood, and what it takes to use its network."""

    format: int
    """Number of the checkpoint's format."""
    version: str | None = None
    """Of Semisonic."""
    config_schema: Annotated[Count, Field(alias="schema")] = 0
    """Of config.yaml."""
    step: Count
    """Finished steps."""
    elapsed: Annotated[Number, Field(ge=0)]
    """Seconds of training and evaluation up to here."""
    world_size: Annotated[int, Field(ge=1, le=2**20)]
    """Ranks that wrote it."""
    split: Annotated[str, Field(max_length=256)]
    """SHA-256 of the split."""
    data: dict[str, str] | None = None
    """Fingerprint of the images: a BLAKE2b-128 hash of each part."""
    history: list[Figures]
    """Every evaluation, with the names of metrics.jsonl."""
    scaler: dict[str, Scaler]
    """Role of a network: state of the loss scale; empty where there is none."""
    meter: dict[str, Annotated[int, Field(ge=0, le=2**20)] | None] = {}
    """Training metric: its length, or null for a number. The sums are in optimizer.safetensors."""
    classes: Classes
    """Names of the classes, in their order."""
    labeled_counts: list[Count] | None = None
    """Labeled images of each class."""
    image_size: Annotated[int, Field(ge=1, le=2**14)]
    """Side of the images in pixels."""
    preprocess: Preprocess
    """How images come to the network."""
    mean: Channels
    """Of the pixels, 0 to 1, for red, green and blue."""
    std: Deviations
    """Their standard deviations."""
    algorithm: Name
    """Name of the method."""
    head: Head | None = None
    """Where a method puts a head in the network's place, or adds to its logits."""
    model: Network
    """All fields of the section `model`; of these:"""
    shared: list[Name] = []
    """Tensors of the network that are written once, as the EMA's: they are never trained."""
    weights: dict[Name, Annotated[str, Field(max_length=4096)]] | None = None
    """What the network started from."""


class Info(Record):
    """`info` in the state of a step that is kept."""

    classes: Annotated[int, Field(ge=1, le=2**20)]
    """Number of classes."""
    image_size: Annotated[int, Field(ge=1, le=2**14)]
    """Side of the images in pixels."""
    labeled: Count
    """Labeled images."""
    unlabeled: Count
    """Unlabeled images."""
    steps: Count
    """Steps of the run."""
    labeled_batch: Count
    """Labeled images of a step, of all ranks."""
    unlabeled_batch: Count
    """Unlabeled images of a step, of all ranks."""
    class_prior: list[Number]
    """Share of each class among the labeled images."""
    mean: Channels
    """Of the pixels."""
    std: Deviations
    """Their standard deviations."""


class Lock(Record):
    """.lock: the process that holds a folder."""

    host: Annotated[str, Field(max_length=1024)]
    """Name of the machine."""
    pid: Annotated[int, Field(ge=1, le=2**32)]
    """Number of the process."""
    started: Annotated[str, Field(max_length=64)]
    """When, for people."""
    boot: Annotated[str, Field(max_length=256)]
    """Which start of the machine, so that a number of a process is no other's."""
    numbers: Annotated[str, Field(max_length=256)]
    """The machine's space of process numbers, as containers have their own."""
    ticks: Annotated[int, Field(ge=-1, lt=2**63)]
    """When the process began, in the kernel's ticks; -1: not known."""
    token: Annotated[str, Field(max_length=64)]
    """Random: no two owners have the same."""


class Written(Record):
    """Of a file of a checkpoint."""

    bytes: Count
    """Size of the file."""
    crc32: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    """Checksum of the file."""


class Change(Record):
    """A change of a run's length: the step at which it was made, and the numbers of steps before and after."""

    from_: Annotated[Count, Field(alias="from")]
    """Step at which the length was changed."""
    steps: Annotated[list[Count], Field(min_length=2, max_length=2)]
    """Steps of the run before, and from then on."""


class Notes(Record):
    """The entries of config.yaml that are no fields."""

    content: dict[str, str | dict[str, str]] | None = None
    """SHA-256 of each file that a field names, and `data`: the fingerprint of the images."""
    extended: list[Change] = []
    """Changes of the run's length."""
