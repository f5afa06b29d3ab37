"""Run by the tests in one or several processes: trains a few steps in several ways and writes what came out.

    worker.py JOBS.json OUT.pt

JOBS.json is a list of `Job`s; OUT.pt maps each job's name to its `Result`, as a dictionary.
"""

import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor

from semisonic.addons.registry import ADD_ONS
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.checkpoint import format as checkpoints
from semisonic.config.command_line import resolve
from semisonic.config.run_config import RunConfig
from semisonic.contract import Batch, Info, StepOutput
from semisonic.data.sets.registry import load_data_set
from semisonic.data.sets.splits import make_split
from semisonic.distributed.engine import Engine, ZeroEngine
from semisonic.models.norm import BatchNorm2d
from semisonic.training.build import build_algorithm, initialize
from semisonic.training.process import start
from semisonic.training.trainer import Trainer
from tests.support import random_networks
from tests.support.throw_away import THROW_AWAY

ROOT = Path(__file__).parent.parent.parent
TOTAL = 20
"""Steps of the schedule; jobs run fewer."""
ALGORITHM_FIELDS: dict[str, list[str]] = {
    "adamatch": ["--algorithm.ramp", "2", "--algorithm.momentum", "0.5", "--algorithm.window", "3"],
    "comatch": ["--algorithm.threshold", "0.19", "--algorithm.window", "2", "--algorithm.queue", "1",
                "--algorithm.graph-threshold", "0.15"],
    "dash": ["--algorithm.epoch", "1.25", "--algorithm.warm-up", "0.8", "--algorithm.fall-every", "0.25",
             "--algorithm.floor", "1.66"],
    "defixmatch": ["--algorithm.threshold", "0.19"],
    "enaet": ["--algorithm.block", "2", "--algorithm.ramp", "2"],
    # With warm-up the thresholds of so few steps are below every confidence.
    "flexmatch": ["--algorithm.threshold", "0.2", "--algorithm.warm-up", "false"],
    "freematch": ["--algorithm.momentum", "0.5", "--algorithm.fairness", "1"],
    "ict": ["--algorithm.block", "2"],
    "mixmatch": ["--algorithm.block", "2", "--algorithm.ramp", "2"],
    "policy-mixmatch": ["--algorithm.block", "2", "--algorithm.epoch-steps", "1", "--algorithm.floor", "0",
                        "--algorithm.normalizer", "kept"],
    "mpl": ["--algorithm.labels", "sampled", "--algorithm.threshold", "0.25", "--algorithm.wait", "1",
            "--algorithm.baseline", "0.1", "--algorithm.warm-up", "0", "--algorithm.strong", "fixmatch",
            "--algorithm.teacher-lr", "0.02"],
    "refixmatch": ["--algorithm.threshold", "0.2", "--algorithm.thresholds", "flexmatch", "--algorithm.warm-up", "false"],
    "remixmatch": ["--algorithm.block", "2", "--algorithm.ramp", "2", "--algorithm.window", "3"],
    "shrinkmatch": ["--algorithm.threshold", "0.19", "--algorithm.window", "3"],
    "simmatch": ["--algorithm.threshold", "0.19", "--algorithm.window", "2", "--algorithm.projectors", "3"],
    "softmatch": ["--algorithm.momentum", "0.5"],
    "uda": ["--algorithm.annealing", "linear", "--algorithm.threshold", "0.19"],
    "pseudo-label": ["--algorithm.threshold", "0.19"],
    # A pool so small that images come again, within a batch too.
    "temporal-ensembling": ["--data.held-out", "1300", "--batch.unlabeled-ratio", "8"],
}  # fmt: skip
"""What an algorithm is given beside the fields that all have: settings at which 10 steps of 8 + 16 images touch all of
its terms, and at which 4 ranks can share them."""


ADDONS = {
    "ctaugment": ["--algorithm.strong", "ctaugment", "--addons.ctaugment.lag", "4"],
    "auxiliary": ["--addons.auxiliary.rotation", "1", "--addons.auxiliary.simclr", "1"],
    "aum": ["--addons.aum.record", "on"],
    "prior": ["--addons.prior.kind", "align", "--addons.prior.window", "3"],
    **{name: [f"--addons.{name}.weight", "1"] for name in THROW_AWAY},
}
"""Fields of the add-on of a job."""


