"""Which combinations of a run's fields are impossible: all found, one line each, before anything is built.

What a part of the configuration says against itself is known where that part lives (`data_problems`, `model_problems`,
`deepspeed_problems`, ...); here is what several parts say together.
"""

import torch

from semisonic.algorithms.label_weights import length_problems
from semisonic.algorithms.registry import BASELINE, is_pretext
from semisonic.config.execution import Execution, settle
from semisonic.config.expectations import expectation_problems
from semisonic.config.run_config import RunConfig
from semisonic.data.loading.calls import CALLS_AHEAD, steps_per_call
from semisonic.data.loading.sizes import MOST_STAGES
from semisonic.data.sets import registry as data_sets
from semisonic.data.views.registry import build_view
from semisonic.data.views.view import Geometry
from semisonic.distributed import deepspeed as deepspeed_config
from semisonic.distributed.tracker_names import tracker_problems
from semisonic.models import blocks
from semisonic.models.layers import layer_ids
from semisonic.models.networks import find, model_problems
from semisonic.models.outline import sketch
from semisonic.models.tuning import tuning_problems
from semisonic.models.wrapped import GIVEN
from semisonic.schema import UserError


def find_problems(cfg: RunConfig) -> list[str]:
    """Impossible combinations, one line each, naming the field and what would be valid; [] where there are none.

    Reads no image and writes nothing.
    """
    try:
        plan, problems = cfg.execution, []
    except UserError as error:  # what does not depend on the file that cannot be read is checked as without one
        plan, problems = settle(cfg, cfg.surroundings, None), error.messages
    world_size = plan.world_size
    problems += _batch_problems(cfg, world_size) + _device_problems(cfg, plan)
    problems += cfg.composition.problems() + cfg.composition.stream_problems(
        cfg.batch.labeled, world_size * cfg.batch.micro
    )
    problems += (_engine_problems(cfg, plan) or _replay_problems(cfg, plan)) + _block_problems(cfg)
    problems += _algorithm_problems(cfg, world_size, shares_known=not problems)
    problems += _augmentation_problems(cfg, plan)
    problems += data_sets.data_problems(cfg.data)
    found = model_problems(cfg.model, data_sets.image_size(cfg.data)) + _tuning_problems(cfg)
    problems += found + cfg.optim.problems + ([] if found else _layer_problems(cfg))
    if cfg.frozen == "on" and is_pretext(cfg.algorithm.name):
        problems.append(f"frozen: {cfg.algorithm.name} is a pretext task, whose weights are yet to come; use auto")
    problems += expectation_problems(cfg)
    if world_size > 1 and cfg.model.residual == "port":
        problems.append("model.residual: port leaves parameters without gradient, which ranks cannot reduce; use tf")
    problems += _group_problems(cfg, world_size)
    return problems + tracker_problems(cfg.log.trackers)


def _group_problems(cfg: RunConfig, world_size: int) -> list[str]:
    groups = cfg.model.norm_groups
    if groups > 1 and not cfg.model.norm_sync:
        return ["model.norm_groups: with norm_sync=false each rank is by itself; leave one of the two out"]
    if world_size % groups:
        ranks = "1 rank does" if world_size == 1 else f"{world_size} ranks do"
        return [f"model.norm_groups: {ranks} not divide into {groups} equal groups; take a divisor of {world_size}"]
    return []


def _batch_problems(cfg: RunConfig, world_size: int) -> list[str]:
    share = world_size * cfg.batch.micro
    problems = []
    if cfg.batch.unlabeled != cfg.batch.labeled * cfg.batch.unlabeled_ratio:
        problems.append(
            f"batch.unlabeled_ratio: {cfg.batch.unlabeled_ratio} times {cfg.batch.labeled} labeled images is no "
            "whole number"
        )
    sizes = {"batch.labeled": (cfg.batch.labeled, "labeled"),
             "batch.unlabeled_ratio": (cfg.batch.unlabeled, "unlabeled")}  # fmt: skip
    for field, (size, images) in sizes.items():
        if size % share:
            problems.append(
                f"{field}: {size} {images} images do not divide over {world_size} ranks x {cfg.batch.micro} "
                f"micro-batches; take a multiple of {share}"
            )
    return problems + _growth_problems(cfg, world_size, whole=not problems)


