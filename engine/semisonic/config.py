"""The configuration of a run: its fields, and which combinations of them are impossible."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import torch
import yaml
from pydantic import Field

from semisonic import parallel
from semisonic.algorithms import ctaugment
from semisonic.algorithms.auxiliary import AuxiliaryConfig, with_auxiliary
from semisonic.algorithms.auxiliary import check as check_auxiliary
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.data import augment, sources
from semisonic.data.calls import CALLS_AHEAD, steps_per_call
from semisonic.models import ModelConfig, blocks
from semisonic.models import check as check_model
from semisonic.models.ema import EmaConfig
from semisonic.optim import OptimConfig
from semisonic.parallel import ParallelConfig
from semisonic.schema import Config, UserError

if TYPE_CHECKING:
    AlgorithmConfig = Any
else:
    AlgorithmConfig = Annotated[
        Union[tuple(algorithm.Config for algorithm in ALGORITHMS.values())],  # noqa: UP007
        Field(discriminator="name"),
    ]


class BatchConfig(Config):
    labelled: int = Field(64, ge=1)
    """Labelled images of a step, over all ranks together."""
    unlabelled_ratio: int | float = Field(7, ge=1)
    """Unlabelled images of a step for each labelled one (mu); as 2.5, where that makes a whole number of images."""
    micro: int = Field(1, ge=1)
    """Micro-batches a step is split into (gradient accumulation); each takes its share of all streams."""
    fit: bool = True
    """On a GPU, try the largest step before the run starts and raise `micro` until it fits. False = end with an error
    where it does not fit."""

    @property
    def unlabelled(self) -> int:
        """Unlabelled images of a step, over all ranks together."""
        return round(self.labelled * self.unlabelled_ratio)


class EvalConfig(Config):
    every: int = Field(1024, ge=1)
    """Steps between evaluations."""
    batch: int = Field(256, ge=1)
    """Images of a rank in one evaluation forward."""


class LogConfig(Config):
    every: int = Field(50, ge=1)
    """Steps between lines of metrics.jsonl; the only moments at which the host waits for the device."""
    trackers: tuple[str, ...] = ("tensorboard",)
    """Trackers of Accelerate to log to: tensorboard, wandb, mlflow, ..."""
    collapse: float = Field(0.1, ge=0, lt=0.5)
    """A class that gets less than this part of its share among the pseudo-labels that count has collapsed, which is
    printed and logged. Its share is that among the labelled images. 0 = no such alarm."""
    collapse_coverage: float = Field(0.3, ge=0, le=1)
    """Share of the unlabelled images that must get a pseudo-label before collapsed classes are looked for."""


class CheckpointConfig(Config):
    every: int = Field(1024, ge=1)
    """Steps between checkpoints; the last step and, with held-out images, each new best write one too."""
    keep: int = Field(2, ge=1)
    """Newest checkpoints that are kept, beside the one that the held-out images choose."""


class HealthConfig(Config):
    heartbeat: float = Field(20, ge=2)
    """Seconds without a sign of life after which a rank counts as lost and the job ends."""
    progress: float = Field(900, ge=2)
    """Seconds without a finished step, slice of an evaluation or checkpoint after which a rank counts as stuck."""
    compare_every: int = Field(1000, ge=1)
    """Steps between comparisons of the ranks' parameters and state; each checkpoint is preceded by one as well."""


