"""The configuration of a run: its fields, and what follows from them. `checks.py` says which cannot go together."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PlainValidator, SerializeAsAny

from semisonic.addons.composition import Composition, compose
from semisonic.addons.registry import ADD_ONS
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.label_weights import LossConfig
from semisonic.algorithms.registry import ALGORITHMS, BASELINE, DEFAULT, is_pretext
from semisonic.config.dump import written
from semisonic.config.execution import Execution, Precision, Surroundings, settle, settle_precision
from semisonic.config.sections import addon_sections, addons_model, algorithm_section
from semisonic.contract import Views
from semisonic.data.loading.sizes import MOST_STAGES, Sizes
from semisonic.data.sets.base import DataConfig
from semisonic.distributed.deepspeed import ParallelConfig, read_deepspeed
from semisonic.distributed.watchdog import HealthConfig
from semisonic.models.ema import EmaConfig
from semisonic.models.networks import ModelConfig
from semisonic.optim.optimizer import OptimConfig
from semisonic.plugins import Plugin
from semisonic.schema import Config, Effect, UsedWith, UserPath

SETTLED = frozenset({"surroundings", "zero", "execution", "loading", "arithmetic"})
"""What a configuration remembers beside its fields."""
AlgorithmConfig = Annotated[SerializeAsAny[Any], PlainValidator(algorithm_section)]
AddOnConfigs = Annotated[SerializeAsAny[Any], PlainValidator(addon_sections)]


GROWING = UsedWith("unlabeled_schedule", ("growing",))


class BatchConfig(Config):
    labeled: int = Field(64, ge=1, le=2**20)
    """Labeled images of a step, over all ranks together."""
    unlabeled_ratio: int | float = Field(7, ge=1, le=10_000)
    """Unlabeled images of a step for each labeled one (mu); as 2.5, where that makes a whole number of images. Of a
    growing batch, those of its last steps."""
    unlabeled_schedule: Literal["constant", "growing"] = "constant"
    """constant: every step has as many unlabeled images. growing: the first steps have few, and later ones more, up to
    `unlabeled_ratio`; a run of as many steps reads fewer images."""
    unlabeled_stages: Annotated[int, GROWING] = Field(8, ge=2, le=MOST_STAGES)
    """Sizes of a growing batch, evenly spaced: the first is this part of the last. Each is compiled by itself."""
    unlabeled_bend: Annotated[float, GROWING] = Field(0.7, ge=0, le=0.99)
    """How late a growing batch grows. 0 = evenly: in 8 stages, the run's steps have half of the largest batch in the
    mean; 0.7 = a third."""
    micro: int = Field(1, ge=1, le=2**20)
    """Micro-batches a step is split into (gradient accumulation); each takes its share of all streams."""
    balanced: bool = False
    """Draw every class equally often among the labeled images of a step, whatever its number of them: images of rare
    classes come again and again. False = every labeled image equally often."""
    fit: Annotated[bool, Effect.FREE] = True
    """On a GPU, try the largest step before the run starts and raise `micro` until it fits. False = end with an error
    where it does not fit."""

    @property
    def unlabeled(self) -> int:
        """Unlabeled images of a step, over all ranks together; of a batch that grows the most."""
        return round(self.labeled * self.unlabeled_ratio)

    def unlabeled_sizes(self, steps: int) -> Sizes:
        """Unlabeled images of every step of a run of so many, over all ranks together."""
        if self.unlabeled_schedule == "constant":
            return Sizes.constant(self.unlabeled)
        return Sizes.growing(self.unlabeled, self.unlabeled_stages, self.unlabeled_bend, steps)


class EvalConfig(Config):
    every: int = Field(1024, ge=1, le=10**9)
    """Steps between evaluations."""
    batch: Annotated[int, Effect.FREE] = Field(256, ge=1, le=2**20)
    """Images of a rank in one evaluation forward."""


class LogConfig(Config):
    every: int = Field(50, ge=1, le=10**9)
    """Steps between lines of metrics.jsonl; the only moments at which the host waits for the device."""
    trackers: tuple[str, ...] = ("tensorboard",)
    """Trackers of Accelerate to log to: tensorboard, wandb, mlflow, ..."""
    collapse: float = Field(0.1, ge=0, lt=0.5)
    """A class that gets less than this part of its share among the pseudo-labels that count has collapsed, which is
    printed and logged. Its share is that among the labeled images. 0 = no such alarm."""
    collapse_coverage: Annotated[float, UsedWith("collapse")] = Field(0.3, ge=0, le=1)
    """Share of the unlabeled images that must get a pseudo-label before collapsed classes are looked for."""


class CheckpointConfig(Config):
    every: int = Field(1024, ge=1, le=10**9)
    """Steps between checkpoints; the last step and, with held-out images, each new best write one too."""
    keep: int = Field(2, ge=1, le=10**9)
    """Newest checkpoints that are kept, beside the one that the held-out images choose."""
    snapshots: int = Field(0, ge=0, le=1000)
    """Snapshots of the EMA weights to keep in OUT/snapshots, evenly over the second half of the run. Each is used as a
    checkpoint is; their mean opinion of an image tells how settled it is."""


class RunConfig(Config):
    """One run. Sections are given as --section.field VALUE, and a section's name as --section NAME."""

    out: Annotated[UserPath | None, Effect.FREE] = None
    """Folder of the run; default runs/DATA-ALGORITHM-LABELS-seedS."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of split, initialization, order and augmentation."""
    steps: int = Field(2**20, ge=1, le=10**9)
    """Optimizer steps."""
    baseline: Annotated[bool, Effect.FREE] = False
    """First train the supervised baseline on the same labels for as many steps, into OUT/supervised, and compare."""
    device: Annotated[Literal["auto", "cpu", "cuda"], Effect.FREE] = "auto"
    """auto = cuda where there is a GPU."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast of the network; weights, statistics and losses stay in fp32. On a GPU, fp32 means
    TF32 products. auto = bf16 where the hardware of all ranks has instructions for it (GPUs from Ampere on, CPUs with
    AVX512-BF16 or AMX), but for `small` and Wide ResNets of depth 10; the run keeps what it comes to."""
    compile: Annotated[Literal["auto", "whole", "blocks", "off"], Effect.FREE] = "auto"
    """whole = forward and loss as one graph. blocks = each residual block as a graph of its own, shared by blocks of
    equal structure: large networks compile sooner, and their gradients are reduced over the ranks while the backward
    goes on. auto = whole on a GPU, off on the CPU, where short runs lose by it. Evaluation is never compiled."""
    recompute: Annotated[bool, Effect.FREE] = False
    """Activation checkpointing: keep only the input of each residual block for the backward, which runs the block's
    forward again. Less memory for up to a third more time; same arithmetic, random numbers and running statistics.
    For Wide ResNets, Shake-Shake and torchvision's networks made of such blocks."""
    kernels: Literal["fused", "reference"] = "fused"
    """reference = losses, SGD and EMA in plain torch, RandAugment as DALI operators: what the fast path is checked
    against. fused = the fused ones; losses inside the graph with compile=whole, compiled by themselves with
    compile=blocks, and in plain torch with compile=off."""
    replay: Annotated[Literal["auto", "step", "backward", "off"], Effect.FREE] = "auto"
    """CUDA-graph replay: of the whole step (one process), or of forward and backward (several). auto = step in one
    GPU process, off elsewhere and for methods with several optimizers. Not to be replayed: fp16, which checks its
    gradients on the host, and recompute of blocks that draw random numbers (efficientnets' stochastic depth,
    Shake-Shake)."""
    deterministic: bool = False
    """Only deterministic GPU kernels, so that a resumed GPU run is equal bit for bit; the CPU always is."""
    threads: Annotated[int, Effect.FREE] = Field(0, ge=0, le=4096)
    """CPU threads of a rank, for DALI and, on the CPU, for torch; 0 = its share of the cores."""
    trial: Annotated[Literal["auto", "on", "off"], Effect.FREE] = "auto"
    """Take a step that is thrown away before the run's folder is made: what fails in the first step is one line then,
    and nothing was written. auto = unless an equal run has passed it, as the user's cache says, and as much memory is
    free now; off = never, also on a GPU, where `batch.fit` needs it."""
    max_hours: Annotated[float | None, Effect.FREE] = Field(None, gt=0, le=1e6)
    """Write a checkpoint and end this process after so many hours; --resume continues."""
    init: Annotated[UserPath | None, Effect.CONTENT] = None
    """Start from the EMA weights of a checkpoint, its head's rows by the names of the classes; what does not fit is
    reported."""
    frozen: Annotated[Literal["auto", "on", "off"], Effect.FREE] = "auto"
    """Before the training, report what the weights that it starts from come to as they are: nearest neighbors, logistic
    regression and self-training on the features of the network, which is not trained. auto = where the network starts
    from weights (`init`, `weights`, `pretrained`); on = also from random ones. Features are kept in the user's cache
    for later runs. Pretext tasks have no such report."""
    plugins: Annotated[tuple[Plugin, ...], Effect.FREE] = ()
    """The plug-ins that the run was made with. Not to be given: --plugin FILE names one."""
    data: DataConfig = DataConfig()
    batch: BatchConfig = BatchConfig()
    model: ModelConfig = ModelConfig()
    algorithm: AlgorithmConfig = ALGORITHMS[DEFAULT].Config()
    addons: AddOnConfigs = Field(default_factory=lambda: addons_model()())
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    ema: EmaConfig = EmaConfig()
    eval: EvalConfig = EvalConfig()
    log: Annotated[LogConfig, Effect.FREE] = LogConfig()
    checkpoint: Annotated[CheckpointConfig, Effect.FREE] = CheckpointConfig()
    parallel: Annotated[ParallelConfig, Effect.FREE] = ParallelConfig()
    health: Annotated[HealthConfig, Effect.FREE] = HealthConfig()

    @property
    def run_folder(self) -> Path:
        name = f"{self.data.name}-{self.algorithm.name}-{self.data.labels_name}-seed{self.seed}"
        return self.out or Path("runs") / name

    @property
    def algorithm_class(self) -> type[Algorithm]:
        return ALGORITHMS[self.algorithm.name]

    @property
    def composition(self) -> Composition:
        """The algorithm with the add-ons that their sections ask for."""
        return compose(self.algorithm_class, self.algorithm, dict(self.addons))

    @property
    def starting_weights(self) -> str | None:
        """What the network starts from, in words; None for random weights."""
        given = self.init or self.model.weights
        if given is None and self.model.pretrained:
            return f"the published weights of {self.model.name}"
        return None if given is None else str(given)

    @property
    def baselines_on_features(self) -> bool:
        """Whether the run reports what its starting weights come to without training."""
        if self.frozen == "auto":
            return self.starting_weights is not None and not is_pretext(self.algorithm.name)
        return self.frozen == "on"

    @property
    def views(self) -> Views:
        """Everything that is read of the images in a step, for the algorithm and its add-ons."""
        return self.composition.views

    @property
    def unlabeled_sizes(self) -> Sizes:
        """Unlabeled images of every step, over all ranks together."""
        return self.batch.unlabeled_sizes(self.steps)

    @property
    def largest_steps(self) -> "RunConfig":
        """The same run with every step as large as its largest."""
        return self.model_copy(update={"batch": self.batch.model_copy(update={"unlabeled_schedule": "constant"})})

    @property
    def image_sizes(self) -> Sizes:
        """Images that every step reads of all streams, over all ranks together; each once, whatever views it has."""
        views, batch, grown = self.views, self.batch, self.unlabeled_sizes
        labeled = batch.labeled if views.labeled else 0
        others = labeled + sum(stream.size(batch.labeled) for stream in views.streams.values())
        return (
            Sizes(grown.starts, tuple(others + size for size in grown.sizes))
            if views.unlabeled
            else Sizes.constant(others)
        )

    # What is settled once: these look at the process and at a file when they are asked first, and not again.

    @cached_property
    def surroundings(self) -> Surroundings:
        return Surroundings.here()

    @cached_property
    def zero(self) -> dict[str, Any] | None:
        """The content of the DeepSpeed configuration; None without one. Raises `UserError` where it cannot be read."""
        return read_deepspeed(self.parallel)

    @cached_property
    def execution(self) -> Execution:
        """What the choices that are `auto` come to. Raises `UserError` as `zero` does."""
        return settle(self, self.surroundings, self.zero)

    @cached_property
    def arithmetic(self) -> Precision:
        """What `precision` comes to in this process. A run has its ranks agree, and says so in `precision`."""
        return settle_precision(self.precision, self.execution.device, self.model.name)

    @cached_property
    def loading(self) -> DataConfig:
        """`data` with its choice of where RandAugment's operations run."""
        return self.data.model_copy(update={"operations": self.execution.operations})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "RunConfig":
        """A copy, where what is settled is settled anew; the process is the same, and so is a file that was read."""
        copied = super().model_copy(update=update, deep=deep)
        kept = {"surroundings"} if "parallel" in (update or {}) else {"surroundings", "zero"}
        for name in SETTLED - kept:
            copied.__dict__.pop(name, None)
        return copied

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()  # another process settles for itself
        return state | {"__dict__": {name: value for name, value in self.__dict__.items() if name not in SETTLED}}

    @property
    def torch_device(self) -> str:
        return self.execution.device

    @property
    def graphs(self) -> str:
        """What is compiled: whole, blocks or off."""
        return self.execution.graphs

    @property
    def compiled(self) -> bool:
        return self.graphs != "off"

    @property
    def replayed(self) -> str:
        """What is replayed: step, backward or off."""
        return self.execution.replayed

    @property
    def autocast(self) -> torch.dtype | None:
        return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.arithmetic.name]

    def dump(self, records: Mapping[str, Any] | None = None) -> str:
        """YAML that `--config` reads back, in this version's language; records: what the run notes about itself."""
        fields = self.model_dump(mode="json")
        fields["plugins"] = [plugin.model_dump(mode="json", exclude_none=True) for plugin in self.plugins]
        return written(fields, records)

    def supervised_baseline(self) -> "RunConfig":
        """The same run without unlabeled images."""
        addons = {name: ADD_ONS[name].beside_baseline(own) for name, own in self.addons}
        cfg = ALGORITHMS[BASELINE].Config()
        changes = {"algorithm": cfg, "addons": type(self.addons)(**addons), "baseline": False, "frozen": "off"}
        return self.model_copy(update={**changes, "out": self.run_folder / "supervised"})