def _growth_problems(cfg: RunConfig, world_size: int, whole: bool) -> list[str]:
    """What speaks against an unlabeled batch that grows; whole: whether the largest one divides over the ranks."""
    if cfg.batch.unlabeled_schedule == "constant":
        return []
    problems = [
        f"batch.unlabeled_schedule: {name} depends on how many unlabeled images a step has; use constant"
        for name in cfg.composition.bound_to_a_size()
    ]
    unlabeled, stages, share = cfg.batch.unlabeled, cfg.batch.unlabeled_stages, world_size * cfg.batch.micro
    if whole and unlabeled % (stages * share):
        fitting = [str(n) for n in range(2, MOST_STAGES + 1) if unlabeled % (n * share) == 0]
        problems.append(
            f"batch.unlabeled_stages: {unlabeled} unlabeled images in {stages} equal stages do not divide over "
            f"{world_size} ranks x {cfg.batch.micro} micro-batches; "
            + (f"take {' or '.join(fitting)}" if fitting else "use batch.unlabeled_schedule=constant")
        )
    return problems


def _device_problems(cfg: RunConfig, plan: Execution) -> list[str]:
    problems = []
    if cfg.device == "cuda" and not cfg.surroundings.gpu:
        problems.append("device: cuda was asked for, but torch sees no GPU; use cpu or auto")
    if cfg.precision == "fp16" and plan.device == "cpu":
        problems.append("precision: fp16 needs a GPU; use bf16 or fp32 on the CPU")
    if cfg.kernels == "reference" and cfg.data.operations == "kernel":
        problems.append("data.operations: with kernels=reference the operations are DALI's; use auto or dali")
    return problems


def _engine_problems(cfg: RunConfig, plan: Execution) -> list[str]:
    if plan.zero is None:
        return []
    path = deepspeed_config.deepspeed_file(cfg.parallel)
    assert path is not None
    problems = deepspeed_config.deepspeed_problems(plan.zero, path, cfg.optim.clip, cfg.batch.micro)
    if cfg.optim.name == "lars":
        problems.append("optim.name: lars takes norms of whole layers, which DeepSpeed cuts; use sgd or adamw, or DDP")
    if cfg.precision == "fp16":
        problems.append("precision: fp16 is not for DeepSpeed here; use bf16 or fp32")
    if cfg.replay not in ("auto", "off"):
        problems.append(f"replay: {cfg.replay} cannot record DeepSpeed's step, which reads the device; use auto or off")
    if plan.zero_stage == 3 and cfg.compile not in ("auto", "off"):
        problems.append(f"compile: {cfg.compile} cannot hold ZeRO-3, which gathers layer by layer; use off, or ZeRO-2")
    if plan.device == "cpu" and cfg.surroundings.gpu:
        problems.append("device: DeepSpeed takes the GPU where there is one; hide it with CUDA_VISIBLE_DEVICES=")
    if cfg.parallel.gradients != "fp32":
        problems.append("parallel.gradients: is for DDP; under DeepSpeed set communication_data_type in its file")
    return problems


def _replay_problems(cfg: RunConfig, plan: Execution) -> list[str]:
    if cfg.replay in ("auto", "off"):
        return []
    if plan.device != "cuda":
        return [f"replay: {cfg.replay} needs a GPU; use auto or off"]
    if cfg.precision == "fp16":
        return ["replay: fp16 checks its gradients on the host and cannot be replayed; use bf16, or replay=off"]
    if cfg.recompute and blocks.draws(cfg.model.name):
        return [
            f"replay: recompute repeats the random numbers of {cfg.model.name}'s blocks, which a CUDA graph cannot; "
            "use off, or --no-recompute"
        ]
    if cfg.replay == "step" and plan.world_size > 1:
        return [f"replay: the whole step of {plan.world_size} ranks cannot be replayed; use backward or off"]
    if cfg.replay == "backward" and cfg.algorithm_class.roles != ("network",):
        return [f"replay: {cfg.algorithm.name} has several optimizers and cannot be replayed in part; use off"]
    return []


def _block_problems(cfg: RunConfig) -> list[str]:
    if blocks.has_blocks(cfg.model.name):
        return []
    known = f"wrn-D-K, shake-shake-D-2xWd and torchvision's {', '.join(blocks.BLOCKS)}, most of timm's"
    problems = []
    if cfg.recompute:
        problems.append(f"recompute: {cfg.model.name} has no blocks to compute again; possible for {known}")
    if cfg.compile == "blocks":
        problems.append(f"compile: {cfg.model.name} has no blocks to compile; use whole, or one of {known}")
    return problems


