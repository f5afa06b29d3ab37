"""Steps that are recorded and replayed: the order of events here, the graph itself in tests/gpu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from semisonic.config.command_line import resolve
from semisonic.optim.optimizer import AveragingSGD, OptimConfig, build_optimizer
from semisonic.schema import UserError
from semisonic.training.cuda_graph import GraphedFunction
from semisonic_kernels import fuse
from tests.support.trainers import FIELDS, OnTheHost, Reads, make_trainer, on_the_host


def test_batches_are_copied_into_fixed_tensors():
    seen = []

    def action(batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        seen.append((batch["u"]["weak"].data_ptr(), batch["u"]["weak"].sum().item(), batch["none"].numel()))
        assert batch["u"]["weak"].is_contiguous(memory_format=torch.channels_last)
        return {"sum": batch["u"]["weak"].sum()}

    recorder = OnTheHost()
    replay = GraphedFunction(action, recorder, warm_up=2)
    for step in range(5):
        image = torch.full((2, 3, 4, 4), float(step)).to(memory_format=torch.channels_last)
        replay({"u": {"weak": image}, "none": torch.empty(0)})
    assert recorder.events == ["warm-up", "warm-up", "capture", "replay", "replay", "replay"]
    assert [total for _, total, _ in seen] == [96.0 * step for step in range(5)]
    assert len({address for address, _, _ in seen[2:]}) == 1


def test_another_shape_is_an_error():
    replay = GraphedFunction(lambda batch: batch, OnTheHost(), warm_up=0)
    replay({"x": torch.zeros(4)})
    with pytest.raises(RuntimeError, match="size"):
        replay({"x": torch.zeros(5)})


def test_what_cannot_be_recorded_says_what_to_change():
    class Refuses(OnTheHost):
        def capture(self, action: Callable[[], Any]) -> Any:
            raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(UserError, match=r"--replay off .*not permitted"):
        GraphedFunction(lambda batch: batch, Refuses(), warm_up=0)({"x": torch.zeros(1)})


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
    trainer.algorithm.network.register_forward_pre_hook(lambda *_: seen.append(fuse._kernels))
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


def test_an_evaluation_leaves_every_module_in_the_mode_that_it_was_in(tmp_path: Path):
    trainer = make_trainer(tmp_path)
    frozen = trainer.algorithm.network.head.eval()
    modes = {name: module.training for name, module in trainer.algorithm.named_modules()}
    seen = []
    for module in trainer.algorithm.ema.modules():
        module.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    trainer.evaluate("ema", "test", 100)
    assert seen and not any(seen)
    assert modes == {name: module.training for name, module in trainer.algorithm.named_modules()}
    assert modes[""] and not frozen.training


@pytest.mark.parametrize("fields", [(), ("--optim", "adamw"), ("--optim.clip", "1.0"), ("--batch.micro", "2")])
@pytest.mark.parametrize("algorithm", ["fixmatch", "supervised"])
def test_a_step_hands_no_value_to_the_host(algorithm: str, fields: tuple[str, ...], tmp_path: Path):
    trainer = make_trainer(tmp_path, "--algorithm", algorithm, *fields)
    batch = next(trainer.loader())
    trainer.training_step(batch)
    with Reads() as reads:
        trainer.training_step(batch)
        assert reads.found == []
        trainer.read()  # logging may
        assert reads.found


def test_the_averaging_optimizer_trains_as_torch_s_and_the_ema_do(tmp_path: Path):
    """On the CPU with the kernel interpreted; on CUDA the trainer chooses it by itself."""
    threshold = ("--algorithm.threshold", "0.12")
    plain, fused = (make_trainer(tmp_path / name, *threshold) for name in ("plain", "fused"))
    algorithm = fused.algorithm
    options = (algorithm.averaged_parameters(), algorithm.ema_weight)
    optimizer = build_optimizer(algorithm, fused.cfg.optim, *options)
    assert isinstance(optimizer, AveragingSGD)
    step = fused.training_step
    step.engines["network"].optimizer, step.averages_parameters = fused.accelerator.prepare(optimizer), False
    for trainer in (plain, fused):
        loader = trainer.loader()
        for _ in range(4):
            trainer.training_step(next(loader))
    torch.testing.assert_close(algorithm.state_dict(), plain.algorithm.state_dict(), rtol=1e-4, atol=1e-6)
    moved = algorithm.averaged_parameters()
    assert all(not torch.equal(parameter, average) for parameter, average in moved.items())


def test_replay_is_checked_before_anything_starts():
    with pytest.raises(UserError, match="replay: step needs a GPU"):
        resolve([*FIELDS, "--replay", "step"])
    assert resolve(FIELDS)[1].replayed == "off"


def test_adamw_reads_its_rate_from_a_tensor():
    layer = torch.nn.Linear(3, 2)
    optimizer = build_optimizer(layer, OptimConfig(name="adamw"))
    assert all(torch.is_tensor(group["lr"]) for group in optimizer.param_groups)
