"""How a run is carried out: what `auto` stands for, settled once for a configuration and the process that it is in.

A configuration holds what was asked for. What comes of it depends on the machine, the launcher's environment and a
DeepSpeed file, each of which is looked at once; `RunConfig.execution` is what they came to.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from semisonic.cpus import multiply_bf16, usable_cpus
from semisonic.distributed import deepspeed
from semisonic.distributed.failures import format_ranks
from semisonic.distributed.variables import local_world_size, world_size
from semisonic.models import blocks

AMPERE = (8, 0)
"""Compute capability of the first GPUs with instructions for products in bf16."""
SMALL = re.compile(r"small|wrn-10-\d+")
"""Networks that stay in fp32: their runs are short, and no table shows that bf16 costs them nothing."""


@dataclass(frozen=True)
class Surroundings:
    """What the process finds around it."""

    gpu: bool
    """Whether torch sees one."""
    world_size: int
    """Ranks, as the launcher says."""
    cores: int
    """CPU cores that this rank may use: its share of the node's."""

    @classmethod
    def here(cls) -> "Surroundings":
        return cls(
            gpu=torch.cuda.is_available(),
            world_size=world_size(),
            cores=max(1, usable_cpus() // local_world_size()),
        )


@dataclass(frozen=True)
class Execution:
    """What a configuration's choices came to."""

    device: str
    """cpu or cuda."""
    zero: dict[str, Any] | None
    """The content of the DeepSpeed configuration; None without one."""
    graphs: str
    """What is compiled: whole, blocks or off."""
    replayed: str
    """What is replayed as a CUDA graph: step, backward or off."""
    operations: str
    """Where RandAugment's operations run: dali or kernel."""
    threads: int
    """CPU threads of this rank."""
    world_size: int

    @property
    def zero_stage(self) -> int:
        """Stage of DeepSpeed's ZeRO; 0 without DeepSpeed."""
        return deepspeed.zero_stage(self.zero)


def settle(cfg: Any, around: Surroundings, zero: dict[str, Any] | None) -> Execution:
    """What the choices of a `RunConfig` come to; zero: the content of its DeepSpeed configuration."""
    device = ("cuda" if around.gpu else "cpu") if cfg.device == "auto" else cfg.device
    on_gpu, stage = device == "cuda", deepspeed.zero_stage(zero)
    recordable = cfg.precision != "fp16" and not (cfg.recompute and blocks.draws(cfg.model.name))
    alone = around.world_size == 1 and not stage and cfg.algorithm_class.roles == ("network",)
    graphs = "whole" if on_gpu and stage != 3 else "off"
    replayed = "step" if on_gpu and recordable and alone else "off"
    operations = "dali" if cfg.kernels == "reference" else "kernel"
    return Execution(
        device=device,
        zero=zero,
        graphs=graphs if cfg.compile == "auto" else cfg.compile,
        replayed=replayed if cfg.replay == "auto" else cfg.replay,
        operations=operations if cfg.data.operations == "auto" else cfg.data.operations,
        threads=cfg.threads or around.cores,
        world_size=around.world_size,
    )


class Precision(NamedTuple):
    """In what the network computes."""

    name: str
    """fp32, bf16 or fp16."""
    reason: str = ""
    """Why `auto` came to it; "" where it was asked for."""

    @property
    def text(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name


def has_bf16(device: str) -> bool:
    """Whether the hardware of a device, cpu or cuda, has instructions for products in bf16. It makes torch use the
    GPUs, after which a process must not fork: not to be asked before it trains."""
    if device != "cuda":
        return multiply_bf16()
    return all(torch.cuda.get_device_capability(index) >= AMPERE for index in range(torch.cuda.device_count()))


def settle_precision(asked: str, device: str, model: str) -> Precision:
    """What a run's `precision` comes to in this process, on a device and for the network of this name."""
    if asked != "auto":
        return Precision(asked)
    if SMALL.fullmatch(model):
        return Precision("fp32", "auto: the network is small")
    where = "GPU" if device == "cuda" else "CPU"
    if has_bf16(device):
        return Precision("bf16", f"auto: the {where} has instructions for it")
    return Precision("fp32", f"auto: the {where} has no instructions for bf16")


def common_precision(found: Sequence[Precision]) -> Precision:
    """What all ranks compute in, of what each has come to by itself."""
    plain = [rank for rank, own in enumerate(found) if own.name == "fp32"]
    if not plain or len(plain) == len(found):
        return found[0]
    return Precision(
        "fp32", f"auto: {format_ranks(plain)} {'has' if len(plain) == 1 else 'have'} no instructions for bf16"
    )