@dataclass(frozen=True)
class Job:
    name: str
    algorithm: str = "fixmatch"
    """One of the registry, or "remembering"."""
    addon: str = ""
    """Of `ADDONS`."""
    strategy: str = "ddp"
    """ddp, zero1, zero2, zero3."""
    dtype: str = "float32"
    frozen: bool = False
    """BatchNorm in evaluation mode throughout."""
    micro: int = 1
    compile: str = "off"
    merged: bool = True
    """Whether compiled steps have tiny launches merged, as every run has."""
    model: str = "wrn-10-1"
    dropout: float = 0.0
    """Before the head."""
    rate: float = 0.01
    optim: str = "sgd"
    layer_decay: float = 1.0
    clip: float | None = None
    gradients: str = "fp32"
    """Precision in which DDP sends them."""
    defaults: bool = False
    """Without `ALGORITHM_FIELDS`."""
    fields: list[str] = field(default_factory=list)
    """Further ones of the run."""
    steps: int = 10
    resume: str | None = None
    """Checkpoint folder to continue from."""
    save: str | None = None
    """Run folder to write a checkpoint to, after step `save_at`."""
    save_at: int = 5


@dataclass
class Result:
    loss: list[float] = field(default_factory=list)
    """Mean over the ranks, step by step; and so below."""
    mask: list[float] = field(default_factory=list)
    """Share of the unlabeled images that count; 1 where the method has no such thing."""
    rate: list[list[float]] = field(default_factory=list)
    """Of every role."""
    seen: list[list[int]] = field(default_factory=list)
    """Positions in the pool of a step's unlabeled samples, in global order."""
    gradients: list[dict[str, Tensor]] = field(default_factory=list)
    """One for each step of an optimizer."""
    state: dict[str, Tensor] = field(default_factory=dict)
    wrapper: str = ""
    """Class of what DDP or DeepSpeed made of the algorithm."""
    split: str = ""
    confusion: dict[str, list[list[int]]] = field(default_factory=dict)
    """Of the last step's networks on the test images: net -> [true class][predicted class]."""


class Remembering(FixMatch):
    """FixMatch with state from all ranks that its loss reads: a table by sample, and a weight by class."""

    def setup(self, info: Info) -> None:
        self.register_buffer("table", torch.full((info.unlabeled,), -1, dtype=torch.int64))
        self.register_buffer("weight", torch.ones(info.classes))
        self.register_buffer("quantile", torch.zeros(()))

    def loss(self, batch: Batch) -> StepOutput:
        output = super().loss(batch)
        weak_UC = self.infer(batch.u["weak"], track=False).detach()
        confidence_U, label_U = weak_UC.softmax(-1).max(-1)
        loss = output.loss * (1 + self.quantile) + 0.1 * self.weight.mean()
        observed = {"index": batch.u_index, "label": label_U, "confidence": confidence_U}
        return StepOutput(loss, output.metrics, observed)

    def update(self, observed: dict[str, Tensor]) -> None:
        self.table[observed["index"]] = observed["label"]
        counts_C = torch.bincount(self.table[self.table >= 0], minlength=len(self.weight)).to(self.weight.dtype)
        self.weight.copy_(counts_C / counts_C.sum())
        # Depends on the order of the samples, which must be the global one whatever ranks and micro-batches are.
        order_U = torch.arange(1, len(observed["confidence"]) + 1)
        self.quantile.copy_((observed["confidence"] * order_U).sum() / order_U.sum())


def configuration(job: Job) -> RunConfig:
    algorithm = "fixmatch" if job.algorithm == "remembering" else job.algorithm
    fields = ["--algorithm", algorithm, "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--device", "cpu",
              "--steps", str(TOTAL), "--log.trackers", "none", "--threads", "1", "--no-baseline", "--optim", job.optim,
              "--optim.lr", str(job.rate), "--model", job.model, "--model.dropout", str(job.dropout), "--batch.micro", str(job.micro), "--compile", job.compile,
              "--eval.batch", "70", "--parallel.gradients", job.gradients,
              "--checkpoint.keep", "100"]  # fmt: skip
    fields += [] if job.defaults else ALGORITHM_FIELDS.get(algorithm, [])
    if algorithm == "fixmatch":
        fields += ["--algorithm.threshold", "0.165" if job.frozen else "0.19"]  # some samples pass, others do not
    fields += ADDONS.get(job.addon, [])
    if job.layer_decay != 1:
        fields += ["--optim.layer-decay", str(job.layer_decay)]
    if job.clip:
        fields += ["--optim.clip", str(job.clip)]
    if job.strategy != "ddp":
        fields += ["--parallel.deepspeed", str(ROOT / "launch" / "deepspeed" / f"{job.strategy}.json")]
    if job.save:
        fields += ["--out", job.save]
    return resolve(fields + job.fields)[1]


