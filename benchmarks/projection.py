"""How long would a step take on 8, 64 or 512 GPUs? A formula, the inputs that scaling.py measured, and assumptions.

    step(R)      = compute(images / R) + gradients + BatchNorm + state + data
    compute(b)   = fixed + per_image * b                                   forward, backward, optimizer, EMA of one GPU
    gradients    = (1 - overlap) * all_reduce(bytes of the parameters)
    BatchNorm    = messages forward * all_gather(R * 2C * 4 bytes) + what is not hidden of the messages backward
    a message backward = all_reduce(2C * 4 bytes), less the time of the weight gradient that is computed meanwhile
    state        = all_gather(what the algorithm observed)
    data         = waiting * images / R                                      what a step end to end takes longer
    all_reduce(n) = latency(R) + 2 (R - 1) / R * n / bandwidth(R);     all_gather(n) has half of the second term
    latency(R)   = latency in a node + latency between nodes * log2(nodes)

Nothing hides BatchNorm's messages forward: the next layer needs each of them. (In Wide ResNets, three of 25 travel
while a shortcut's convolution is computed, which is short.) Backward, weight gradients do, in compiled steps: they are
taken to be a third of the work on images, as forward, input gradient and weight gradient of a convolution multiply
equally often, and equally long behind each message. Messages meet no other traffic.
A forward of weak views of their own (weak_pass separate) has messages of its own: as many again, or, joined with those
of the other forward, none but more bytes. Its work is taken to be that of (labeled + weak) forward and (labeled +
strong) forward and backward, a forward being a third of the work on an image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

WORLDS = (8, 64, 512)
FORWARD, WEIGHTS = 1 / 3, 1 / 3
"""Shares of a forward and of the weight gradients in the work on an image."""


@dataclass(frozen=True)
class Fit:
    """t = constant + slope * x, both from 0 on."""

    constant: float
    slope: float
    error: float
    """Median relative error over the points."""

    def __call__(self, x: float) -> float:
        return self.constant + self.slope * x


def fit(xs: Sequence[float], ts: Sequence[float]) -> Fit:
    """Least squares of the relative errors, so that a short time counts as much as a long one.

    Raises ValueError for fewer than two different x or a time that is not positive.
    """
    x, t = np.asarray(xs, dtype=float), np.asarray(ts, dtype=float)
    if len(np.unique(x)) < 2 or (t <= 0).any():
        raise ValueError("fit: needs two different x or more, and positive times")
    columns = np.stack([1 / t, x / t], axis=1)
    candidates = [np.linalg.lstsq(columns, np.ones_like(t), rcond=None)[0]]
    for own in (0, 1):  # where one would be negative, it is 0 and the other alone is fitted
        column = columns[:, own]
        candidates.append(np.eye(2)[own] * (column.sum() / (column @ column)))
    allowed = [pair for pair in candidates if (pair >= 0).all()]
    best = min(allowed, key=lambda pair: float(np.square(columns @ pair - 1).sum()))
    return Fit(float(best[0]), float(best[1]), float(np.median(np.abs(columns @ best - 1))))


def ring(ranks: int) -> float:
    """Times that each byte of an all-reduce crosses a rank's link."""
    return 2 * (ranks - 1) / ranks


def fit_all_reduce(rows: Sequence[dict[str, float]], ranks: int) -> Fit:
    """Seconds of an all-reduce of x bytes on the wire: latency, and 1 / bandwidth."""
    return fit([ring(ranks) * row["bytes"] for row in rows], [row["seconds"] for row in rows])


@dataclass(frozen=True)
class Network:
    """A cluster's network. The defaults are assumptions: 80 % of what the makers state of NVLink 4 (450 GB/s a GPU and
    direction) and of one 400 Gb/s InfiniBand adapter a GPU (50 GB/s), and usual latencies of small NCCL all-reduces."""

    gpus: int = 8
    """Of a node."""
    latency_us: float = 20.0
    """Of a small all-reduce in a node."""
    bandwidth_gb: float = 360.0
    """Of a GPU in a node, GB/s."""
    node_latency_us: float = 10.0
    """What each doubling of the nodes adds."""
    node_bandwidth_gb: float = 40.0
    """Of a GPU between nodes, GB/s."""

    def latency(self, ranks: int) -> float:
        nodes = max(1, ranks / self.gpus)
        return (self.latency_us + self.node_latency_us * math.log2(nodes)) / 1e6 if ranks > 1 else 0.0

    def bandwidth(self, ranks: int) -> float:
        """Bytes a second of the narrowest link."""
        return 1e9 * (self.bandwidth_gb if ranks <= self.gpus else self.node_bandwidth_gb)

    def all_reduce(self, size: float, ranks: int, calls: int = 1) -> float:
        """Seconds of `calls` messages of `size` bytes together."""
        return calls * self.latency(ranks) + ring(ranks) * size / self.bandwidth(ranks)

    def all_gather(self, size: float, ranks: int, calls: int = 1) -> float:
        return calls * self.latency(ranks) + ring(ranks) / 2 * size / self.bandwidth(ranks)


