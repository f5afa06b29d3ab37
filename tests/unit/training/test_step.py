"""A training step: it moves what it must and nothing else, and hands no value to the host."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode

from semisonic import cli
from semisonic.data.loading.draws import purpose, sample_keys
from semisonic.optim.without_compiler import SGD
from semisonic.training.step import seed_torch
from semisonic_kernels import fuse
from tests.support.runs import QUICK
from tests.support.trainers import Reads, make_trainer, on_the_host
from tests.support.two_roles import train, trainer_in


def test_bf16_and_micro_batches_train(tmp_path: Path):
    fields = [*QUICK, "--no-baseline", "--log.trackers", "none", "--precision", "bf16", "--batch.micro", "2",
              "--optim.name", "adamw", "--optim.lr", "1e-3", "--optim.clip", "1.0", "--out", str(tmp_path / "run")]  # fmt: skip
    assert cli.main(fields) == 0
    first, *_, last = (
        json.loads(line)
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        if "train/loss" in line
    )
    assert last["train/loss"] < first["train/loss"]


@pytest.mark.parametrize("part", ["step", "backward"])
def test_a_step_needs_nothing_but_its_batch_and_fixed_tensors(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """From fixed tensors the whole step goes on as from a batch's own; so does one in two parts, as for `backward`."""
    threshold = ("--algorithm.threshold", "0.12")  # some samples pass from the first step on
    plain, replayed = (make_trainer(tmp_path / name, *threshold) for name in ("plain", "replayed"))
    replayed.training_step = on_the_host(replayed, part, monkeypatch)
    for trainer in (plain, replayed):
        loader = trainer.loader()
        addresses = [
            t.data_ptr() for t in (*trainer.algorithm.state_dict().values(), trainer.training_step.first_bad_step)
        ]
        for _ in range(6):
            trainer.training_step(next(loader))
        after = [t.data_ptr() for t in (*trainer.algorithm.state_dict().values(), trainer.training_step.first_bad_step)]
        assert addresses == after  # nothing that a step moves is replaced
    expected, found = plain.algorithm.state_dict(), replayed.algorithm.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert plain.read() == replayed.read() and int(found["step"]) == 6


GROWING = ("--batch.unlabeled-schedule", "growing", "--batch.unlabeled-bend", "0")


def test_a_growing_batch_is_recorded_once_for_each_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And the run is the one that is not replayed."""
    fields = (*GROWING, "--batch.unlabeled-stages", "4", "--steps", "28", "--algorithm.threshold", "0.12")
    plain, replayed = (make_trainer(tmp_path / name, *fields, "--model", "small") for name in ("plain", "replayed"))
    replayed.training_step = on_the_host(replayed, "step", monkeypatch)
    sizes = []
    for trainer in (plain, replayed):
        with trainer.loader() as loader:
            for _ in range(28):
                batch = next(loader)
                trainer.training_step(batch)
                sizes.append(len(batch.u_index))
    assert sizes[:28] == sizes[28:] == [4] * 11 + [8] * 6 + [12] * 7 + [16] * 4
    assert replayed.training_step._on_device.recorder.events.count("capture") == 4
    expected = plain.algorithm.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in replayed.algorithm.state_dict().items())
    assert plain.read() == replayed.read()


@pytest.mark.slow
def test_a_growing_batch_is_compiled_once_for_each_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    counter, compile = CompileCounterWithBackend("eager"), torch.compile

    def compile_quickly(forward: Callable, options: dict | None = None, **how: bool) -> Callable:
        return compile(forward, **how, backend=counter)  # a backend of its own knows no options of the compiler's

    monkeypatch.setattr(torch, "compile", compile_quickly)
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 2)
    fields = (*GROWING, "--batch.unlabeled-stages", "4", "--steps", "8", "--compile", "whole", "--model", "small")
    trainer = make_trainer(tmp_path, *fields)
    with trainer.loader() as loader:
        for _ in range(8):
            trainer.training_step(next(loader))
    assert counter.frame_count == 4


def test_each_step_seeds_torch_by_its_own_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As `torch.manual_seed` does, with the key that the step's number has whichever step came before it."""
    trainer = make_trainer(tmp_path)
    step, seed = trainer.training_step, trainer.cfg.seed
    for number in (0, 1, 63, 64, 65, 1000, 2):
        step.number = number
        (key,) = sample_keys(seed, purpose("step", 0), np.array([number]))
        assert step.step_key() == key
        seed_torch(step.step_key())
        drawn = torch.rand(3)
        torch.manual_seed(int(key))
        assert torch.equal(torch.rand(3), drawn)
    monkeypatch.setattr(torch, "manual_seed", None)
    step.number = 0
    step(next(trainer.loader()))  # nor does it ask for the devices that are not in use