def make_trainer(job: Job) -> Trainer:
    # Accelerate keeps what it is in the process: each job starts anew, in the same process group.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)
    cfg = configuration(job)
    accelerator = start(cfg)
    data = load_data_set(cfg.data)
    split = make_split(cfg.data, data.train.labels, len(data.classes), cfg.seed)
    torch.manual_seed(0)
    torch._dynamo.reset()
    kind = {"fixmatch": Remembering} if job.algorithm == "remembering" else {}
    with patch.dict(ALGORITHMS._entries, kind):
        algorithm = build_algorithm(cfg, data, split)
    if cfg.init:
        initialize(algorithm, cfg.init, data.classes)
    algorithm.to(getattr(torch, job.dtype))
    if job.frozen:
        for module in algorithm.modules():
            if isinstance(module, BatchNorm2d):
                module.train = lambda mode=True, own=module: own  # type: ignore[method-assign,misc]
                module.training = False
    with nullcontext() if job.merged else patch("semisonic.training.step.compile_options", lambda _: {}):
        return Trainer(cfg, algorithm, data, split, accelerator)


def gradients_of(engine: Engine) -> dict[str, Tensor]:
    """Of a role whose backward is done and whose optimizer has not stepped yet, reduced over the ranks."""
    from deepspeed.utils import safe_get_full_grad

    zero = isinstance(engine, ZeroEngine)
    found = {name: safe_get_full_grad(p) if zero else p.grad for p, name in engine.trained.items()}
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def train(job: Job) -> Result:
    trainer, result = make_trainer(job), Result()
    if job.resume:
        trainer.restore(checkpoints.load_checkpoint(Path(job.resume)))
    engines = trainer.training_step.engines

    def recorded(engine: Engine, step: Callable[[], None]) -> None:
        result.gradients.append(gradients_of(engine))
        step()

    for engine in engines.values():
        engine.step = partial(recorded, engine, engine.step)  # type: ignore[method-assign]
    loader = trainer.loader()
    while trainer.step < job.steps:
        batch = next(loader)
        output = trainer.training_step(batch)
        mask = output.metrics.get(
            "uda_coverage", output.metrics.get("coverage", torch.ones(()))
        )  # MPL's labels all count
        both = torch.stack([output.loss.detach(), mask]).double()
        loss, mask = trainer.accelerator.reduce(both, reduction="mean").tolist()
        result.loss.append(loss)
        result.mask.append(mask)
        result.rate.append([float(engine.optimizer.param_groups[0]["lr"]) for engine in engines.values()])
        result.seen.append(trainer.training_step.gather({"index": batch.u_index})["index"].tolist())
        if job.save and trainer.step == job.save_at:
            trainer.save()
    with trainer.training_step.whole_parameters():
        result.state = {name: value.clone() for name, value in trainer.algorithm.state_dict().items()}
    for role, engine in engines.items():
        result.state |= {f"optimizer/{role}/{name}": value.clone() for name, value in engine.state()}
    (result.wrapper,) = {type(engine.wrapped).__name__ for engine in engines.values()}
    result.split = trainer.split.hash
    result.confusion = {net: trainer.evaluate(net, "test").confusion for net in ("ema", "raw")}
    return result


def main() -> None:
    for name, kind in THROW_AWAY.items():
        ADD_ONS.register(name, kind)
    random_networks.register()
    jobs = [Job(**fields) for fields in json.loads(Path(sys.argv[1]).read_text())]
    results: dict[str, dict[str, Any]] = {job.name: asdict(train(job)) for job in jobs}
    if int(os.environ.get("RANK", "0")) == 0:
        torch.save(results, sys.argv[2])
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