@dataclass(frozen=True)
class Fitted:
    """The network that was measured, at one number of ranks."""

    measured: Fit
    """As of `fit_all_reduce`."""

    def all_reduce(self, size: float, ranks: int, calls: int = 1) -> float:
        return calls * self.measured.constant + ring(ranks) * size * self.measured.slope

    def all_gather(self, size: float, ranks: int, calls: int = 1) -> float:
        return calls * self.measured.constant + ring(ranks) / 2 * size * self.measured.slope


@dataclass(frozen=True)
class Hidden:
    """What a step hides of its messages."""

    gradients: float = 0.0
    """Part of the gradients' time."""
    covered: float = 0.0
    """Part of BatchNorm's backward messages that have a weight gradient between being sent and being waited for."""


@dataclass(frozen=True)
class Inputs:
    """What a step costs and communicates, as measured and counted."""

    compute: Fit
    """Seconds by images of one rank."""
    data: float
    """Seconds that waiting for data adds for each image of one rank."""
    images: int
    """Of a step, over all ranks, each counted once whatever the number of its views."""
    labeled: int
    """Of these; ranks must divide it."""
    gradient_bytes: float
    """Of gradients and of what a sharded optimizer gathers: of an all-reduce that sends as much."""
    gradient_calls: int
    forward_calls: int
    backward_calls: int
    channels: int
    """Of all synchronized BatchNorm backwards of a step together, and of its forwards where nothing else is said."""
    forward_channels: int = 0
    """Of the forwards, where they are others."""
    state_bytes: float = 0.0
    """Gathered from `images`."""
    state_calls: int = 0
    weights: float = WEIGHTS
    """What part of the work on images weight gradients are."""

    @property
    def gathered(self) -> int:
        """Channels of all forwards."""
        return self.forward_channels or self.channels


def inputs_of(result: dict[str, Any]) -> Inputs:
    """From a result of scaling.py. Raises ValueError where it lacks what the formula needs."""
    counts = result.get("communication", {})
    if "compute" not in result or not counts:
        raise ValueError("the projection needs measured shares and counted communication (two processes or more)")
    ranks, count = max((int(ranks), count) for ranks, count in counts.items())
    step = count["step"]

    def of(what: str, *purposes: str) -> float:
        return sum(step[name][what] for name in purposes if name in step)

    found, weights = result["compute"], ("gradients", "parameters")
    return Inputs(
        compute=Fit(found["fixed_seconds"], found["seconds_per_image"], found["error"]),
        data=found["data_seconds_per_image"],
        images=result["images_per_step"],
        labeled=result["configuration"]["labeled"],
        gradient_bytes=of("wire_bytes", *weights) / ring(ranks),
        gradient_calls=int(of("calls", *weights)),
        forward_calls=int(of("calls", "BatchNorm forward")),
        backward_calls=int(of("calls", "BatchNorm backward")),
        channels=int(of("bytes", "BatchNorm backward")) // (2 * 4),
        forward_channels=int(of("bytes", "BatchNorm forward")) // (ranks * 2 * 4),
        state_bytes=of("bytes", "algorithm state") * result["images_per_step"] / count["images_per_step"],
        state_calls=int(of("calls", "algorithm state")),
    )


def separate_pass(inputs: Inputs, joined: bool) -> Inputs:
    """The same step with a forward of their own for weak views, without gradient; of inputs that have a joint one.

    Labeled images have one view, the others a weak and a strong one. joined: whether the forwards' messages travel
    together.
    """
    unlabeled = inputs.images - inputs.labeled
    first, second, joint = inputs.labeled + unlabeled, inputs.labeled + unlabeled, inputs.labeled + 2 * unlabeled
    work = FORWARD * first + second
    return replace(
        inputs,
        compute=replace(inputs.compute, slope=inputs.compute.slope * work / joint),
        weights=WEIGHTS * second / work,
        forward_calls=inputs.forward_calls * (1 if joined else 2),
        forward_channels=2 * inputs.channels,
    )


