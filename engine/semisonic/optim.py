"""Optimisers: which parameters decay, how the learning rate runs, and optimiser state under parameter names."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from semisonic.schedules import learning_rate
from semisonic.schema import Config

Share = Annotated[float, Field(ge=0, lt=1)]


class OptimConfig(Config):
    name: Literal["sgd", "adamw"] = "sgd"
    lr: float | None = Field(None, gt=0)
    """Peak learning rate, whatever the world size, since batch sizes are global; default 0.03 (sgd), 1e-3 (adamw)."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """SGD only."""
    nesterov: bool = True
    """SGD only."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """AdamW only."""
    weight_decay: float = Field(5e-4, ge=0)
    """On weights of convolutions and linear layers; coupled (L2) in SGD, decoupled in AdamW."""
    decay_all: bool = False
    """Decay biases and normalisation parameters as well."""
    schedule: Literal["fixmatch", "cosine", "constant"] = "fixmatch"
    """fixmatch = cos(7 pi t / 16 T); cosine = half a cosine down to 0."""
    warm_up: int = Field(0, ge=0)
    """Steps of linear warm-up."""
    clip: float | None = Field(None, gt=0)
    """Largest gradient norm; not clipped if absent."""

    @property
    def peak(self) -> float:
        """The peak learning rate."""
        return self.lr if self.lr is not None else {"sgd": 0.03, "adamw": 1e-3}[self.name]


def parameter_groups(module: nn.Module, cfg: OptimConfig) -> list[dict]:
    """Two groups, decayed and not: tensors with one dimension (biases, BatchNorm) do not decay."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    decayed = [p for p in trained if cfg.decay_all or p.ndim > 1]
    rest = [p for p in trained if not (cfg.decay_all or p.ndim > 1)]
    groups = [
        {"params": decayed, "weight_decay": cfg.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(module: nn.Module, cfg: OptimConfig) -> torch.optim.Optimizer:
    groups = parameter_groups(module, cfg)
    if cfg.name == "adamw":
        return torch.optim.AdamW(groups, lr=cfg.peak, betas=cfg.betas)
    nesterov = cfg.nesterov and cfg.momentum > 0
    return torch.optim.SGD(groups, lr=cfg.peak, momentum=cfg.momentum, nesterov=nesterov)


def set_learning_rate(optimizer: torch.optim.Optimizer, cfg: OptimConfig, step: int, total: int) -> float:
    """Sets and returns the learning rate of a step."""
    rate = float(learning_rate(torch.tensor(step), cfg.peak, cfg.schedule, total, cfg.warm_up))
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def optimizer_state(optimizer: torch.optim.Optimizer, names: dict[Tensor, str]) -> dict[str, Tensor]:
    """All state tensors as "parameter name/state name" -> tensor; `names` maps parameters to their names."""
    return {
        f"{names[parameter]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, names: dict[Tensor, str], tensors: dict[str, Tensor]
) -> None:
    """The reverse of `optimizer_state`. State of a parameter's shape takes its device and strides."""
    by_name = {name: parameter for parameter, name in names.items()}
    for path, value in tensors.items():
        name, key = path.rsplit("/", 1)
        parameter = by_name[name]
        if value.shape == parameter.shape:  # the parameter's strides too: checkpoints keep none
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        optimizer.state[parameter][key] = value