def _tuning_problems(cfg: RunConfig) -> list[str]:
    # The weights of a plug-in's network, or of one that is given in Python, are not known to be random.
    found = find(cfg.model.name)
    own_weights = cfg.model.weights is not None or cfg.model.pretrained or cfg.init is not None
    return tuning_problems(
        cfg.model,
        data_sets.image_size(cfg.data),
        starts_from_weights=own_weights or (found is not None and found.plug_in),
        own_task=cfg.algorithm_class.own_task,
        compile_blocks=cfg.compile == "blocks",
    )


def _layer_problems(cfg: RunConfig) -> list[str]:
    if cfg.optim.layer_decay == 1 or cfg.model.name == GIVEN:  # that one is looked at when it is there
        return []
    network = sketch(cfg.model, 2, data_sets.image_size(cfg.data))
    if network is None or layer_ids(network) is not None:
        return []
    return [f"optim.layer_decay: nothing is known of the layers of {cfg.model.name}; use optim.backbone_lr"]


def _algorithm_problems(cfg: RunConfig, world_size: int, shares_known: bool) -> list[str]:
    """What the algorithm says; `shares_known`: whether a micro-batch is a whole number of images, as it expects."""
    algorithm, share = cfg.algorithm_class, world_size * cfg.batch.micro
    problems = []
    if cfg.batch.micro > 1 and (couplings := cfg.composition.couplings()):
        problems.append(f"batch.micro: {couplings[0]} couples all samples of a batch; use 1")
    elif shares_known:
        labeled, sizes = cfg.batch.labeled // share, reversed(cfg.unlabeled_sizes.sizes)
        found = (algorithm.problems(cfg.algorithm, labeled, size // share) for size in sizes)
        problems += next(filter(None, found), [])
    if algorithm.reads_held_out(cfg.algorithm) and not cfg.data.held_out:
        problems.append(
            f"data.held_out: {cfg.algorithm.name} as configured reads the accuracy on held-out images, of which there "
            "are none; hold some out"
        )
    problems += _weight_problems(cfg)
    if cfg.baseline and cfg.algorithm.name == BASELINE:
        problems.append("baseline: a supervised run is its own baseline; use --no-baseline")
    return problems


def _weight_problems(cfg: RunConfig) -> list[str]:
    """What speaks against weights of labeled images."""
    asked = ["loss.class_weights"] if cfg.loss.class_weights != "none" else []
    asked += ["data.weight_column"] if cfg.data.weight_column is not None else []
    algorithm, reason = cfg.algorithm_class, ""
    if algorithm.own_task:
        reason = "learns nothing from labels, which train its probe alone"
    elif "labeled_weights" not in algorithm.open_to:
        reason = "does not weigh its labeled images"
    if reason:
        return [f"{field}: {cfg.algorithm.name} {reason}; leave it out" for field in asked]
    entry = data_sets.DATA_SETS.get(cfg.data.name)
    classes = len(cfg.data.classes) or (entry.classes if entry else None)
    return length_problems(cfg.loss, classes) if classes else []


def _augmentation_problems(cfg: RunConfig, plan: Execution) -> list[str]:
    composition, problems = cfg.composition, []
    device = "gpu" if plan.device == "cuda" else "cpu"
    geometry = Geometry(size=32, pad=0, flip=False, fill=(0, 0, 0), device=device)
    for spec in composition.views.specs:
        try:
            build_view(spec, geometry, equalize=cfg.data.equalize, operations=plan.operations)
        except UserError as error:
            problems += [f"{_field_of(cfg, spec)}: {line}" for line in error.messages]
    own = [stream.size(cfg.batch.labeled) for stream in composition.views.streams.values()]
    largest = max(cfg.batch.labeled, cfg.batch.unlabeled, *own) // plan.world_size
    size = data_sets.image_size(cfg.data)
    ahead = CALLS_AHEAD * steps_per_call(cfg.data.steps_per_call, max(1, largest), size, torch.device(plan.device))
    return problems + composition.lag_problems(ahead)


def _field_of(cfg: RunConfig, spec: str) -> str:
    """The field that names an augmentation."""
    sections = {"algorithm": cfg.algorithm, **{f"addons.{name}": own for name, own in cfg.addons}}
    for section, fields in sections.items():
        for name in type(fields).model_fields:
            if name != "name" and getattr(fields, name) == spec:
                return f"{section}.{name}"
    return "algorithm.name"
