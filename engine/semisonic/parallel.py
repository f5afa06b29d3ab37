"""How a role's module is trained over the ranks: alone, under DDP, or under DeepSpeed's ZeRO.

All of them are one problem: gradients are the mean over the ranks, micro-batches are summed before it, and optimiser
state is read and written whole, under parameter names, so that a checkpoint of any continues under any other.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import DeepSpeedPlugin
from pydantic import Field
from torch import Tensor, nn

from semisonic.optim import load_optimizer_state, optimizer_state
from semisonic.schema import Config, UserError


class ParallelConfig(Config):
    deepspeed: Path | None = None
    """A DeepSpeed configuration such as launch/deepspeed/zero2.json, instead of DDP. Default: that of `accelerate
    launch`, where its own configuration names one."""
    gradients: Literal["fp32", "bf16"] = "fp32"
    """DDP: precision in which gradients travel between ranks; bf16 halves the traffic and rounds them."""
    bucket_mb: int = Field(25, ge=1)
    """DDP: gradients travel in buckets of so many MiB, each as soon as it is full."""
    join_minutes: float = Field(10, gt=0)
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
    if path is None:
        return None
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"parallel.deepspeed: {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"parallel.deepspeed: {path} is not JSON ({error})") from error
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
        "optimizer": "the optimiser is that of optim.name",
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
        "train_batch_size": "batch.labelled decides; use auto",
        "train_micro_batch_size_per_gpu": "batch.labelled decides; use auto",
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


def plugin(content: dict[str, Any], clip: float | None) -> DeepSpeedPlugin:
    """Accelerate's plugin for a DeepSpeed configuration, with nothing left for either to fill in by itself.

    Left alone, Accelerate would clip gradients to a norm of 1 and replace an offloaded optimiser by one of DeepSpeed's.
    """
    filled = content | {
        "gradient_clipping": clip or 0.0,
        "gradient_accumulation_steps": 1,
        "train_micro_batch_size_per_gpu": 1,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    filled.pop("train_batch_size", None)
    # Accelerate refuses a configuration beside fields that `accelerate launch` has put into the environment.
    os.environ.pop("ACCELERATE_CONFIG_DS_FIELDS", None)
    return DeepSpeedPlugin(hf_ds_config=filled, zero3_init_flag=False)


def set_role(accelerator: Accelerator, clip: float | None, micro: int, images: int) -> None:
    """Tells DeepSpeed how the next engine clips, the micro-batches of a step, and the images of each on this rank."""
    accelerator.gradient_accumulation_steps = micro
    accelerator.deepspeed_plugin.deepspeed_config |= {
        "gradient_clipping": clip or 0.0,
        "gradient_accumulation_steps": micro,
        "train_micro_batch_size_per_gpu": images,
        "train_batch_size": micro * images * accelerator.num_processes,
    }


class Engine:
    """One role's module and its optimiser, on one process or under DDP."""

    partitioned = False
    """Whether parameters are spread over the ranks, and whole only inside `whole_parameters`."""

    def __init__(
        self,
        accelerator: Accelerator,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        clip: float | None,
        names: Mapping[Tensor, str],
    ):
        self.accelerator, self.module, self.scaler, self.clip = accelerator, module, scaler, clip
        self.names: dict[Tensor, str] = {parameter: names[parameter] for parameter in module.parameters()}
        self.wrapped, self.optimizer = accelerator.prepare(module, optimizer)
        self.skipped = False
        """Whether the last step was left out because fp16's gradients overflowed, which its scaling allows for."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def __call__(self, *args: Any) -> Any:
        return self.wrapped(*args)

    def accumulate(self, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of a micro-batch: gradients are reduced over the ranks with the last one."""
        return nullcontext() if last else self.accelerator.no_sync(self.wrapped)

    def backward(self, loss: Tensor) -> None:
        # Not Accelerate's, which divides by a number of accumulation steps from the environment.
        self.scaler.scale(loss).backward()

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self) -> None:
        """Clips (if asked) and steps."""
        scale = self.scaler.get_scale()  # 1 without fp16
        if self.clip is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.wrapped.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.skipped = self.scaler.get_scale() < scale

    def overflowed(self) -> bool:
        """Whether gradients are not finite although nothing allows for it: in fp16, at a scale below 1."""
        return self.skipped and self.scaler.get_scale() < 1

    def whole_parameters(self, write: bool = False) -> AbstractContextManager[Any]:
        return nullcontext()

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """All optimiser state as ("parameter/state", tensor). All ranks must ask for it, to the end."""
        yield from optimizer_state(self.optimizer, self.names).items()

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """The reverse of `state`, after the parameters were loaded."""
        load_optimizer_state(self.optimizer, self.names, tensors)