class RunConfig(Config):
    """One run. Sections are given as --section.field VALUE, and a section's name as --section NAME."""

    out: Path | None = None
    """Folder of the run; default runs/DATA-ALGORITHM-LABELS-seedS."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of split, initialisation, order and augmentation."""
    steps: int = Field(2**20, ge=1)
    """Optimiser steps."""
    baseline: bool = False
    """First train the supervised baseline on the same labels for as many steps, into OUT/supervised, and compare."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto = cuda where there is a GPU."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Autocast of the network; weights, statistics and losses stay in fp32. On a GPU, fp32 means
    TF32 products."""
    compile: Literal["auto", "whole", "blocks", "off"] = "auto"
    """whole = forward and loss as one graph. blocks = each residual block as a graph of its own, shared by blocks of
    equal structure: large networks compile sooner, and their gradients are reduced over the ranks while the backward
    goes on. auto = whole on a GPU, off on the CPU, where short runs lose by it. Evaluation is never compiled."""
    recompute: bool = False
    """Activation checkpointing: keep only the input of each residual block for the backward, which runs the block's
    forward again. Less memory for up to a third more time; same arithmetic, random numbers and running statistics.
    For Wide ResNets, Shake-Shake and torchvision's networks made of such blocks."""
    kernels: Literal["fused", "reference"] = "fused"
    """reference = losses, SGD and EMA in plain torch, RandAugment as DALI operators: what the fast path is checked
    against. fused = the fused ones; losses inside the graph with compile=whole, compiled by themselves with
    compile=blocks, and in plain torch with compile=off."""
    replay: Literal["auto", "step", "backward", "off"] = "auto"
    """CUDA-graph replay: of the whole step (one process), or of forward and backward (several). auto = step in one
    GPU process, off elsewhere and for methods with several optimisers. Not to be replayed: fp16, which checks its
    gradients on the host, and recompute of blocks that draw random numbers (efficientnets' stochastic depth,
    Shake-Shake)."""
    deterministic: bool = False
    """Only deterministic GPU kernels, so that a resumed GPU run is equal bit for bit; the CPU always is."""
    threads: int = Field(0, ge=0)
    """CPU threads of a rank, for DALI and, on the CPU, for torch; 0 = its share of the cores."""
    max_hours: float | None = Field(None, gt=0)
    """Write a checkpoint and end this process after so many hours; --resume continues."""
    init: Path | None = None
    """Start from the EMA weights of a checkpoint; what does not fit is reported."""
    data: sources.DataConfig = sources.DataConfig()
    batch: BatchConfig = BatchConfig()
    model: ModelConfig = ModelConfig()
    algorithm: AlgorithmConfig = ALGORITHMS["fixmatch"].Config()
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    optim: OptimConfig = OptimConfig()
    ema: EmaConfig = EmaConfig()
    eval: EvalConfig = EvalConfig()
    log: LogConfig = LogConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    parallel: ParallelConfig = ParallelConfig()
    health: HealthConfig = HealthConfig()

    @property
    def folder(self) -> Path:
        labels = "all" if self.data.labels is None else self.data.labels
        return self.out or Path("runs") / f"{self.data.name}-{self.algorithm.name}-{labels}-seed{self.seed}"

    @property
    def algorithm_class(self) -> type[Algorithm]:
        """The algorithm, with the auxiliary losses that have a weight, and the probe of a learned augmentation."""
        kind = with_auxiliary(ALGORITHMS[self.algorithm.name], self.auxiliary)
        return ctaugment.probing(kind, self.algorithm, self.data.ctaugment_lag)

    @property
    def torch_device(self) -> str:
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device

    @property
    def compiled(self) -> bool:
        return self.graphs != "off"

    @property
    def graphs(self) -> str:
        """What is compiled: whole, blocks or off."""
        if self.compile == "auto":
            return "whole" if self.torch_device == "cuda" and self.zero_stage != 3 else "off"
        return self.compile

    @property
    def zero_stage(self) -> int:
        """Stage of DeepSpeed's ZeRO; 0 without DeepSpeed, or with a file that `check` refuses."""
        try:
            return parallel.zero_stage(parallel.read_deepspeed(self.parallel))
        except UserError:
            return 0

    @property
    def loading(self) -> sources.DataConfig:
        """`data` with its choice of where RandAugment's operations run."""
        where = self.data.operations
        if where == "auto":
            where = "dali" if self.kernels == "reference" else "kernel"
        return self.data.model_copy(update={"operations": where})

    @property
    def replayed(self) -> str:
        """What is replayed: step, backward or off."""
        alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
        if self.replay == "auto":
            fits = self.precision != "fp16" and not (self.recompute and blocks.draws(self.model.name))
            fits = fits and alone and not self.zero_stage and ALGORITHMS[self.algorithm.name].roles == ("network",)
            return "step" if self.torch_device == "cuda" and fits else "off"
        return self.replay

    @property
    def autocast(self) -> torch.dtype | None:
        return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    def dump(self) -> str:
        """YAML that `--config` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def supervised_baseline(self) -> "RunConfig":
        """The same run without unlabelled images."""
        cfg = ALGORITHMS["supervised"].Config()
        changes = {"algorithm": cfg, "auxiliary": AuxiliaryConfig(), "baseline": False}
        return self.model_copy(update={**changes, "out": self.folder / "supervised"})


def check(cfg: RunConfig) -> list[str]:
    """Impossible combinations, one line each. Reads no image and writes nothing."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    share = world_size * cfg.batch.micro
    problems = []
    if cfg.batch.unlabelled != cfg.batch.labelled * cfg.batch.unlabelled_ratio:
        problems.append(
            f"batch.unlabelled_ratio: {cfg.batch.unlabelled_ratio} times {cfg.batch.labelled} labelled images is no "
            "whole number"
        )
    for field, size in (("labelled", cfg.batch.labelled), ("unlabelled", cfg.batch.unlabelled)):
        if size % share:
            problems.append(
                f"batch.{'labelled' if field == 'labelled' else 'unlabelled_ratio'}: {size} {field} images do not "
                f"divide over {world_size} ranks x {cfg.batch.micro} micro-batches; take a multiple of {share}"
            )
    if cfg.device == "cuda" and not torch.cuda.is_available():
        problems.append("device: cuda was asked for, but torch sees no GPU; use cpu or auto")
    if cfg.precision == "fp16" and cfg.torch_device == "cpu":
        problems.append("precision: fp16 needs a GPU; use bf16 or fp32 on the CPU")
    algorithm = cfg.algorithm_class
    problems += check_auxiliary(algorithm, cfg.algorithm.name, cfg.auxiliary)
    problems += (_check_deepspeed(cfg) or _check_replay(cfg, world_size)) + _check_blocks(cfg)
    if cfg.kernels == "reference" and cfg.data.operations == "kernel":
        problems.append("data.operations: with kernels=reference the operations are DALI's; use auto or dali")
    if cfg.batch.micro > 1 and not algorithm.takes_micro_batches(cfg.algorithm):
        alone = ALGORITHMS[cfg.algorithm.name].takes_micro_batches(cfg.algorithm)
        coupling = "auxiliary.simclr" if alone else cfg.algorithm.name
        problems.append(f"batch.micro: {coupling} couples all samples of a batch; use 1")
    elif not problems:
        problems += algorithm.check(cfg.algorithm, cfg.batch.labelled // share, cfg.batch.unlabelled // share)
    if algorithm.reads_held_out(cfg.algorithm) and not cfg.data.held_out:
        problems.append(
            f"data.held_out: {cfg.algorithm.name} as configured reads the accuracy on held-out images, of which there "
            "are none; hold some out"
        )
    views = algorithm.views(cfg.algorithm)
    device = "gpu" if cfg.torch_device == "cuda" else "cpu"
    geometry = augment.Geometry(size=32, pad=0, flip=False, fill=(0, 0, 0), device=device)
    for recipe in dict.fromkeys([*views.labelled.values(), *views.unlabelled.values()]):
        try:
            augment.build_view(recipe, geometry, equalize=cfg.data.equalize, operations=cfg.loading.operations)
        except UserError as error:
            problems += [f"{_field_of(cfg, recipe)}: {line}" for line in error.messages]
    size, largest = sources.image_size(cfg.data), max(cfg.batch.labelled, cfg.batch.unlabelled) // world_size
    ahead = CALLS_AHEAD * steps_per_call(cfg.data.steps_per_call, max(1, largest), size, torch.device(cfg.torch_device))
    problems += ctaugment.check(algorithm, cfg.algorithm, cfg.data.ctaugment_lag, ahead)
    if cfg.baseline and cfg.algorithm.name == "supervised":
        problems.append("baseline: a supervised run is its own baseline; use --no-baseline")
    problems += sources.check(cfg.data)
    problems += check_model(cfg.model, sources.image_size(cfg.data))
    if cfg.model.weights is not None and cfg.data.name != "folder" and cfg.data.normalise == "own":
        problems.append("data.normalise: own is not what ImageNet weights (model.weights) expect; use imagenet")
    if world_size > 1 and cfg.model.residual == "port":
        problems.append("model.residual: port leaves parameters without gradient, which ranks cannot reduce; use tf")
    return problems + _check_trackers(cfg.log.trackers)


def _check_deepspeed(cfg: RunConfig) -> list[str]:
    try:
        content = parallel.read_deepspeed(cfg.parallel)
    except UserError as error:
        return error.messages
    if content is None:
        launched = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"
        inline = "parallel.deepspeed: accelerate's configuration asks for DeepSpeed but names no deepspeed_config_file"
        return [inline + "; use launch/accelerate/zero2.yaml or --parallel.deepspeed FILE"] if launched else []
    path = parallel.deepspeed_file(cfg.parallel)
    assert path is not None
    problems = parallel.check(content, path, cfg.optim.clip, cfg.batch.micro)
    if cfg.precision == "fp16":
        problems.append("precision: fp16 is not for DeepSpeed here; use bf16 or fp32")
    if cfg.replay not in ("auto", "off"):
        problems.append(f"replay: {cfg.replay} cannot record DeepSpeed's step, which reads the device; use auto or off")
    if parallel.zero_stage(content) == 3 and cfg.compile not in ("auto", "off"):
        problems.append(f"compile: {cfg.compile} cannot hold ZeRO-3, which gathers layer by layer; use off, or ZeRO-2")
    if cfg.torch_device == "cpu" and torch.cuda.is_available():
        problems.append("device: DeepSpeed takes the GPU where there is one; hide it with CUDA_VISIBLE_DEVICES=")
    if cfg.parallel.gradients != "fp32":
        problems.append("parallel.gradients: is for DDP; under DeepSpeed set communication_data_type in its file")
    return problems


def _check_replay(cfg: RunConfig, world_size: int) -> list[str]:
    if cfg.replay in ("auto", "off"):
        return []
    if cfg.torch_device != "cuda":
        return [f"replay: {cfg.replay} needs a GPU; use auto or off"]
    if cfg.precision == "fp16":
        return ["replay: fp16 checks its gradients on the host and cannot be replayed; use bf16, or replay=off"]
    if cfg.recompute and blocks.draws(cfg.model.name):
        return [
            f"replay: recompute repeats the random numbers of {cfg.model.name}'s blocks, which a CUDA graph cannot; "
            "use off, or --no-recompute"
        ]
    if cfg.replay == "step" and world_size > 1:
        return [f"replay: the whole step of {world_size} ranks cannot be replayed; use backward or off"]
    if cfg.replay == "backward" and cfg.algorithm_class.roles != ("network",):
        return [f"replay: {cfg.algorithm.name} has several optimisers and cannot be replayed in part; use off"]
    return []


def _check_blocks(cfg: RunConfig) -> list[str]:
    if blocks.has_blocks(cfg.model.name):
        return []
    known = f"wrn-D-K, shake-shake-D-2xWd and torchvision's {', '.join(blocks.BLOCKS)}"
    problems = []
    if cfg.recompute:
        problems.append(f"recompute: {cfg.model.name} has no blocks to compute again; possible for {known}")
    if cfg.compile == "blocks":
        problems.append(f"compile: {cfg.model.name} has no blocks to compile; use whole, or one of {known}")
    return problems


def _check_trackers(names: tuple[str, ...]) -> list[str]:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    available = [str(getattr(name, "value", name)) for name in get_available_trackers()]
    known = sorted(str(getattr(name, "value", name)) for name in LOGGER_TYPE_TO_CLASS)
    problems = []
    for name in names:
        if name not in known:
            problems.append(f"log.trackers: {name} is unknown; any of {', '.join(known)}")
        elif name not in available:
            problems.append(f"log.trackers: the package of {name} is not installed; install it or leave {name} out")
    return problems


def _field_of(cfg: RunConfig, recipe: str) -> str:
    """The field that names an augmentation."""
    for section in ("algorithm", "auxiliary"):
        fields = getattr(cfg, section)
        for name in type(fields).model_fields:
            if name != "name" and getattr(fields, name) == recipe:
                return f"{section}.{name}"
    return "algorithm.name"


def algorithm_name(fields: dict[str, Any]) -> str:
    """The algorithm that fields name, nested or dotted; fixmatch where they name none."""
    section = fields.get("algorithm", fields.get("algorithm.name"))
    name = section.get("name") if isinstance(section, dict) else section
    return name if isinstance(name, str) and name in ALGORITHMS else "fixmatch"


def describe_fields(algorithm: str = "fixmatch") -> list[tuple[str, str, str, str]]:
    """(dotted name, type, default, documentation) of every field."""
    rows = []

    def walk(model: type[Config], prefix: str) -> None:
        for name, info in model.model_fields.items():
            inner = ALGORITHMS[algorithm].Config if not prefix and name == "algorithm" else info.annotation
            if isinstance(inner, type) and issubclass(inner, Config):
                walk(inner, f"{name}.")
                continue
            default = "" if info.default is None else info.default
            default = ",".join(map(str, default)) if isinstance(default, tuple) else default
            rows.append((prefix + name, _type_name(inner), str(default), " ".join((info.description or "").split())))

    walk(RunConfig, "")
    return rows


def _type_name(annotation: Any) -> str:
    if annotation is type(None):
        return "none"
    if get_origin(annotation) is Annotated:
        return _type_name(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    if get_origin(annotation) is tuple:
        return ",".join(_type_name(part) for part in get_args(annotation) if part is not ...)
    if args := get_args(annotation):
        return "|".join(dict.fromkeys(_type_name(part) for part in args if part is not type(None)))
    return getattr(annotation, "__name__", str(annotation)).lower()
