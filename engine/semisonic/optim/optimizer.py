"""Optimizers: which parameters decay, how the learning rates run, and optimizer state under parameter names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from semisonic.optim.lars import LARS, MOMENTUM
from semisonic.optim.schedules import learning_rate
from semisonic.optim.without_compiler import SGD, AdamW
from semisonic.schema import LARGEST_RATE, Config, UsedWith, UserError
from semisonic.text import name_of

Share = Annotated[float, Field(ge=0, lt=1)]


class OptimConfig(Config):
    name: Literal["sgd", "adamw", "lars"] = "sgd"
    """lars: SGD with a rate for each layer, by the norms of its weights and gradient; for batches of thousands."""
    lr: float | None = Field(None, gt=0, le=LARGEST_RATE)
    """Peak learning rate, whatever the world size, since batch sizes are global; default 0.03 (sgd), 1e-3 (adamw), 1
    (lars)."""
    momentum: Annotated[float, UsedWith("name", ("sgd", "lars"))] = Field(0.9, ge=0, lt=1)
    """SGD and LARS."""
    nesterov: bool = True
    """SGD only."""
    betas: Annotated[tuple[Share, Share], UsedWith("name", ("adamw",))] = (0.9, 0.999)
    """AdamW only."""
    weight_decay: float = Field(5e-4, ge=0, le=100)
    """On weights of convolutions and linear layers; coupled (L2) in SGD and LARS, decoupled in AdamW."""
    decay_all: bool = False
    """Decay biases and normalization parameters as well."""
    schedule: Literal["fixmatch", "adamatch", "cosine", "ict", "constant"] = "fixmatch"
    """fixmatch = cos(7 pi t / 16 T), down to 0.195; adamatch = cos(arccos(1/4) t / T), down to 0.25; cosine = half a
    cosine down to 0; ict = the same of a run 450/400 as long."""
    warm_up: int = Field(0, ge=0, le=10**9)
    """Steps of linear warm-up."""
    wait: int = Field(0, ge=0, le=10**9)
    """Steps with a learning rate of 0 before the warm-up and the schedule begin."""
    clip: float | None = Field(None, gt=0, le=1e9)
    """Largest gradient norm; not clipped if absent."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Factor of the learning rate from each layer of the network to the one below it, the head keeping the whole: 0.65
    in vision transformers that start from weights. From 0.8 for convolutional ones, or `backbone_lr`."""
    backbone_lr: float = Field(1.0, gt=0, le=1)
    """The network's learning rate as a share of its head's, which is new where the network starts from weights: 0.1 in
    convolutional networks. Not with `layer_decay`."""

    @property
    def problems(self) -> list[str]:
        """What the fields say against each other, one line each."""
        if self.layer_decay != 1 and self.backbone_lr != 1:
            return ["optim.layer_decay: scales the learning rates of the network, as optim.backbone_lr does; give one"]
        return []

    @property
    def states(self) -> int:
        """Tensors of a parameter's shape that the optimizer keeps for it."""
        return {"sgd": 1 if self.momentum else 0, "adamw": 2, "lars": 1}[self.name]

    @property
    def peak(self) -> float:
        """The peak learning rate."""
        return self.lr if self.lr is not None else {"sgd": 0.03, "adamw": 1e-3, "lars": 1.0}[self.name]


@dataclass(frozen=True)
class LayerRates:
    """How the parameters of a module's networks are trained unlike others."""

    scales: Mapping[Tensor, float] = field(default_factory=dict)
    """Parameter -> its learning rate as a share of the run's. Those that are not there have the whole."""
    undecayed: frozenset[Tensor] = frozenset()
    """Parameters that have no weight decay whatever their shape."""