def test_a_step_walks_through_no_modules_unless_one_is_not_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trainer = make_trainer(tmp_path)
    algorithm, loader, calls = trainer.algorithm, trainer.loader(), []
    trainer.training_step(next(loader))
    train = type(algorithm).train
    monkeypatch.setattr(type(algorithm), "train", lambda self, mode=True: calls.append(mode) or train(self, mode))
    trainer.training_step(next(loader))
    assert calls == []
    inner = next(module for module in algorithm.network.modules() if not list(module.children()))
    inner.eval()
    trainer.training_step(next(loader))
    assert calls == [True] and all(module.training for module in algorithm.modules())


def test_an_optimizer_s_step_is_torch_s_own(tmp_path: Path):
    """Accelerate's searches for packages each time."""
    assert type(make_trainer(tmp_path).training_step.engines["network"].optimizer) is SGD


def test_the_learning_rate_follows_the_step_on_the_device(tmp_path: Path):
    trainer = make_trainer(tmp_path, "--steps", "100", "--optim.lr", "0.5", "--optim.schedule", "cosine")
    group, loader = trainer.training_step.engines["network"].optimizer.param_groups[0], trainer.loader()
    address, rates = group["lr"].data_ptr(), []
    for _ in range(3):
        trainer.training_step(next(loader))
        rates.append(group["lr"].item())
    assert rates == pytest.approx([0.25 * (1 + torch.cos(torch.tensor(torch.pi * t / 100)).item()) for t in range(3)])
    assert group["lr"].data_ptr() == address


@pytest.mark.parametrize(("fields", "inside"), [(("--kernels", "reference"), "reference"), ((), "eager")])
def test_no_switch_outlives_a_step(fields: tuple[str, ...], inside: str, tmp_path: Path):
    """The kernels of a step are its own: neither making it nor taking it changes those of the process."""
    seen, outside = [], fuse._kernels
    trainer = make_trainer(tmp_path, *fields)
    trainer.algorithm.network.head.register_forward_pre_hook(lambda *_: seen.append(fuse._kernels))
    batch = next(trainer.loader())
    assert fuse._kernels == outside
    trainer.training_step(batch)
    assert seen and set(seen) == {inside} and fuse._kernels == outside

    def fails(batch: object) -> None:
        raise RuntimeError("inside")

    trainer.algorithm.loss = fails  # type: ignore[method-assign,assignment]
    with pytest.raises(RuntimeError, match="inside"):
        trainer.training_step(batch)
    assert fuse._kernels == outside


@pytest.mark.parametrize("fields", [(), ("--optim", "adamw"), ("--optim.clip", "1.0"), ("--batch.micro", "2")])
@pytest.mark.parametrize("algorithm", ["fixmatch", "supervised"])
def test_a_step_hands_no_value_to_the_host(algorithm: str, fields: tuple[str, ...], tmp_path: Path):
    trainer = make_trainer(tmp_path, "--algorithm", algorithm, *fields)
    batch = next(trainer.loader())
    trainer.training_step(batch)
    with Reads() as reads:
        trainer.training_step.measured = True
        trainer.training_step(batch)
        assert reads.found == []
        trainer.read()  # logging may
        assert reads.found


