"""What a run may change to need less memory, from its configuration: what every message about memory advises.

Each piece of advice is a configuration that is checked as any other, so that none is refused when it is followed, and
fields as they are given on the command line. What a run has already is not advised.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semisonic.config.checks import find_problems
from semisonic.config.run_config import RunConfig
from semisonic.models.blocks import has_blocks

ZERO_2 = "launch/deepspeed/zero2.json"
BUCKET = 25_000_000
"""Numbers of a bucket of gradients in that file."""
COUNTS = 3
"""Numbers of micro-batches that are looked at, each at least twice the one before."""


@dataclass(frozen=True)
class Remedy:
    """One thing that makes a run need less memory."""

    fields: str
    """As they are given on the command line."""
    cfg: RunConfig
    """The run's with these fields."""
    alike: bool
    """Whether a run that has begun may go on with it: it is trained in the same way."""


def remedies(cfg: RunConfig, begun: bool = False) -> list[Remedy]:
    """What helps and is allowed in this run, beginning with what changes its training least.

    begun: only what it may be continued with.
    """
    known = set(find_problems(cfg))
    found = [remedy for remedy in _candidates(cfg) if remedy.alike or not begun]
    return [remedy for remedy in found if known.issuperset(find_problems(remedy.cfg))]


def together(cfg: RunConfig, chosen: list[Remedy]) -> Remedy | None:
    """All of them at once, of micro-batches the most; None where that cannot be."""
    updates: dict[str, Any] = {}
    fields: dict[str, str] = {}
    zero = None
    for remedy in chosen:
        for name in ("recompute", "precision", "batch", "model"):
            if getattr(remedy.cfg, name) != getattr(cfg, name):
                updates[name], fields[name] = getattr(remedy.cfg, name), remedy.fields
        if remedy.cfg.zero != cfg.zero:
            updates["parallel"], zero, fields["zero"] = remedy.cfg.parallel, remedy.cfg.zero, remedy.fields
    combined = cfg.model_copy(update=updates)
    if zero is not None:
        combined.__dict__["zero"] = zero
    return None if find_problems(combined) else Remedy(" ".join(fields.values()), combined, False)


def fewer_evaluated(cfg: RunConfig, images: int) -> Remedy:
    """An evaluation in slices of so many images, which changes no metric."""
    smaller = cfg.eval.model_copy(update={"batch": images})
    return Remedy(f"--eval.batch {images}", cfg.model_copy(update={"eval": smaller}), True)


def advice(cfg: RunConfig, begun: bool = False) -> str:
    """What to do about memory that ran out, in one clause.

    begun: for a run that is to go on as it is, and only otherwise for one that begins anew.
    """
    names = list(dict.fromkeys(remedy.fields for remedy in _one_of_each(remedies(cfg, begun))))
    able = f"use {' or '.join(names)}, " if names else ""
    if begun:
        return f"{able}more ranks or a device with more memory"
    smaller = "a smaller model.name" + (", a smaller data.size" if cfg.data.name == "folder" else "")
    return f"{able}a smaller batch.labeled or batch.unlabeled_ratio, {smaller}, or more ranks; --plan predicts each"


def with_micro(cfg: RunConfig, micro: int) -> RunConfig:
    return cfg.model_copy(update={"batch": cfg.batch.model_copy(update={"micro": micro})})


def larger_counts(cfg: RunConfig, world_size: int) -> list[int]:
    """The numbers of micro-batches, above the configured one, that every rank's shares and the algorithm allow."""
    algorithm, composition = cfg.algorithm_class, cfg.composition
    if composition.couplings():
        return []
    labeled = cfg.batch.labeled // world_size
    shares = [size // world_size for size in cfg.unlabeled_sizes.sizes]
    every = math.gcd(labeled, *shares)
    divisors = [k for k in range(cfg.batch.micro + 1, labeled + 1) if every % k == 0]

    def fits(micro: int) -> bool:
        own = any(algorithm.problems(cfg.algorithm, labeled // micro, share // micro) for share in shares)
        return not own and not composition.stream_problems(cfg.batch.labeled, micro * world_size)

    return [k for k in divisors if fits(k)]


def _candidates(cfg: RunConfig) -> Iterator[Remedy]:
    world_size = cfg.execution.world_size
    if not cfg.recompute and has_blocks(cfg.model.name):
        yield Remedy("--recompute", cfg.model_copy(update={"recompute": True}), True)
    if world_size > 1 and cfg.zero is None:
        yield Remedy(f"--parallel.deepspeed {ZERO_2}", _with_zero_2(cfg), True)
    for micro in _spread(cfg.batch.micro, larger_counts(cfg, world_size)):
        yield Remedy(f"--batch.micro {micro}", with_micro(cfg, micro), False)
    if cfg.arithmetic.name == "fp32":
        yield Remedy("--precision bf16", cfg.model_copy(update={"precision": "bf16"}), False)
    if cfg.model.tune == "full":
        model = cfg.model.model_copy(update={"tune": "lora"})
        yield Remedy("--model.tune lora", cfg.model_copy(update={"model": model}), False)


def _with_zero_2(cfg: RunConfig) -> RunConfig:
    """The run under ZeRO-2, without reading a file."""
    parallel = cfg.parallel.model_copy(update={"deepspeed": Path(ZERO_2)})
    copied = cfg.model_copy(update={"parallel": parallel})
    section = {"stage": 2, "overlap_comm": True, "contiguous_gradients": True, "reduce_bucket_size": BUCKET}
    copied.__dict__["zero"] = {"zero_optimization": section}
    return copied


def _spread(now: int, counts: list[int]) -> list[int]:
    """Few of the counts: each at least twice the one before, and the last of all."""
    chosen: list[int] = []
    for count in counts:
        if count >= 2 * (chosen[-1] if chosen else now):
            chosen.append(count)
    return list(dict.fromkeys([*chosen[: COUNTS - 1], *counts[-1:]]))


def _one_of_each(found: list[Remedy]) -> list[Remedy]:
    """Of several numbers for one field the largest, which helps the most."""
    return list({remedy.fields.split()[0]: remedy for remedy in found}.values())
