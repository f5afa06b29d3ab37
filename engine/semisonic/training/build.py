"""From a configuration to what is trained: the split, the algorithm with its network, and its trainer."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.label_weights import label_weights
from semisonic.checkpoint import format as checkpoints
from semisonic.config.expectations import with_expected
from semisonic.config.run_config import RunConfig
from semisonic.contract import Info
from semisonic.data.sets.base import DataSet, ImageFiles
from semisonic.data.sets.duplicates import held_out_apart
from semisonic.data.sets.fingerprint import POOL, TABLE, data_problem
from semisonic.data.sets.manifest import reading_all
from semisonic.data.sets.registry import check_classes, load_data_set
from semisonic.data.sets.splits import Split, make_split, split_data
from semisonic.data.sets.typical import chooser
from semisonic.distributed.engine import Accelerator
from semisonic.distributed.heartbeat import Activity
from semisonic.models.head import head_by_name
from semisonic.models.networks import build
from semisonic.models.norm import BatchNorm2d, StartUp, is_fresh
from semisonic.models.starting_weights import has_weights, load_starting_weights, record
from semisonic.models.tuning import base_names, tuned, without_adapters
from semisonic.models.wrapped import NetworkFactory
from semisonic.schema import UserError
from semisonic.training.process import on_main, start
from semisonic.training.trainer import Trainer


def build_trainer(
    cfg: RunConfig,
    data: DataSet | None = None,
    split: Split | None = None,
    accelerator: Accelerator | None = None,
    *,
    fresh: bool = True,
    say: Callable[[str], None] = lambda report: None,
    activity: Activity | None = None,
    network: NetworkFactory | None = None,
) -> Trainer:
    """The trainer of a run at step 0; to be called by all ranks.

    What is not given is made: the accelerator by joining the process group, the data by loading them, the split by
    drawing it. fresh: the weights and `init` are read, of which `say` is told; otherwise a checkpoint will be.
    network: makes the networks that no configuration can build. Raises `UserError` where the configuration fits neither
    the launcher nor the data.
    """
    accelerator = accelerator or start(cfg)
    cfg = cfg if data or not fresh else with_expected(cfg)
    data = data or load_data_set(cfg.data)
    split = split or draw_split(cfg, data)
    algorithm = begun(cfg, data, split, fresh, say, network)
    trainer = Trainer(cfg, algorithm, data, split, accelerator, activity)
    if fresh:
        trainer.weights = on_main(accelerator, lambda: _beginning(cfg))
    return trainer


def _beginning(cfg: RunConfig) -> dict[str, str] | None:
    """Where the run's weights began, for its records. Through `init` those of the run before: their license goes on."""
    if cfg.init and (before := checkpoints.load_state(checkpoints.find(cfg.init)).get("weights")):
        return dict(before)
    return record(cfg.model)


def begun(
    cfg: RunConfig, data: DataSet, split: Split, fresh: bool = True, say: Callable[[str], None] = lambda report: None,
    network: NetworkFactory | None = None,
) -> Algorithm:  # fmt: skip
    """The algorithm of a run before its first step, on the CPU; the same each time."""
    torch.manual_seed(cfg.seed)
    algorithm = build_algorithm(cfg, data, split, fresh, network)
    if cfg.init and fresh:
        say(initialize(algorithm, cfg.init, data.classes))
    return algorithm


def load(cfg: RunConfig, accelerator: Accelerator, verify: bool = False) -> DataSet:
    """The data set of a run; to be called by all ranks, which share the manifest of a folder. verify: every file of it
    is read again, by the main process."""
    if verify:

        def read() -> None:
            with reading_all():
                load_data_set(cfg.data)

        on_main(accelerator, read)
    return load_data_set(cfg.data)


def with_classes(cfg: RunConfig, data: DataSet) -> RunConfig:
    """The configuration with its classes settled. Raises `UserError` where it lists others than the data have."""
    check_classes(cfg.data, data)
    return cfg.model_copy(update={"data": cfg.data.model_copy(update={"classes": data.classes})})


