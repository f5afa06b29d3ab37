"""The memory of a step is predicted without taking it, as torch's allocator then counts it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from measure import most_allocated
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.command_line import resolve
from semisonic.config.run_config import RunConfig
from semisonic.data.loading.synthetic import synthetic_batch
from semisonic.models.networks import ModelConfig, build
from semisonic.runs.live_bytes import LiveBytes, Unwritten
from semisonic.runs.predicted_memory import Predicted, Unpredictable, predict, stand_ins
from semisonic.training.build import build_algorithm, build_trainer
from tests.support.trials import digits


def settled(*fields: str) -> RunConfig:
    """A run of few images, with the settings of its method."""
    few = ["--device", "cpu", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--eval.batch", "8"]
    return resolve([*few, "--log.trackers", "none", "--no-baseline", *fields])[1]


def predicted(cfg: RunConfig, world_size: int = 1) -> Predicted:
    data, split = digits()
    return predict(cfg, data, split, lambda own: build_algorithm(own, data, split, fresh=False), world_size)


def measured(cfg: RunConfig) -> int:
    """What torch's allocator gives out at most while a trainer is built and takes two steps."""
    data, split = digits()

    def train() -> None:
        trainer = build_trainer(cfg, data, split)
        labeled, unlabeled = cfg.batch.labeled, cfg.batch.unlabeled
        batch = synthetic_batch(data, split, cfg.views, cfg.loading, labeled, unlabeled, torch.device("cpu"))
        for _ in range(2):
            trainer.training_step(batch)

    return allocated(train)


