"""The loop that the engine is compared with: FixMatch as public PyTorch implementations run it, for the same work.

An eager NCHW network with torch's own layers, one forward over the concatenated views, SGD with Nesterov momentum, a
LambdaLR, an EMA that goes through the tensors one by one, and four metrics read with `.item()` after each backward.
Interleaving the views before the forward, as some do, changes nothing on one GPU and is left out, in the loop's favor.
So are the further host synchronizations of some implementations.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.config.run_config import RunConfig
from semisonic.models import small, wide_resnet
from semisonic.models.networks import FOUR_STAGE_STRIDE_FROM, ModelConfig, build

ALGORITHMS = ("fixmatch", "supervised")

Labeled = tuple[Tensor, Tensor]
"""Normalized images [B, 3, H, W] and labels [B]."""
Unlabeled = tuple[Tensor, Tensor]
"""Weak and strong normalized images, each [U, 3, H, W]."""


class Block(nn.Module):
    """The pre-activation block of `wide_resnet.Block`, in torch's own layers."""

    def __init__(self, width_in: int, width: int, stride: int, opens: bool, skip_first_norm: bool, norm: dict):
        super().__init__()
        self.opens, self.skip_first_norm = opens, skip_first_norm
        self.bn1 = nn.BatchNorm2d(width_in, **norm)
        self.relu1 = nn.LeakyReLU(wide_resnet.SLOPE, inplace=True)
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, **norm)
        self.relu2 = nn.LeakyReLU(wide_resnet.SLOPE, inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        projects = width_in != width or stride != 1
        self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False) if projects else None

    def forward(self, x: Tensor) -> Tensor:
        activated = x if self.skip_first_norm else self.relu1(self.bn1(x))
        if self.opens:
            x = activated
        out = self.conv2(self.relu2(self.bn2(self.conv1(activated))))
        return torch.add(x if self.shortcut is None else self.shortcut(x), out)


class WideResNet(nn.Module):
    """`wide_resnet.WideResNet`, in torch's own layers; the same tensors in the same order."""

    def __init__(self, cfg: ModelConfig, classes: int, image_size: int):
        super().__init__()
        shape = wide_resnet.parse(cfg.name)
        assert shape is not None
        stages, blocks, factor = shape
        first = cfg.first_stride or (2 if stages == 4 and image_size >= FOUR_STAGE_STRIDE_FROM else 1)
        norm = _norm(cfg, wide_resnet.MOMENTUM, wide_resnet.EPS)
        width = wide_resnet.STEM_WIDTH
        self.stem = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        layers = []
        for stage in range(stages):
            for position in range(blocks):
                width_in, width = width, wide_resnet.STEM_WIDTH * factor * 2**stage
                stride = (2 if stage else first) if position == 0 else 1
                port = position == 0 and stage > 0 and cfg.residual == "port"
                layers.append(Block(width_in, width, stride, position == 0 and stage == 0, port, norm))
        self.blocks = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(width, **norm)
        self.relu = nn.LeakyReLU(wide_resnet.SLOPE, inplace=True)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        out = self.relu(self.norm(self.blocks(self.stem(images))))
        return self.head(F.adaptive_avg_pool2d(out, 1).flatten(1))


def _small(cfg: ModelConfig, classes: int) -> nn.Module:
    """`small.Small`, in torch's own layers; the same tensors in the same order."""
    norm = _norm(cfg, small.MOMENTUM, small.EPS)
    layers: list[nn.Module] = []
    width = 3
    for width_out, pooled in zip(small.WIDTHS, small.POOLED, strict=True):
        layers.append(nn.Conv2d(width, width_out, 3, padding=1, bias=False))
        layers += [nn.BatchNorm2d(width_out, **norm), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] if pooled else []
        width = width_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(width, classes))


def _norm(cfg: ModelConfig, momentum: float, eps: float) -> dict[str, float]:
    return {
        "momentum": momentum if cfg.norm_momentum is None else cfg.norm_momentum,
        "eps": eps if cfg.norm_eps is None else cfg.norm_eps,
    }


