"""What kernels.py compares: for each case, functions that do the same work, "ours" first.

A case is a line of CASES: its name, and a builder that gives the functions on a device, or none where there is nothing
to compare. "reference" is the kernel's own in plain torch, "peers" what public implementations do.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.models.networks import ModelConfig, build
from semisonic_kernels import losses
from semisonic_kernels.compile_caches import private_caches
from semisonic_kernels.contrastive import graph_xent, graph_xent_reference, label_graph, nt_xent, nt_xent_reference
from semisonic_kernels.ema import MovingAverage, ema_update_reference
from semisonic_kernels.mixup import mixup, mixup_reference
from semisonic_kernels.rotate import rotate, rotate_reference
from semisonic_kernels.sgd import SgdWithAverage, sgd_with_average_reference
from semisonic_kernels.sync_batch_norm import batch_norm, batch_norm_reference
from without_dali import do_without_dali

Action = Callable[[], object]
Builder = Callable[[torch.device], Mapping[str, Action]]
NETWORKS = {"wrn-28-2": (10, 32), "resnet50": (1000, 224)}
"""Classes and image size of the networks whose tensors are worked on."""
DECAY, MOMENTUM, WEIGHT_DECAY, RATE = 0.999, 0.9, 5e-4, 0.03


def parameters_of(name: str, device: torch.device) -> list[nn.Parameter]:
    network = build(ModelConfig(name=name), *NETWORKS[name])
    return list(network.to(device, memory_format=torch.channels_last).parameters())


def average_loop(averages: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """The EMA of public implementations."""
    with torch.no_grad():
        for average, source in zip(averages, sources, strict=True):
            average.mul_(DECAY).add_(source, alpha=1 - DECAY)


def ema(network: str, device: torch.device) -> dict[str, Action]:
    sources = parameters_of(network, device)
    averages = [torch.randn_like(source) for source in sources]
    weight = torch.tensor(1 - DECAY, dtype=torch.float64, device=device)
    ours = MovingAverage(averages, sources)
    return {
        "ours": lambda: ours.update(weight),
        "reference": lambda: ema_update_reference(averages, sources, weight),
        "peers": lambda: average_loop(averages, sources),
    }


def optimizer_and_ema(network: str, device: torch.device) -> dict[str, Action]:
    """SGD with Nesterov momentum and the EMA of its parameters. Peers: torch's default SGD, then the loop."""
    sets = [parameters_of(network, device) for _ in range(3)]
    averages = [[torch.randn_like(p) for p in parameters] for parameters in sets]
    for parameter in (p for parameters in sets for p in parameters):
        parameter.grad = torch.full_like(parameter, 1e-4)
    rate = torch.tensor(RATE, dtype=torch.float32 if device.type == "cuda" else torch.float64, device=device)
    weight = torch.tensor(1 - DECAY, dtype=torch.float64, device=device)
    options: dict[str, Any] = {"momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY, "nesterov": True}

    own, reference, peers = sets
    gradients = [[p.grad for p in parameters] for parameters in sets]
    momenta = [[torch.zeros_like(p) for p in parameters] for parameters in sets]
    decays = [WEIGHT_DECAY] * len(own)
    default = torch.optim.SGD(peers, lr=RATE, **options)

    def conventional() -> None:
        default.step()
        average_loop(averages[2], peers)

    def plain() -> None:
        sgd_with_average_reference(
            reference, gradients[1], momenta[1], averages[1], decays, rate, MOMENTUM, True, weight
        )  # fmt: skip

    if device.type == "cuda":
        kernel = SgdWithAverage(own, momenta[0], averages[0], decays, MOMENTUM, True)
        ours: Action = partial(kernel.step, gradients[0], rate, weight)
    else:
        fused, average = torch.optim.SGD(own, lr=rate, fused=True, **options), MovingAverage(averages[0], own)

        def ours() -> None:
            fused.step()
            average.update(weight)

    return {"ours": ours, "reference": plain, "peers": conventional}


def augmentation(count: int, size: int, device: torch.device) -> dict[str, Action]:
    """FixMatch's strong operations and Cutout; on the CPU the kernel is its reference. DALI is in data.py."""
    if device.type == "cpu":
        return {}
    do_without_dali()
    from semisonic.data.loading.draws import uniforms
    from semisonic.data.views.registry import build_view
    from semisonic.data.views.view import Geometry
    from semisonic_kernels.augment import augment, augment_reference

    geometry = Geometry(size, pad=0, flip=True, fill=(125, 123, 114), device="gpu")
    view = build_view("fixmatch", geometry, operations="kernel")
    drawn = view.params(uniforms(0, "kernels", np.arange(count), view.uniforms), None)
    parameters = [torch.from_numpy(drawn[name]).to(device) for name in ("operations", "values", "matrices", "holes")]
    images = torch.randint(256, (count, size, size, 3), dtype=torch.uint8, device=device)
    return {
        "ours": lambda: augment(images, *parameters, geometry.fill),
        "reference": lambda: augment_reference(images, *parameters, geometry.fill),
    }


def with_gradient(function: Callable[..., Tensor], *tensors: Tensor, rest: Sequence[Any] = ()) -> Action:
    """Forward and backward: `function(*tensors, *rest)`, whose sum is differentiated by the tensors."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]

    def run() -> None:
        for leaf in leaves:
            leaf.grad = None
        function(*leaves, *rest).sum().backward()

    return run


def fixmatch_loss(rows: int, classes: int, device: torch.device) -> dict[str, Action]:
    """Pseudo-labels, mask and masked cross-entropy: forward and backward."""
    weak, strong = (3 * torch.randn(rows, classes, device=device) for _ in range(2))

    def ours(strong: Tensor) -> Tensor:
        label, _, mask = losses.pseudo_labels(weak, 0.95)
        return losses.consistency_loss(strong, label, mask)

    def reference(strong: Tensor) -> Tensor:
        label, _, mask = losses.pseudo_labels_reference(weak, 0.95)
        return losses.consistency_loss_reference(strong, label, mask)

    def peers(strong: Tensor) -> Tensor:
        confidence, label = torch.softmax(weak.detach(), dim=-1).max(dim=-1)
        mask = confidence.ge(0.95).float()
        return (F.cross_entropy(strong, label, reduction="none") * mask).mean()

    functions = {"ours": ours, "reference": reference, "peers": peers}
    return {name: with_gradient(function, strong) for name, function in functions.items()}


def soft_loss(name: str, rows: int, classes: int, device: torch.device) -> dict[str, Action]:
    """A loss between logits and probabilities (or, for the KL divergence, other logits): forward and backward."""
    logits, other = (torch.randn(rows, classes, device=device) for _ in range(2))
    other = other if name == "kl_divergence" else other.softmax(-1)

    def peers(logits: Tensor) -> Tensor:
        if name == "soft_cross_entropy":
            return -(other * F.log_softmax(logits, dim=-1)).sum(dim=-1)
        if name == "kl_divergence":
            return F.kl_div(F.log_softmax(other, dim=-1), F.softmax(logits, dim=-1), reduction="none").sum(dim=-1)
        return ((F.softmax(logits, dim=-1) - other) ** 2).mean()

    return {
        "ours": with_gradient(getattr(losses, name), logits, rest=(other,)),
        "reference": with_gradient(getattr(losses, f"{name}_reference"), logits, rest=(other,)),
        "peers": with_gradient(peers, logits),
    }


def shrunk(rows: int, classes: int, device: torch.device) -> dict[str, Action]:
    """ShrinkMatch's loss among each sample's own classes, with its gradient. Peers: class after class is left out until
    no sample needs it, for which every one is read back from the device."""
    logits, guesses = (3 * torch.randn(rows, classes, device=device) for _ in range(2))
    targets, threshold = guesses.softmax(-1), 0.95

    def peers(logits: Tensor) -> Tensor:
        q, order = targets.sort(dim=1, descending=True)
        ordered, total = logits.gather(1, order), torch.zeros((), device=device)
        for sample, own in enumerate(q):
            tails = own.flip(0).cumsum(0).flip(0)
            kept = (own[0] / (own[0] + tails[2:]) >= threshold).nonzero()
            if len(kept):
                row = torch.cat([ordered[sample, :1], ordered[sample, 2 + int(kept[0]) :]])
                total = total - own[0] * F.log_softmax(row, dim=0)[0]
        return total

    call = losses.shrunk_cross_entropy, losses.shrunk_cross_entropy_reference
    ours, reference = (with_gradient(function, logits, rest=(targets, threshold)) for function in call)
    return {"ours": ours, "reference": reference, "peers": with_gradient(peers, logits)}


def sharpening(rows: int, classes: int, device: torch.device) -> dict[str, Action]:
    probabilities = torch.randn(rows, classes, device=device).softmax(-1)

    def peers() -> Tensor:
        powers = probabilities ** (1 / 0.5)
        return powers / powers.sum(dim=1, keepdim=True)

    return {
        "ours": lambda: losses.sharpen(probabilities, 0.5),
        "reference": lambda: losses.sharpen_reference(probabilities, 0.5),
        "peers": peers,
    }


def mixing(rows: int, size: int, device: torch.device) -> dict[str, Action]:
    """Mixup of uint8 images, normalized in the same pass. Peers: normalized float images, mixed afterwards."""
    images = torch.randint(256, (rows, size, size, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    targets = torch.randn(rows, 10, device=device).softmax(-1)
    partner, share = torch.randperm(rows, device=device), torch.rand(rows, device=device)
    mean, scale = torch.full((3,), 125.0, device=device), torch.full((3,), 0.016, device=device)

    def peers() -> tuple[Tensor, Tensor]:
        x = (images.float() - mean.view(1, 3, 1, 1)) * scale.view(1, 3, 1, 1)
        lam_x, lam_y = share.view(-1, 1, 1, 1), share.view(-1, 1)
        return lam_x * x + (1 - lam_x) * x[partner], lam_y * targets + (1 - lam_y) * targets[partner]

    return {
        "ours": lambda: mixup(images, targets, partner, share, mean, scale),
        "reference": lambda: mixup_reference(images, targets, partner, share, mean, scale),
        "peers": peers,
    }


def turning(rows: int, size: int, device: torch.device) -> dict[str, Action]:
    """Each image by its own quarter turns. Peers: image by image, which reads every angle back from the device."""
    images = torch.randint(256, (rows, size, size, 3), dtype=torch.uint8, device=device).permute(0, 3, 1, 2)
    turns = torch.randint(4, (rows,), device=device)

    def peers() -> Tensor:
        return torch.stack([torch.rot90(image, int(k), (1, 2)) for image, k in zip(images, turns, strict=True)])

    return {
        "ours": lambda: rotate(images, turns),
        "reference": lambda: rotate_reference(images, turns),
        "peers": peers,
    }


def contrast(rows: int, width: int, device: torch.device) -> dict[str, Action]:
    """NT-Xent of two views of `rows` samples, with its gradient. Peers: rows without their diagonal, selected."""
    views = F.normalize(torch.randn(2 * rows, width, device=device), dim=1)
    own = torch.eye(2 * rows, dtype=torch.bool, device=device)
    partner = own.roll(rows, 0)

    def peers(views: Tensor) -> Tensor:
        similarity = views @ views.T / 0.5
        positives, negatives = similarity[partner].view(2 * rows, 1), similarity[~own & ~partner].view(2 * rows, -1)
        labels = torch.zeros(2 * rows, dtype=torch.int64, device=device)
        return F.cross_entropy(torch.cat([positives, negatives], 1), labels)

    return {
        "ours": with_gradient(lambda views: nt_xent(views, views), views),
        "reference": with_gradient(lambda views: nt_xent_reference(views, views), views),
        "peers": with_gradient(peers, views),
    }


def graph_contrast(rows: int, width: int, device: torch.device) -> dict[str, Action]:
    """CoMatch's contrastive loss by the graph of 10 classes, with its gradient. Peers: the logarithm of a softmax."""
    first, second = (F.normalize(torch.randn(rows, width, device=device), dim=1) for _ in range(2))
    labels = (3 * torch.randn(rows, 10, device=device)).softmax(-1)
    edges = label_graph(labels, labels, 0, 0.8)

    def peers(first: Tensor, second: Tensor) -> Tensor:
        similarity = torch.exp(first @ second.T / 0.2)
        shares = similarity / similarity.sum(1, keepdim=True)
        return -(torch.log(shares + 1e-7) * (edges / edges.sum(1, keepdim=True))).sum(1).mean()

    functions = {"ours": graph_xent, "reference": graph_xent_reference}
    found = {name: with_gradient(call, first, second, rest=(edges, 0.2)) for name, call in functions.items()}
    return found | {"peers": with_gradient(peers, first, second)}


def norm_and_activation(rows: int, channels: int, size: int, device: torch.device) -> dict[str, Action]:
    """BatchNorm and leaky ReLU in training: forward and backward. Ours compiled, channels_last; peers eager, NCHW."""
    images = torch.randn(rows, channels, size, size, device=device)
    weight, bias = torch.rand(channels, device=device), torch.randn(channels, device=device)

    def ours(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return batch_norm(x, weight, bias, mean, var, 0.001, 1e-3, True, slope=0.1)

    def reference(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return batch_norm_reference([x], weight, bias, mean, var, 0.001, 1e-3, slope=0.1)[0]

    def statistics() -> tuple[Tensor, Tensor]:
        return torch.zeros(channels, device=device), torch.ones(channels, device=device)

    last = images.to(memory_format=torch.channels_last)
    layers = nn.Sequential(nn.BatchNorm2d(channels, 1e-3, 0.001), nn.LeakyReLU(0.1, inplace=True)).to(device)
    private_caches()
    compiled = torch.compile(ours, fullgraph=True, dynamic=False)
    return {
        "ours": with_gradient(compiled, last, weight, bias, rest=statistics()),
        "reference": with_gradient(reference, last, weight, bias, rest=statistics()),
        "peers": with_gradient(layers, images),
    }


CASES: dict[str, Builder] = {
    "ema, wrn-28-2": partial(ema, "wrn-28-2"),
    "ema, resnet50": partial(ema, "resnet50"),
    "sgd + ema, wrn-28-2": partial(optimizer_and_ema, "wrn-28-2"),
    "sgd + ema, resnet50": partial(optimizer_and_ema, "resnet50"),
    "augment, 448 x 32 px": partial(augmentation, 448, 32),
    "augment, 320 x 224 px": partial(augmentation, 320, 224),
    **{
        f"fixmatch loss, {rows} x {classes}": partial(fixmatch_loss, rows, classes)
        for rows, classes in ((448, 10), (448, 100), (5120, 1000))
    },
    **{
        f"{name}, {rows} x {classes}": partial(soft_loss, name, rows, classes)
        for name in ("soft_cross_entropy", "kl_divergence", "probability_mse")
        for rows, classes in ((448, 10), (5120, 1000))
    },
    "shrunk_cross_entropy, 448 x 10": partial(shrunk, 448, 10),
    "shrunk_cross_entropy, 448 x 100": partial(shrunk, 448, 100),
    "sharpen, 448 x 10": partial(sharpening, 448, 10),
    "sharpen, 5120 x 1000": partial(sharpening, 5120, 1000),
    "mixup, 512 x 32 px": partial(mixing, 512, 32),
    "rotate, 448 x 32 px": partial(turning, 448, 32),
    "nt_xent, 2 x 448 x 128": partial(contrast, 448, 128),
    "graph_xent, 448 x 64": partial(graph_contrast, 448, 64),
    "batch norm + leaky relu, 120 x 32 x 32 px": partial(norm_and_activation, 120, 32, 32),
    "batch norm + leaky relu, 960 x 32 x 32 px": partial(norm_and_activation, 960, 32, 32),
}