def allocated(work: Callable[[], None]) -> int:
    """The most bytes that torch's allocator has given out while something is done, as its profiler counts them."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    return most_allocated(recorded)


CASES = {
    "micro-batches": ["--model", "small", "--batch.micro", "4"],
    "AdamW, bf16": ["--model", "small", "--optim", "adamw", "--precision", "bf16"],
    "recomputed": ["--model", "wrn-10-1", "--recompute", "--optim.clip", "1"],
    "weak views separate": ["--model", "wrn-10-1", "--algorithm.weak-pass", "separate"],
    "several optimizers": ["--model", "small", "--algorithm", "mpl", "--kernels", "reference"],
}


@pytest.mark.parametrize("name", CASES)
def test_a_step_takes_what_was_predicted(name: str):
    cfg = settled("--steps", "100", *CASES[name])
    assert predicted(cfg).peak == pytest.approx(measured(cfg), rel=0.1)


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_every_method_is_predicted(algorithm: str):
    found = predicted(settled("--algorithm", algorithm, "--model", "small", "--data.held-out", "10"))
    assert min(found.step[part] for part in ("parameters", "ema", "optimizer", "images", "activations")) > 0


def test_the_parts_are_what_they_are_called():
    cfg = settled("--model", "wrn-10-1", "--optim", "adamw")
    found = predicted(cfg)
    algorithm = build_algorithm(cfg, *digits())
    one = sum(parameter.nbytes for parameter in algorithm.parameters())
    assert found.step["parameters"] == one and found.step["optimizer"] == 2 * one
    assert found.step["ema"] == sum(buffer.nbytes for buffer in algorithm.buffers())
    assert 0 <= found.step["gradients"] <= one  # those that are there at the moment of the peak
    images = 3 * 16**2 * (8 + 2 * 16)
    assert images <= found.step["images"] <= images + 2000  # with labels and indices
    assert found.peak == sum(found.step.values()) and found.most == max(found.peak, found.evaluation)


def test_what_saves_memory_is_predicted_to():
    fields = ["--model", "wrn-10-1", "--batch.labeled", "16", "--eval.batch", "16"]
    plain = predicted(settled(*fields))
    kept = plain.step["activations"]
    for more in (
        ["--recompute"],
        ["--batch.micro", "4"],
        ["--precision", "bf16"],
        ["--algorithm.weak-pass", "separate"],
    ):
        assert predicted(settled(*fields, *more)).step["activations"] < 0.9 * kept, more
    of_two = predicted(settled(*fields), world_size=2)
    assert of_two.step["activations"] < 0.6 * kept and of_two.step["parameters"] == plain.step["parameters"]
    assert of_two.step["gradients"] == plain.step["parameters"]  # in buckets, which stay
    more = predicted(settled(*fields, "--eval.batch", "32"))
    assert 1.5 * plain.evaluation < more.evaluation + plain.step["parameters"] and more.step == plain.step


@pytest.mark.parametrize(
    "shape", [(96, 1, 5, 96), (96, 1, 3, 96), (64, 64, 3, 1), (32, 3, 3, 1), (96, 24, 1, 1)], ids=str
)
def test_what_convolutions_take_for_themselves(shape: tuple[int, int, int, int]):
    outputs, inputs, side, groups = shape

    def work() -> None:
        x = torch.ones(6, inputs * groups, 32, 32).to(memory_format=torch.channels_last).requires_grad_()
        weight = torch.ones(outputs, inputs, side, side).to(memory_format=torch.channels_last).requires_grad_()
        y = F.conv2d(x, weight, padding=side // 2, groups=groups)
        y.backward(torch.ones_like(y))

    with stand_ins() as (_, live):
        work()
    assert live.most == pytest.approx(allocated(work), rel=0.1)


@pytest.mark.parametrize("stage", [1, 2])
def test_ranks_of_zero_share_the_optimizer(stage: int):
    file = Path(__file__).parents[3] / f"launch/deepspeed/zero{stage}.json"
    found = predicted(settled("--model", "wrn-10-1", "--optim", "adamw", "--parallel.deepspeed", str(file)), 2)
    one = found.step["parameters"]
    assert found.step["optimizer"] == pytest.approx(one * (1 + 2) / 2, abs=50)  # a copy of the parameters besides
    buckets, whole = 2 * 4 * 25_000_000, one if stage == 1 else 0
    assert buckets + one / 2 - 50 <= found.step["gradients"] <= buckets + one / 2 + whole + one / 4


def test_large_weights_take_addresses_only():
    with Unwritten():
        network = build(ModelConfig(name="vit_b_16"), 10, 224)
        numbers = torch.linspace(0, 1, 12).tolist()
    first = network.body.encoder.layers[0].mlp[0].weight
    assert first.shape == (3072, 768) and numbers[-1] == 1
    with stand_ins() as (mode, live):
        fake = mode.from_tensor(first)
        live.count([fake], "parameters")
        twice = fake @ fake.T
        assert live.now == {"parameters": first.nbytes, "activations": 4 * 3072**2} and twice.shape == (3072, 3072)
        del twice
        assert live.total == first.nbytes and live.most == first.nbytes + 4 * 3072**2


def test_bytes_of_what_autograd_keeps_are_alive():
    with stand_ins() as (_, live):
        weight = nn.Parameter(torch.zeros(1000))
        live.count([weight], "parameters")
        y = (weight.exp() * 2).sum()
        assert live.now["activations"] == 4000 + 4  # the exponential, and the sum
        y.backward()
        del y
        live.count([weight.grad], "gradients")
        assert live.now == {"parameters": 4000, "gradients": 4000, "activations": 0}


def test_storages_are_counted_once():
    live = LiveBytes()
    with live:
        whole = torch.zeros(100)
        parts = [whole[:10], whole.view(10, 10), whole.add_(1)]
        live.count(parts, "images")
    assert live.now == {"images": 400, "activations": 0}


def test_a_step_that_reads_values_is_not_predicted(monkeypatch: pytest.MonkeyPatch):
    inner = FixMatch.loss
    monkeypatch.setattr(FixMatch, "loss", lambda self, batch: inner(self, batch) if batch.y.sum().item() else None)
    with pytest.raises(Unpredictable, match="reads values"):
        predicted(settled())