def build_network(cfg: ModelConfig, classes: int, image_size: int) -> nn.Module:
    """The engine's network in torch's own layers, with the same initial weights.

    Wide ResNets and `small` are written out here; another network is taken with torch's BatchNorm in it.
    """
    ours = build(cfg, classes, image_size)
    if wide_resnet.parse(cfg.name) is not None:
        network: nn.Module = WideResNet(cfg, classes, image_size)
    elif cfg.name == "small":
        network = _small(cfg, classes)
    else:
        network = copy.deepcopy(ours)
        _restore_batch_norm(network)
    copy_weights(ours, network)
    return network


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copies every tensor, by order. Raises ValueError where the networks are not the same architecture."""
    pairs = list(zip(source.state_dict().values(), target.state_dict().values(), strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        raise ValueError("conventional: the two networks differ in their tensors")
    for value, own in pairs:
        own.copy_(value)


def _restore_batch_norm(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            plain: nn.Module = nn.BatchNorm2d(child.num_features, child.eps, child.momentum, child.affine)
            if child.slope is not None:  # the engine's layer has its activation inside
                plain = nn.Sequential(plain, nn.LeakyReLU(child.slope) if child.slope else nn.ReLU())
            setattr(module, name, plain)
        else:
            _restore_batch_norm(child)


class Average:
    """The EMA copy, one tensor after the other: mul and add for parameters, copies for buffers."""

    def __init__(self, network: nn.Module, cfg: Any):
        self.cfg, self.updates = cfg, 0
        self.network = copy.deepcopy(network).eval()
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        self.parameters = [name for name, _ in self.network.named_parameters()]
        self.buffers = [name for name, _ in self.network.named_buffers()]

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        t, decay = self.updates, self.cfg.decay
        if self.cfg.start_up == "tf":
            decay = min(decay, (1 + t) / (10 + t))
        elif self.cfg.start_up == "mean_teacher":
            decay = min(decay, t / (t + 1))
        live, own = network.state_dict(), self.network.state_dict()
        for name in self.parameters:
            own[name].mul_(decay).add_(live[name], alpha=1 - decay)
        for name in self.buffers:
            own[name].copy_(live[name])
        self.updates += 1


def learning_rate_factor(step: int, cfg: Any, total: int) -> float:
    """The schedule of `semisonic.optim.schedules` in Python numbers."""
    warm_up = min(1.0, (step + 1) / (cfg.warm_up + 1))
    step, total = max(0, step - cfg.warm_up), max(1, total - cfg.warm_up)
    if cfg.schedule == "fixmatch":
        return warm_up * max(0.0, math.cos(7 * math.pi * step / (16 * total)))
    if cfg.schedule == "cosine":
        return warm_up * (1 + math.cos(math.pi * min(1.0, step / total))) / 2
    if cfg.schedule == "ict":
        return warm_up * (1 + math.cos(8 * math.pi / 9 * min(1.0, step / total))) / 2
    return warm_up


def build_optimizer(network: nn.Module, cfg: Any) -> torch.optim.Optimizer:
    """The configured optimizer in the form torch chooses by itself; biases and BatchNorm do not decay."""
    if cfg.name == "lars":
        raise ValueError("optim.name: torch has no lars to compare with; use sgd or adamw")
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1 or cfg.decay_all], "weight_decay": cfg.weight_decay},
        {"params": [p for p in parameters if not (p.ndim > 1 or cfg.decay_all)], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if cfg.name == "adamw":
        return torch.optim.AdamW(groups, lr=cfg.peak, betas=cfg.betas)
    nesterov = cfg.nesterov and cfg.momentum > 0
    return torch.optim.SGD(groups, lr=cfg.peak, momentum=cfg.momentum, nesterov=nesterov)


class Loop:
    """The training loop over two endless iterators of host batches; `unlabeled` is None for supervised training."""

    def __init__(
        self,
        cfg: RunConfig,
        classes: int,
        image_size: int,
        device: torch.device,
        precision: str,
        labeled: Iterator[Labeled],
        unlabeled: Iterator[Unlabeled] | None,
    ):
        self.cfg, self.device, self.labeled, self.unlabeled = cfg, device, labeled, unlabeled
        self.network = build_network(cfg.model, classes, image_size).to(device)
        self.average = Average(self.network, cfg.ema)
        self.optimizer = build_optimizer(self.network, cfg.optim)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, cfg.optim, cfg.steps)
        )
        self.autocast = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self.metrics: dict[str, float] = {}
        """The last step's metrics."""

    def next_batch(self) -> tuple[Tensor, ...]:
        """A batch on the host: images [B], labels, and weak and strong images [U] where there are any."""
        images, labels = next(self.labeled)
        return images, labels, *(next(self.unlabeled) if self.unlabeled is not None else ())

    def copy(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensor.to(self.device, non_blocking=True) for tensor in batch)

    def forward_backward(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        images, labels, *views = batch
        with torch.autocast(self.device.type, self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            logits = self.network(torch.cat((images, *views)))
        logits = logits.float()
        losses = {"labeled": F.cross_entropy(logits[: len(labels)], labels)}
        loss = losses["labeled"]
        if views:
            weak, strong = logits[len(labels) :].chunk(2)
            confidence, pseudo = weak.detach().softmax(-1).max(-1)
            mask = confidence.ge(self.cfg.algorithm.threshold).float()
            losses["unlabeled"] = (F.cross_entropy(strong, pseudo, reduction="none") * mask).mean()
            losses["coverage"] = mask.mean()
            loss = loss + self.cfg.algorithm.weight * losses["unlabeled"]
        self.scaler.scale(loss).backward()
        return {"loss": loss, **losses}

    def log(self, values: dict[str, Tensor]) -> None:
        self.metrics = {name: value.item() for name, value in values.items()}

    def optimize(self) -> None:
        if self.cfg.optim.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.cfg.optim.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()

    def step(self, batch: tuple[Tensor, ...]) -> None:
        """One step on a batch on the host, in the order of the public loops."""
        self.log(self.forward_backward(self.copy(batch)))
        self.optimize()
        self.average.update(self.network)
        self.network.zero_grad()

    def parts_of_a_step(self) -> dict[str, float]:
        """Seconds of the parts of one step with its data, the device waited for after each: for the picture only."""
        seconds: dict[str, float] = {}

        def part(name: str, action: Callable[[], Any]) -> Any:
            begin = time.perf_counter()
            result = action()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begin
            return result

        batch = part("data", lambda: self.copy(self.next_batch()))
        values = part("forward + backward", lambda: self.forward_backward(batch))
        part("rest", lambda: self.log(values))
        part("rest", self.optimize)
        part("EMA", lambda: self.average.update(self.network))
        part("rest", self.network.zero_grad)
        return seconds
