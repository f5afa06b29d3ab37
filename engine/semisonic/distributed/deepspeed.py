"""How ranks train together, and a DeepSpeed configuration: reading, checking and completing it.

Nothing here imports DeepSpeed or Accelerate.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from semisonic.records.reading import read_json
from semisonic.schema import Config, UsedWith, UserError, UserPath


class ParallelConfig(Config):
    deepspeed: UserPath | None = None
    """A DeepSpeed configuration such as launch/deepspeed/zero2.json, instead of DDP. Default: that of `accelerate
    launch`, where its own configuration names one."""
    gradients: Literal["fp32", "bf16"] = "fp32"
    """DDP: precision in which gradients travel between ranks; bf16 halves the traffic and rounds them."""
    bucket_mb: Annotated[int, UsedWith("deepspeed", (None,))] = Field(25, ge=1, le=100_000)
    """DDP: gradients travel in buckets of at most about so many MiB, each as soon as it is full; they are cut so that
    the last one, which nothing is left to hide, is small."""
    overlap: bool = True
    """Compiled steps: BatchNorm's messages travel while weight gradients are computed, and those that are ready
    together as one. False = each where its layer is, and waited for at once."""
    join_minutes: float = Field(10, gt=0, le=10_000)
    """How long ranks wait for each other at the start."""


def deepspeed_file(cfg: ParallelConfig) -> Path | None:
    """The DeepSpeed configuration of this run, from its own field or from `accelerate launch`."""
    if cfg.deepspeed is not None:
        return cfg.deepspeed
    launched = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"
    name = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    return Path(name) if launched and name != "none" else None


def read_deepspeed(cfg: ParallelConfig) -> dict[str, Any] | None:
    """The content of the DeepSpeed configuration, or None without one. Raises `UserError` where it is none."""
    path = deepspeed_file(cfg)
    if path is None and os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise UserError(
            "parallel.deepspeed: accelerate's configuration asks for DeepSpeed but names no deepspeed_config_file; "
            "use launch/accelerate/zero2.yaml or --parallel.deepspeed FILE"
        )
    if path is None:
        return None
    content = read_json(path, name=f"parallel.deepspeed: {path}")
    if not isinstance(content, dict) or zero_stage(content) not in (1, 2, 3):
        raise UserError(f"parallel.deepspeed: {path} needs a section zero_optimization with a stage of 1, 2 or 3")
    return content


def zero_stage(content: Any) -> int:
    """Stage of a DeepSpeed configuration; 0 for none."""
    section = content.get("zero_optimization") if isinstance(content, dict) else None
    stage = section.get("stage", 0) if isinstance(section, dict) else 0
    return stage if isinstance(stage, int) else 0


def deepspeed_problems(content: dict[str, Any], path: Path, clip: float | None, micro: int) -> list[str]:
    """What a DeepSpeed configuration says that is not its to say, one line each."""
    problems = []
    owners = {
        "optimizer": "the optimizer is that of optim.name",
        "scheduler": "the schedule is that of optim.schedule",
        "fp16": "precision is that of --precision",
        "bf16": "precision is that of --precision",
        "torch_autocast": "precision is that of --precision",
        "amp": "precision is that of --precision",
    }
    for key, owner in owners.items():
        section = content.get(key)
        if section is not None and not (isinstance(section, dict) and section.get("enabled") is False):
            problems.append(f"{key}: {owner}; remove it, or set its enabled to false")
    allowed = {
        "gradient_clipping": (0, "auto", clip),
        "gradient_accumulation_steps": (1, "auto", micro),
        "train_batch_size": ("auto",),
        "train_micro_batch_size_per_gpu": ("auto",),
        "prescale_gradients": (False,),
        "gradient_predivide_factor": (1,),
    }
    reasons = {
        "gradient_clipping": "optim.clip decides; use 0, auto or the same number",
        "gradient_accumulation_steps": "batch.micro decides; use auto",
        "train_batch_size": "batch.labeled decides; use auto",
        "train_micro_batch_size_per_gpu": "batch.labeled decides; use auto",
        "prescale_gradients": "gradients are the mean over the ranks; use false",
        "gradient_predivide_factor": "gradients are the mean over the ranks; use 1.0",
    }
    for key, values in allowed.items():
        if key in content and content[key] not in values:
            problems.append(f"{key}: {content[key]!r}, but {reasons[key]}")
    return [f"parallel.deepspeed: {path}: {problem}" for problem in problems]


def offloads_optimizer(content: dict[str, Any] | None) -> bool:
    section = (content or {}).get("zero_optimization", {}).get("offload_optimizer") or {}
    return section.get("device", "none") != "none"


def filled(content: dict[str, Any], clip: float | None) -> dict[str, Any]:
    """A DeepSpeed configuration with nothing left for Accelerate or DeepSpeed to fill in by themselves.

    Left alone, Accelerate would clip gradients to a norm of 1 and replace an offloaded optimizer by one of DeepSpeed's.
    """
    complete = content | {
        "gradient_clipping": clip or 0.0,
        "gradient_accumulation_steps": 1,
        "train_micro_batch_size_per_gpu": 1,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    complete.pop("train_batch_size", None)
    return complete


def of_a_role(clip: float | None, micro: int, images: int, world_size: int) -> dict[str, Any]:
    """The entries that differ from role to role: how it clips, its micro-batches, and images of each on a rank."""
    return {
        "gradient_clipping": clip or 0.0,
        "gradient_accumulation_steps": micro,
        "train_micro_batch_size_per_gpu": images,
        "train_batch_size": micro * images * world_size,
    }
