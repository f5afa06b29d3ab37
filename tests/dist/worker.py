"""Run by the tests in several processes: trains a few steps of each algorithm and writes losses, gradients and state.

    worker.py OUT.pt
"""

import sys

import torch

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.commandline import resolve
from semisonic.config import RunConfig
from semisonic.data.sources import load
from semisonic.data.splits import make_split
from semisonic.models.norm import BatchNorm2d
from semisonic.run import build_algorithm
from semisonic.runtime import start
from semisonic.trainer import Trainer

STEPS = 5


def configuration(algorithm: str, micro: int, frozen: bool) -> RunConfig:
    fields = ["--algorithm", algorithm, "--batch.labelled", "8", "--batch.unlabelled-ratio", "2", "--device", "cpu",
              "--steps", "20", "--log.trackers", "none", "--threads", "1", "--no-baseline", "--optim.lr", "0.01", "--model", "wrn-10-1",
              "--batch.micro", str(micro)]  # fmt: skip
    if algorithm == "fixmatch":
        fields += ["--algorithm.threshold", "0.165" if frozen else "0.19"]  # some samples pass, others do not
    return resolve(fields)[1]


def train(cfg: RunConfig, dtype: torch.dtype, frozen: bool) -> dict[str, object]:
    """`frozen`: BatchNorm in evaluation mode throughout."""
    accelerator = start(cfg)
    data = load(cfg.data)
    split = make_split(cfg.data, data.train.labels, len(data.classes), cfg.seed)
    torch.manual_seed(0)
    algorithm = build_algorithm(cfg, data, split).to(dtype)
    if frozen:
        for module in algorithm.modules():
            if isinstance(module, BatchNorm2d):
                module.train = lambda mode=True, own=module: own  # type: ignore[method-assign,misc]
                module.training = False
    trainer = Trainer(cfg, algorithm, data, split, accelerator)
    gradients: list[dict[str, torch.Tensor]] = []
    inner = trainer.optimizer_step

    def recorded(role: str) -> None:
        gradients.append({name: p.grad.clone() for name, p in algorithm.named_parameters() if p.grad is not None})
        inner(role)

    trainer.optimizer_step = recorded  # type: ignore[method-assign]
    loader, losses, masks = trainer.loader(), [], []
    for _ in range(STEPS):
        output = trainer.train_step(next(loader))
        both = torch.stack([output.loss.detach(), output.metrics.get("mask", output.loss.detach() * 0).to(dtype)])
        both = accelerator.reduce(both, reduction="mean")
        losses.append(both[0])
        masks.append(both[1])
    return {
        "loss": torch.stack(losses), "mask": torch.stack(masks), "gradients": gradients, "state": algorithm.state_dict(),
        "names": [type(engine.wrapped).__name__ for engine in trainer.engines.values()],
    }  # fmt: skip


def main() -> None:
    results = {}
    for name in ALGORITHMS:
        for dtype in (torch.float64, torch.float32):
            for frozen in (True, False):
                for micro in (1, 2):
                    cfg = configuration(name, micro, frozen)
                    results[name, str(dtype), frozen, micro] = train(cfg, dtype, frozen)
    if start(cfg).is_main_process:
        torch.save(results, sys.argv[1])


if __name__ == "__main__":
    main()
