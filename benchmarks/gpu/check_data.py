"""Batches made on the GPU against those made on the CPU, tensor by tensor, while the device is kept behind the host.

    python benchmarks/gpu/check_data.py

A buffer that is fed or freed too early shows as a difference. Each line names the step and the tensor.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import keystr, tree_flatten_with_path

from semisonic.config.command_line import resolve
from semisonic.config.run_config import RunConfig
from semisonic.contract import Batch
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.loader import Loader, Sampling
from semisonic.data.sets.registry import load_data_set
from semisonic.data.sets.splits import make_split

LABELED, UNLABELED = 8, 56
STEPS = 48
"""Enough that every buffer is used again several times."""
BEHIND = 20_000_000
"""Cycles that the device sleeps before each batch: about 10 ms, longer than the host takes to prepare one."""
VARIANTS: tuple[tuple[tuple[str, ...], float], ...] = (
    ((), 0.0),
    (("--algorithm.strong", "noise", "--data.steps-per-call", "3"), 0.0),
    (("--algorithm.strong", "augmix"), 0.01),
    (("--data.operations", "dali"), 0.01),
)
"""Fields, and the share of an image tensor's values that may differ: DALI's own operations round differently."""


def configuration(fields: Sequence[str], device: str) -> RunConfig:
    own = ["--no-baseline", "--device", device, "--batch.labeled", str(LABELED), "--log.trackers", "none"]
    return resolve([*own, "--batch.unlabeled-ratio", str(UNLABELED // LABELED), *fields])[1]


def make_loaders(cfg: RunConfig, devices: Sequence[torch.device]) -> list[Loader]:
    data = load_data_set(cfg.data)
    split = make_split(cfg.data, data.train.labels, len(data.classes), cfg.seed)
    views = cfg.views
    sampling = Sampling(cfg.seed, LABELED, UNLABELED)
    return [Loader(data, split, views, sampling, Placement.of(cfg.loading, device)) for device in devices]


def tensors(batch: Batch) -> dict[str, Tensor]:
    """Every tensor of a batch by its place in it, as ".u['strong']"."""
    return {keystr(path): value for path, value in tree_flatten_with_path(batch)[0]}


def late_copies(loader: Any, steps: int, device: torch.device) -> list[dict[str, Tensor]]:
    """The tensors of some steps, copied on a device that is behind. What a batch frees is overwritten at once."""
    kept = []
    for _ in range(steps):
        if device.type == "cuda":
            torch.cuda._sleep(BEHIND)
        kept.append({name: value.clone() for name, value in tensors(next(loader)).items()})
        torch.empty(2**22, device=device).random_()
    return kept


def differences(found: Sequence[dict[str, Tensor]], expected: Any, tolerance: float) -> list[str]:
    """One line for each tensor of each step that is not that of `expected`, an iterator of batches."""
    lines = []
    for step, own in enumerate(found):
        others = tensors(next(expected))
        assert own.keys() == others.keys()
        for name, value in own.items():
            share = (value.cpu() != others[name].cpu()).double().mean().item() if value.numel() else 0.0
            if share > (tolerance if value.dtype == torch.uint8 else 0):
                lines.append(f"step {step}, {name}: {share:.2%} of the values differ")
    return lines


def check(device: torch.device, steps: int = STEPS) -> int:
    """The number of differences over all variants, which it prints."""
    count = 0
    for fields, tolerance in VARIANTS:
        own, reference = make_loaders(configuration(fields, device.type), (device, torch.device("cpu")))
        print(" ".join(fields) or "as by default", "-", own.describe(), flush=True)
        lines = differences(late_copies(own, steps, device), reference, tolerance)
        print("\n".join(f"FAILED: {line}" for line in lines) or "the same", flush=True)
        count += len(lines)
    return count


if __name__ == "__main__":
    failed = check(torch.device("cuda", 0))
    print(f"{failed} failed" if failed else "passed")
    sys.stdout.flush()
    os._exit(failed > 0)  # the loaders' threads have no end of their own