class Norms(TorchDispatchMode):
    """Counts the operations that take norms of lists of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += "_foreach_norm" in str(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("part", ["off", "step", "backward"])
def test_only_a_measured_step_takes_the_norm_of_its_gradients(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trainer = make_trainer(tmp_path, "--model", "small", "--batch.micro", "2")
    if part != "off":
        trainer.training_step = on_the_host(trainer, part, monkeypatch)
    step, loader = trainer.training_step, trainer.loader()
    for _ in range(5):  # the whole step is replayed by then
        step(next(loader))
    with Norms() as norms:
        step(next(loader))
    assert norms.count == 0 and "train/gradient_norm" not in trainer.read()
    taken, optimizer = [], step.engines["network"].optimizer
    optimizer.register_step_pre_hook(
        lambda *_: taken.append(torch.cat([p.grad.flatten() for p in trainer.algorithm.network.parameters()]).norm())
    )
    step.measured = True
    with Norms() as norms:
        step(next(loader))
    assert norms.count == 1 and trainer.read()["train/gradient_norm"] == pytest.approx(float(taken[0]))


def test_norms_are_those_before_clipping_and_of_each_role(tmp_path: Path):
    clipped = make_trainer(tmp_path, "--model", "small", "--optim.clip", "1e-3")
    clipped.training_step(next(clipped.loader()))
    assert clipped.read()["train/gradient_norm"] > 0.01
    two = trainer_in(tmp_path / "two")
    two.training_step.measured = True
    two.training_step(next(two.loader()))
    metrics = two.read()
    assert metrics["train/gradient_norm"] > 0 and metrics["train/gradient_norm/teacher"] > 0


def test_a_student_that_waits_stays_as_it_is(tmp_path: Path):
    trainer = trainer_in(tmp_path, "--algorithm.wait", "3")
    before = {name: value.clone() for name, value in trainer.algorithm.named_parameters()}
    loader = trainer.loader()
    for step in range(4):
        output = trainer.training_step(next(loader))
        assert (output.metrics["progress"] == 0) == (step < 3)
        moved = {
            name.split(".")[0] for name, p in trainer.algorithm.named_parameters() if not torch.equal(p, before[name])
        }
        assert moved == ({"teacher"} if step < 3 else {"teacher", "network"})


def test_each_role_has_its_own_rate_and_it_is_logged(tmp_path: Path):
    trainer = trainer_in(tmp_path, "--optim.lr", "0.05", "--optim.schedule", "cosine", "--algorithm.warm-up", "3")
    train(trainer, 2)
    metrics = trainer.read()
    assert metrics["lr"] == pytest.approx(0.05 / 4) and metrics["lr/teacher"] == pytest.approx(0.02 / 2, rel=0.01)
    assert {"train/loss_labeled", "train/loss_unlabeled", "train/loss_uda", "train/progress"} <= metrics.keys()


@pytest.mark.parametrize("net", ["network", "teacher"])
def test_a_loss_of_either_network_that_is_not_finite_is_found(net: str, tmp_path: Path):
    trainer = trainer_in(tmp_path)
    train(trainer, 2)
    assert trainer.training_step.first_bad_step == -1
    with torch.no_grad():
        trainer.algorithm.get_submodule(net).head.bias[0] = float("inf")
    train(trainer, 4)
    assert trainer.training_step.first_bad_step == 2


def test_micro_batches_have_one_step_of_each_optimizer(tmp_path: Path):
    trainer, stepped = trainer_in(tmp_path, "--batch.micro", "2"), []
    for role, engine in trainer.training_step.engines.items():
        engine.step = lambda role=role, step=engine.step: (stepped.append(role), step())  # type: ignore[method-assign]
    train(trainer, 2)
    assert stepped == ["student", "teacher"] * 2


def test_no_step_hands_a_value_to_the_host(tmp_path: Path):
    trainer = trainer_in(tmp_path)
    batch = next(trainer.loader())
    trainer.training_step(batch)
    with Reads() as reads:
        trainer.training_step(batch)
        assert reads.found == []


def test_a_step_of_two_roles_needs_nothing_but_its_batch_and_fixed_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """So that it can be recorded as a CUDA graph; tests/gpu records one."""
    plain, replayed = (trainer_in(tmp_path / name) for name in ("plain", "replayed"))
    replayed.training_step = on_the_host(replayed, "step", monkeypatch)
    for trainer in (plain, replayed):
        addresses = [tensor.data_ptr() for tensor in trainer.algorithm.state_dict().values()]
        loader = trainer.loader()
        for _ in range(6):
            trainer.training_step(next(loader))
        assert addresses == [tensor.data_ptr() for tensor in trainer.algorithm.state_dict().values()]
    expected, found = plain.algorithm.state_dict(), replayed.algorithm.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