def step_parts(
    inputs: Inputs, ranks: int, images: float, network: Network | Fitted, hidden: Hidden = Hidden()
) -> dict[str, float]:
    """Seconds of the parts of a step of `ranks` GPUs with `images` each."""
    one_rank = 2 * 4 * inputs.channels
    gradients = network.all_reduce(inputs.gradient_bytes, ranks, inputs.gradient_calls)
    rows = network.all_gather(ranks * 2 * 4 * inputs.gathered, ranks, inputs.forward_calls)
    sums = network.all_reduce(one_rank, ranks, inputs.backward_calls)
    cover = inputs.weights * inputs.compute.slope * images
    travels = min(sums, cover) * hidden.covered
    state = inputs.state_bytes * images * ranks / inputs.images
    parts = {
        "compute": inputs.compute(images),
        "gradients": (1 - hidden.gradients) * gradients,
        "BatchNorm": rows + sums - travels,
        "state": network.all_gather(state, ranks, inputs.state_calls),
        "data": inputs.data * images,
    }
    if ranks == 1:
        parts |= {"gradients": 0.0, "BatchNorm": 0.0, "state": 0.0}
    return parts


def hidden_seconds(inputs: Inputs, ranks: int, images: float, network: Network | Fitted, hidden: Hidden) -> float:
    """What weight gradients hide of BatchNorm's messages in a step."""
    bare = step_parts(inputs, ranks, images, network, replace(hidden, covered=0.0))
    return bare["BatchNorm"] - step_parts(inputs, ranks, images, network, hidden)["BatchNorm"]


def project(
    inputs: Inputs, network: Network, hidden: Hidden = Hidden(), worlds: Sequence[int] = WORLDS
) -> list[dict[str, Any]]:
    """Rows of the table: each world size with the global batch as measured, and with it growing with the ranks.

    "seconds" is None where the labeled images of the global batch do not divide over the ranks.
    """
    rows: list[dict[str, Any]] = []
    alone = inputs.images / sum(step_parts(inputs, 1, inputs.images, network, hidden).values())
    for mode in ("strong", "weak"):
        for ranks in worlds:
            share = inputs.images / ranks if mode == "strong" else float(inputs.images)
            row: dict[str, Any] = {"mode": mode, "ranks": ranks, "images": share, "seconds": None}
            row["labeled"] = inputs.labeled / ranks if mode == "strong" else float(inputs.labeled)
            if mode == "weak" or inputs.labeled % ranks == 0:
                row["parts"] = step_parts(inputs, ranks, share, network, hidden)
                row["hidden"] = hidden_seconds(inputs, ranks, share, network, hidden)
                row["seconds"] = sum(row["parts"].values())
                row["images_per_second"] = share * ranks / row["seconds"]
                row["efficiency"] = row["images_per_second"] / (ranks * alone)
            rows.append(row)
    return rows


def notes(inputs: Inputs, rows: Sequence[dict[str, Any]]) -> list[str]:
    """What limits a run at these sizes, in numbers, and what would have to change."""
    strong = [row for row in rows if row["mode"] == "strong"]
    possible = [row for row in strong if row["seconds"] is not None]
    lines = []
    if possible:
        row = possible[-1]
        busy = inputs.compute.slope * row["images"] / row["seconds"]
        lines.append(
            f"The share of a fixed global batch is the limit: at {row['ranks']} GPUs {row['labeled']:.0f} labeled of "
            f"{row['images']:.0f} images are left to each, and {busy:.0%} of the step is work on images; the rest is "
            f"the step's fixed {1000 * inputs.compute.constant:.1f} ms, messages and data."
        )
    for row in strong:
        if row["seconds"] is None:
            lines.append(f"{inputs.labeled} labeled images do not divide over {row['ranks']} GPUs: refused.")
    per_rank = 2 * 4 * inputs.gathered
    if per_rank and inputs.gradient_bytes:
        equal = math.ceil(2 * inputs.gradient_bytes / per_rank)  # an all-reduce sends its bytes twice
        lines.append(
            f"SyncBatchNorm's forward gathers a row a rank: R x {per_rank / 2**10:.1f} KiB a step, which sends as much "
            f"as the gradients' {inputs.gradient_bytes / 2**20:.1f} MiB from {equal} GPUs on."
        )
    return [*lines, *CHANGES]


CHANGES = (
    "SyncBatchNorm in groups of one node's GPUs (model.norm_groups) keeps its messages on NVLink and their size "
    "constant; it changes the statistics from those of the global batch to those of a group, so it is another "
    "optimization problem.",
    "A larger batch for each GPU (batch.labeled times the GPUs, with the learning rate and steps to match) is what "
    "makes many GPUs pay; more GPUs on the published batch do not.",
    "compile=whole hands the gradients of a graph over at its end: all of DDP's buckets but the last leave while the "
    "backward runs, and the last has about 1 MiB. Compiled by blocks, they leave block after block; a bf16 all-reduce "
    "halves their bytes; a hierarchical one (within nodes, then between them) sends 1 / GPUs-per-node of them over the "
    "slower links.",
    "Beyond the step: a manifest or a packed copy of the images on every node's own disk, since hundreds of ranks that "
    "open small files meet the file system's metadata server; checkpoints written by one rank stay small for these "
    "networks, a sharded optimizer (ZeRO) wants one file a rank; one lost GPU in 512 stops all: see resuming.",
)
