"""How a role's module is trained over the ranks: alone, under DDP, or under DeepSpeed's ZeRO.

All of them are one problem: gradients are the mean over the ranks, micro-batches are summed before it, and optimizer
state is read and written whole, under parameter names, so that a checkpoint of any continues under any other.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from semisonic.distributed.buckets import bucket_cap, cut_at
from semisonic.distributed.deepspeed import of_a_role
from semisonic.faults import reach
from semisonic.optim.optimizer import KEPT, OptimConfig, load_optimizer_state, optimizer_state
from semisonic.schema import UserError

__all__ = ["Accelerator", "Engine", "ForwardBackward", "ZeroEngine"]


class Engine:
    """One role's module and its optimizer, on one process or under DDP."""

    partitioned = False
    """Whether parameters are spread over the ranks, and whole only inside `whole_parameters`."""

    def __init__(
        self,
        accelerator: Accelerator,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        optim: OptimConfig,
        names: Mapping[Tensor, str],
    ):
        self.accelerator, self.module, self.scaler, self.optim = accelerator, module, scaler, optim
        self.names: dict[Tensor, str] = {parameter: names[parameter] for parameter in module.parameters()}
        self.trained = {parameter: name for parameter, name in self.names.items() if parameter.requires_grad}
        """Those that the optimizer has; the others are frozen."""
        self.sizes = sum(p.numel() for p in self.trained), sum(p.numel() for p in self.names)
        """Numbers that are trained, and numbers in all parameters; taken while each rank has whole ones."""
        self.bucket: int | None = None
        """Bytes from which on a bucket of DDP's is sent; None without it."""
        self.wrapped, self.optimizer = self.prepare(module, optimizer)
        self.skipped = False
        """Whether the last step was left out because fp16's gradients overflowed, which its scaling allows for."""
        self.overflowed = False
        """Whether gradients were not finite although nothing allows for it: in fp16, at a scale below 1."""
        self.keeps_gradients = False
        """Whether gradients stay after a step until the caller zeroes them: a CUDA graph of the step holds their memory
        anyway."""
        self.measured = False
        """Whether the norm of the next gradients is taken before the optimizer's step."""
        self.gradient_norm: Tensor | float | None = None
        """Of all gradients together, over the ranks, before clipping; of the last step that took it."""

    def prepare(self, module: nn.Module, optimizer: Any) -> tuple[Any, Any]:
        """The module wrapped for the ranks, and the optimizer as it is stepped."""
        # One process has nothing to wrap. Accelerate would import the compiler, a second, to see whether it was used.
        if self.accelerator.distributed_type == DistributedType.NO:
            return module, optimizer
        # torch's own: Accelerate's would add nothing to a step but a search for packages, which small steps feel.
        with self._last_bucket_small():
            return self.accelerator.prepare(module, optimizer)[0], optimizer

    @contextmanager
    def _last_bucket_small(self) -> Iterator[None]:
        """Inside, DDP is told the size of buckets by which the last one is small."""
        handler = self.accelerator.ddp_handler
        if handler is None:
            yield
            return
        sizes = [parameter.numel() * parameter.element_size() for parameter in self.trained]
        self.bucket = bucket_cap(sizes, int(handler.bucket_cap_mb * 2**20))
        asked, handler.bucket_cap_mb = handler.bucket_cap_mb, self.bucket / 2**20
        try:
            yield
        finally:
            handler.bucket_cap_mb = asked  # of the next role

    def __call__(self, *args: Any) -> Any:
        # DDP and DeepSpeed expect a backward after each forward; without gradients there is none.
        if not torch.is_grad_enabled():
            return self.module(*args)
        with nullcontext() if self.bucket is None else cut_at(self.bucket):
            return self.wrapped(*args)

    def accumulate(self, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of a micro-batch: gradients are reduced over the ranks with the last one."""
        return nullcontext() if last else self.accelerator.no_sync(self.wrapped)

    def backward(self, loss: Tensor) -> None:
        reach("gradients")
        # Not Accelerate's, which divides by a number of accumulation steps from the environment.
        self.scaler.scale(loss).backward()

    def step(self) -> None:
        """Clips (if asked), steps the optimizer and zeroes the gradients."""
        self.optimizer_step()
        if not self.keeps_gradients:
            self.zero_grad()

    def measure(self) -> None:
        """Takes the norm of the gradients as they are, on the device; with `optim.clip` each step has taken it."""
        gradients = [parameter.grad for parameter in self.trained if parameter.grad is not None]
        if self.optim.clip is None and gradients:
            norms = torch.stack(torch._foreach_norm(gradients))
            self.gradient_norm = torch.linalg.vector_norm(norms) / self.scaler.get_scale()

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def optimizer_step(self) -> None:
        """Clips (if asked) and steps the optimizer; the gradients stay."""
        before = self.scaler.get_scale()  # 1 without fp16
        if self.optim.clip is not None:
            self.scaler.unscale_(self.optimizer)
            self.gradient_norm = torch.nn.utils.clip_grad_norm_(self.wrapped.parameters(), self.optim.clip)
        elif self.measured:
            self.measure()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        scale = self.scaler.get_scale()
        self.skipped = scale < before
        self.overflowed = self.skipped and scale < 1

    def whole_parameters(self, write: bool = False) -> AbstractContextManager[Any]:
        return nullcontext()

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """All optimizer state as ("parameter/state", tensor). All ranks must ask for it, to the end."""
        yield from optimizer_state(self.optimizer, self.trained).items()

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """The reverse of `state`, after the parameters were loaded."""
        load_optimizer_state(self.optimizer, self.trained, tensors, KEPT[self.optim.name])

    def load_scaler(self, states: Mapping[str, dict[str, Any]], role: str) -> None:
        """Takes over fp16's loss scale from those of all roles, which are empty without fp16. Raises `UserError`."""
        if not self.scaler.is_enabled():
            return
        state = states.get(role, {})
        if missing := [name for name in self.scaler.state_dict() if name not in state]:
            raise UserError(f"state.json: scaler.{role}: {', '.join(missing)} missing, which precision=fp16 needs")
        self.scaler.load_state_dict(state)


class ForwardBackward:
    """An engine without its `step`: for a CUDA graph of forward and backward, which the optimizer's step follows."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.accumulate, self.backward = engine.accumulate, engine.backward

    def __call__(self, *args: Any) -> Any:
        return self.engine(*args)

    def step(self) -> None:
        """Left to the caller."""


class ZeroEngine(Engine):
    """One role's module and its optimizer under DeepSpeed's ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054).

    DeepSpeed keeps a flat float32 copy of each rank's part of the parameters, with the optimizer's state beside it.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        optim: OptimConfig,
        names: Mapping[Tensor, str],
        micro: int,
        images: int,
    ):
        """micro: micro-batches of a step. images: of each of them on this rank, both streams together."""
        accelerator.gradient_accumulation_steps = micro
        accelerator.deepspeed_plugin.deepspeed_config |= of_a_role(optim.clip, micro, images, accelerator.num_processes)
        super().__init__(accelerator, module, optimizer, scaler, optim, names)
        self.partitioned = self.wrapped.zero_optimization_stage() == 3

    def prepare(self, module: nn.Module, optimizer: Any) -> tuple[Any, Any]:
        wrapped, prepared = self.accelerator.prepare(module, optimizer)
        return wrapped, prepared

    @property
    def base(self) -> torch.optim.Optimizer:
        """torch's optimizer of this rank's flat parts."""
        return self.wrapped.optimizer.optimizer

    @contextmanager
    def accumulate(self, last: bool) -> Iterator[None]:
        self.wrapped.set_gradient_accumulation_boundary(last)
        yield

    def backward(self, loss: Tensor) -> None:
        reach("gradients")
        self.wrapped.backward(loss, scale_wrt_gas=False)  # the losses of micro-batches are divided already

    def zero_grad(self) -> None:
        """DeepSpeed's step does it."""

    def optimizer_step(self) -> None:
        """DeepSpeed leaves out a step whose float32 gradients are not finite and goes on; a run must not."""
        self.wrapped.step()
        self.overflowed = bool(self.wrapped.optimizer.overflow)
        self.gradient_norm = self.wrapped.get_global_grad_norm()  # it takes it in every step

    def measure(self) -> None:
        """DeepSpeed's step has done it."""

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

        self._attach_state()
        shared, spread = self._keys()
        for parameter, name in self.trained.items():
            for key in spread:
                yield f"{name}/{key}", safe_get_full_optimizer_state(parameter, key).cpu()
            for key, value in shared.items():
                yield f"{name}/{key}", value.cpu().clone()

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        self._make_state(tensors)
        spread = self._keys()[1]
        for parameter, name in self.trained.items():
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
        """Gives torch's optimizer the state of a checkpoint, empty still, and has DeepSpeed find it."""
        name = next(iter(self.trained.values()))
        one = {path.removeprefix(f"{name}/"): value for path, value in tensors.items() if path.startswith(f"{name}/")}
        for part in self._flat():
            self.base.state[part] = {  # 0-d: Adam's number of steps, the same for all parameters
                key: torch.zeros_like(part) if value.ndim else value.to(part.device, copy=True)
                for key, value in one.items()
            }
        self._attach_state()

    def _flat(self) -> list[Tensor]:
        """This rank's flat float32 parts of the parameters."""
        optimizer = self.wrapped.optimizer
        return optimizer.fp32_partitioned_groups_flat if self.partitioned else optimizer.single_partition_of_fp32_groups

    def _attach_state(self) -> None:
        """Has DeepSpeed find the state of all parts: by itself it looks once, before all groups have any."""
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        if not self.partitioned:
            for parameters, part in zip(self.wrapped.optimizer.bit16_groups, self._flat(), strict=True):
                lazy_init_hp_params_optimizer_state(parameters, part, self.base.state)