def draw_split(cfg: RunConfig, data: DataSet) -> Split:
    """The run's split. Raises `UserError` where the algorithm is left without unlabeled images, and for a split that
    another run drew from other images: its numbers would mean others here."""
    given = cfg.data.split
    known = split_data(given) if given is not None else None
    if given is not None and known is not None:
        problem = data_problem(known, data, given.parent / TABLE, f"the run of {given}", POOL)
        if problem:
            raise UserError(f"data.split: {problem.removeprefix('data: ')}; for other images name files, as a .txt")
    paths = data.train.paths if isinstance(data.train, ImageFiles) else None
    split = make_split(
        cfg.data, data.train.labels, len(data.classes), cfg.seed, paths, data.classes, chooser(data.train)
    )
    split = held_out_apart(cfg.data, data, split)
    views = cfg.views
    pool = views.unlabeled or any(stream.pool == "unlabeled" for stream in views.streams.values())
    if pool and not len(split.unlabeled):
        raise UserError(
            f"data.labels: every image is labeled, which leaves {cfg.algorithm.name} no unlabeled pool; "
            "set data.labels or data.unlabeled_includes_labeled"
        )
    return split


def build_algorithm(
    cfg: RunConfig, data: DataSet, split: Split, fresh: bool = True, factory: NetworkFactory | None = None
) -> Algorithm:
    """The algorithm on the CPU, its networks random or with the weights of `model.weights` or `model.pretrained`.

    fresh=False leaves those unread, for what takes its weights from a checkpoint or needs none. factory: makes the
    networks that no configuration can build.
    """
    labels = data.train.labels[split.labeled]
    prior = [float((labels == index).mean()) for index in range(len(data.classes))]
    info = Info(
        classes=len(data.classes),
        image_size=data.size,
        labeled=len(split.labeled),
        unlabeled=len(split.unlabeled),
        steps=cfg.steps,
        labeled_batch=cfg.batch.labeled,
        unlabeled_batch=cfg.batch.unlabeled,
        class_prior=tuple(prior),
        mean=data.mean,
        std=data.std,
    )

    def network() -> torch.nn.Module:
        built = build(cfg.model, len(data.classes), data.size, factory)
        if fresh:
            load_starting_weights(built, cfg.model)
        for module in built.modules():
            if isinstance(module, BatchNorm2d) and module.momentum is not None:
                # One update a micro-batch: together they move the running statistics as far as one of the whole batch.
                module.momentum = 1 - (1 - module.momentum) ** (1 / cfg.batch.micro)
                module.start_up = not has_weights(cfg.model) and is_fresh(module)
        return tuned(built, cfg.model, data.size)

    given = data.train.weights
    weights = label_weights(cfg.loss, info, None if given is None else given[split.labeled].tolist())
    algorithm = cfg.composition.build(network, info, cfg.ema, cfg.autocast, weights)
    if cfg.model.norm_start_up:
        algorithm.start_up = StartUp(cfg.model.norm_start_up, cfg.batch.micro)
    for module in algorithm.network.modules() if cfg.init else ():  # which is loaded now, or was when the run began
        if isinstance(module, BatchNorm2d):
            module.start_up = False
    return algorithm


def initialize(algorithm: Algorithm, path: Path, classes: Sequence[str]) -> str:
    """Loads the EMA weights of a checkpoint into the network and its EMA; returns a report of what did not match.

    classes: the names of the run's classes, by which the rows of the head are taken; those that the checkpoint does not
    have stay as they were drawn.
    """
    checkpoint = checkpoints.load_checkpoint(path)
    own, names = algorithm.network.state_dict(), base_names(algorithm.network)
    wanted = {plain: own[name] for plain, name in names.items()}
    given = {name.removeprefix("ema."): value for name, value in checkpoint.model.items() if name.startswith("ema.")}
    given = without_adapters(given, checkpoint.state["model"])
    given, head = head_by_name(given, wanted, checkpoint.state["classes"], classes)
    fitting = {k: v for k, v in given.items() if k in wanted and v.shape == wanted[k].shape}
    # The head's alone would be another network's: its bias has the shape of any with as many classes.
    if not any(value.ndim > 1 and not name.startswith("head.") for name, value in fitting.items()):
        raise UserError(f"init: no layer of {path} fits; give its network, --model {checkpoint.state['model']['name']}")
    algorithm.network.load_state_dict({names[plain]: value for plain, value in fitting.items()}, strict=False)
    shadow = dict(algorithm.ema.named_buffers())
    for name, value in algorithm.network.state_dict().items():
        shadow[name].copy_(value)
    missing, extra = sorted(wanted.keys() - fitting.keys()), sorted(given.keys() - fitting.keys())
    report = f"Initialized {len(fitting)} of {len(wanted)} tensors from {path}"
    if head:
        report += f"\n  {head}"
    if missing:
        report += f"\n  freshly initialized: {', '.join(missing)}"
    if extra:
        report += f"\n  in the checkpoint only, or of another shape: {', '.join(extra)}"
    return report