class ZeroEngine(Engine):
    """One role's module and its optimiser under DeepSpeed's ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054).

    DeepSpeed keeps a flat float32 copy of each rank's part of the parameters, with the optimiser's state beside it.
    """

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.partitioned = self.wrapped.zero_optimization_stage() == 3

    @property
    def base(self) -> torch.optim.Optimizer:
        """torch's optimiser of this rank's flat parts."""
        return self.wrapped.optimizer.optimizer

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.wrapped.optimizer.param_groups

    @contextmanager
    def accumulate(self, last: bool) -> Iterator[None]:
        self.wrapped.set_gradient_accumulation_boundary(last)
        yield

    def backward(self, loss: Tensor) -> None:
        self.wrapped.backward(loss, scale_wrt_gas=False)  # the losses of micro-batches are divided already

    def zero_grad(self) -> None:
        """DeepSpeed's step does it."""

    def step(self) -> None:
        self.wrapped.step()

    def overflowed(self) -> bool:
        """DeepSpeed leaves out a step whose float32 gradients are not finite and goes on; a run must not."""
        return bool(self.wrapped.optimizer.overflow)

    def whole_parameters(self, write: bool = False) -> AbstractContextManager[Any]:
        """Inside, every rank sees whole parameters; what rank 0 writes to them is kept where `write` says so."""
        return self._whole(list(self.names), write)

    def _whole(self, parameters: list[Tensor], write: bool = False) -> AbstractContextManager[Any]:
        if not self.partitioned:
            return nullcontext()
        import deepspeed

        return deepspeed.zero.GatheredParameters(parameters, modifier_rank=0 if write else None)

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """One parameter's after the other, so that no device need hold the whole, which may not fit."""
        from deepspeed.utils import safe_get_full_optimizer_state

        self._link()
        shared, spread = self._keys()
        for parameter, name in self.names.items():
            for key in spread:
                yield f"{name}/{key}", safe_get_full_optimizer_state(parameter, key).cpu()
            for key, value in shared.items():
                yield f"{name}/{key}", value.cpu().clone()

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        self._make_state(tensors)
        spread = self._keys()[1]
        for parameter, name in self.names.items():
            with self._whole([parameter]):
                whole = parameter.detach().float().clone()
            safe_set_full_fp32_param(parameter, whole)
            for key in spread:
                value = tensors[f"{name}/{key}"].to(parameter.device)
                safe_set_full_optimizer_state(parameter, value, key)

    def _keys(self) -> tuple[dict[str, Tensor], list[str]]:
        """State that all parameters share (0-d tensors), and the names of state of a parameter's shape."""
        state: dict[str, Any] = next(iter(self.base.state.values()), {})
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        shared = {key: value for key, value in tensors.items() if value.ndim == 0}
        return shared, sorted(tensors.keys() - shared.keys())

    def _make_state(self, tensors: dict[str, Tensor]) -> None:
        """Gives torch's optimiser the state of a checkpoint, empty still, and has DeepSpeed find it."""
        name = next(iter(self.names.values()))
        one = {path.removeprefix(f"{name}/"): value for path, value in tensors.items() if path.startswith(f"{name}/")}
        for part in self._flat():
            self.base.state[part] = {  # 0-d: Adam's number of steps, the same for all parameters
                key: torch.zeros_like(part) if value.ndim else value.to(part.device, copy=True)
                for key, value in one.items()
            }
        self._link()

    def _flat(self) -> list[Tensor]:
        """This rank's flat float32 parts of the parameters."""
        optimizer = self.wrapped.optimizer
        return optimizer.fp32_partitioned_groups_flat if self.partitioned else optimizer.single_partition_of_fp32_groups

    def _link(self) -> None:
        """Has DeepSpeed find the state of all parts: by itself it looks once, before all groups have any."""
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        if not self.partitioned:
            for parameters, part in zip(self.wrapped.optimizer.bit16_groups, self._flat(), strict=True):
                lazy_init_hp_params_optimizer_state(parameters, part, self.base.state)