def parameter_groups(module: nn.Module, cfg: OptimConfig, rates: LayerRates | None = None) -> list[dict]:
    """For each share of the learning rate (`lr_scale`) two groups, decayed and not, the largest share first.

    Tensors with one dimension (biases, BatchNorm) do not decay, and have no rate of their own in LARS (`adapted`).
    """
    rates = rates or LayerRates()
    found: dict[tuple[float, bool, bool], list[Tensor]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            weight = parameter.ndim > 1 and parameter not in rates.undecayed
            decays, adapted = cfg.decay_all or weight, cfg.name == "lars" and weight
            found.setdefault((rates.scales.get(parameter, 1.0), decays, adapted), []).append(parameter)
    return [
        {
            "params": found[scale, decays, adapted],
            "weight_decay": cfg.weight_decay if decays else 0.0,
            "lr_scale": scale,
            "adapted": adapted,
        }
        for scale, decays, adapted in sorted(found, reverse=True)
    ]


STEP = "step"
KEPT = {"sgd": ("momentum_buffer",), "adamw": (STEP, "exp_avg", "exp_avg_sq"), "lars": (MOMENTUM,)}
"""What the optimizers keep of each parameter: tensors of its shape, and Adam's number of steps."""


class AveragingSGD(torch.optim.SGD):
    """SGD whose step also moves the averages of its parameters, in one launch; see `semisonic_kernels.sgd`."""

    def __init__(
        self, groups: list[dict], averages: Mapping[Tensor, Tensor], weight: Callable[[], Tensor], **options: Any
    ):
        super().__init__(groups, **options)
        self.averages, self.weight = averages, weight
        self.kernel: Any = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        pairs = [(p, group["weight_decay"]) for group in self.param_groups for p in group["params"]]
        momenta = [self.state[p].get("momentum_buffer") for p, _ in pairs]
        if self.kernel is None or any(new is not old for new, old in zip(momenta, self.kernel.momenta, strict=True)):
            for parameter, _ in pairs:
                self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
            from semisonic_kernels.sgd import SgdWithAverage  # Triton takes long to import

            self.kernel = SgdWithAverage(
                [p for p, _ in pairs],
                [self.state[p]["momentum_buffer"] for p, _ in pairs],
                [self.averages.get(p) for p, _ in pairs],
                [decay for _, decay in pairs],
                self.defaults["momentum"],
                self.defaults["nesterov"],
            )
        rates = [group["lr"] for group in self.param_groups for _ in group["params"]]
        one = all(rate is rates[0] for rate in rates)
        self.kernel.step([p.grad for p, _ in pairs], rates[0] if one else rates, self.weight())


def build_optimizer(
    module: nn.Module,
    cfg: OptimConfig,
    averages: Mapping[Tensor, Tensor] | None = None,
    weight: Callable[[], Tensor] | None = None,
    captured: bool = False,
    on_host: bool = False,
    rates: LayerRates | None = None,
) -> torch.optim.Optimizer:
    """The optimizer of a module's parameters, torch's own in its fused form; its learning rates are tensors on their
    device, one for all groups of the same `lr_scale`.

    averages, weight: parameter -> its moving average, and a function for the weight of the next update; with them the
    optimizer is an `AveragingSGD` (cfg.name must be sgd). captured: its steps will be part of a CUDA graph. on_host:
    its state, and the parameters that it steps, will be on the CPU.
    """
    groups = parameter_groups(module, cfg, rates)
    device = torch.device("cpu") if on_host else next(module.parameters()).device
    # torch's fused kernels read a float32 on CUDA; on the CPU the rate keeps its digits.
    dtype = torch.float32 if device.type == "cuda" else torch.float64
    scales = {group["lr_scale"] for group in groups}
    own = {scale: torch.tensor(cfg.peak * scale, dtype=dtype, device=device) for scale in scales}
    for group in groups:
        group["lr"] = own[group["lr_scale"]]
    if cfg.name == "adamw":
        return AdamW(groups, betas=cfg.betas, fused=True, capturable=captured)
    if cfg.name == "lars":
        return LARS(groups, cfg.momentum)
    sgd: dict[str, Any] = {"momentum": cfg.momentum, "nesterov": cfg.nesterov and cfg.momentum > 0}
    if averages is not None and weight is not None:
        return AveragingSGD(groups, averages, weight, **sgd)
    return SGD(groups, fused=True, **sgd)


def set_learning_rate(groups: list[dict[str, Any]], cfg: OptimConfig, step: Tensor, total: int) -> None:
    """Sets the learning rates of a step (0-d integer tensor) in an optimizer's groups, in place."""
    own = {id(group["lr"]): (group["lr"], group["lr_scale"]) for group in groups}  # groups may share a tensor
    rate = learning_rate(step, cfg.peak, cfg.schedule, total, cfg.warm_up, cfg.wait)
    tensors, scales = zip(*own.values(), strict=True)
    torch._foreach_copy_(list(tensors), torch._foreach_mul([rate] * len(own), list(scales)))


def optimizer_state(optimizer: torch.optim.Optimizer, names: dict[Tensor, str]) -> dict[str, Tensor]:
    """All state tensors as "parameter name/state name" -> tensor; `names` maps parameters to their names."""
    return {
        f"{names[parameter]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, names: dict[Tensor, str], tensors: dict[str, Tensor], keys: tuple[str, ...]
) -> None:
    """The reverse of `optimizer_state`. State of a parameter's shape takes its device and strides.

    keys: of `KEPT`. Raises `UserError` for state that the optimizer would not have of these parameters.
    """
    by_name = {name: parameter for parameter, name in names.items()}
    for path, value in tensors.items():
        name, _, key = path.rpartition("/")
        where = f"optimizer.safetensors: {name_of(path)}"
        if (parameter := by_name.get(name)) is None:
            raise UserError(f"{where} is of no parameter of this run's network")
        if key not in keys:
            raise UserError(f"{where} is of another optimizer; this run's has {', '.join(keys)}")
        wanted = torch.zeros(()) if key == STEP else parameter
        if (value.dtype, value.shape) != (wanted.dtype, wanted.shape):
            found, needed = (f"{tensor.dtype} {list(tensor.shape)}" for tensor in (value, wanted))
            raise UserError(f"{where} is {found}; this run's is {needed}")
        if value.shape == parameter.shape:  # the parameter's strides too: checkpoints keep none
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        optimizer.state[parameter][key] = value.to(parameter.device)
    for parameter, state in optimizer.state.items():
        if state and (missing := [key for key in keys if key not in state]):
            raise UserError(f"optimizer.safetensors: {names[parameter]}/{missing[0]} is missing")
