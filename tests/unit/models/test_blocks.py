"""Blocks of networks: computed again in the backward, and compiled one by one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import FailOnRecompileLimitHit
from torch._dynamo.testing import CompileCounterWithBackend
from torchvision.models import densenet, resnet

from semisonic.config.command_line import resolve
from semisonic.models import wide_resnet
from semisonic.models.blocks import BLOCKS, _draws, blocks_of, draws, has_blocks, use_blocks
from semisonic.models.networks import NETWORKS, ModelConfig, Network, build
from semisonic.models.norm import BatchNorm2d, batch_statistics, convert_batch_norm
from semisonic.models.randomness import drawn_by
from semisonic.schema import UserError
from tests.support.networks import activations, assert_equal, images, steps
from tests.support.trainers import make_trainer

EXAMPLES = {
    "resnet": "resnet50", "resnext": "resnext50_32x4d", "wide_resnet": "wide_resnet50_2",
    "efficientnet": "efficientnet_v2_s", "convnext": "convnext_tiny", "densenet": "densenet121", "mnasnet": "mnasnet0_5",
    "mobilenet": "mobilenet_v3_small", "regnet": "regnet_y_400mf", "shufflenet": "shufflenet_v2_x0_5",
    "swin": "swin_v2_t", "vit": "vit_b_32",
}  # fmt: skip


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "bottlenecks":
        return convert_batch_norm(resnet.ResNet(resnet.Bottleneck, [2, 1, 1, 1], 5, width_per_group=8))
    if name == "dense":
        return convert_batch_norm(densenet.DenseNet(4, (2, 2), 8, 2, 0.2, 5))
    return build(ModelConfig(name=name), 5, 32)


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Iterator[CompileCounterWithBackend]:
    """Graphs are compiled by a backend that takes no time, and counted."""
    torch._dynamo.reset()
    counter, compile = CompileCounterWithBackend("aot_eager"), torch.compile

    def compile_quickly(function: Callable, options: dict | None = None, **how: bool) -> Callable:
        return compile(function, **how, backend=counter)  # a backend of its own knows no options of the compiler's

    monkeypatch.setattr(torch, "compile", compile_quickly)
    yield counter
    torch._dynamo.reset()


# Computed again.


@pytest.mark.parametrize("name", ["wrn-16-1", "bottlenecks", "dense", "efficientnet_b0"])
def test_recomputation_changes_no_bit_and_saves_memory(name: str):
    """The efficientnet draws from keys and the dense network from torch's generator, and both do once more."""
    plain, again = network(name), network(name)
    assert use_blocks(again, recompute=True, compiled=False) > 3
    assert again.state_dict().keys() == plain.state_dict().keys()
    assert_equal(steps(plain, by_keys(plain)), steps(again, by_keys(again)))
    assert all(m.num_batches_tracked == 2 for m in again.modules() if isinstance(m, BatchNorm2d))
    assert activations(again) < 0.7 * activations(plain)  # the blocks of the dense network are tiny


def by_keys(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Its forward, as in a step; the backward comes outside of it."""

    def call(given: Tensor) -> Tensor:
        with drawn_by(torch.arange(len(given))):
            return module(given)

    return call


def test_torch_s_numbers_are_repeated_by_a_block_that_draws_some_only():
    assert not any(_draws(block) for block in blocks_of(network("efficientnet_b0")))
    assert all(_draws(block) for block in blocks_of(network("dense")))
    assert not any(_draws(block) for block in blocks_of(network("bottlenecks")))


def test_recomputation_follows_the_tracking_of_the_first_forward():
    plain, again = network("wrn-10-1"), network("wrn-10-1")
    use_blocks(again, recompute=True, compiled=False)
    for module in (plain, again):
        with batch_statistics(track=False):
            untracked = module(images()).square().mean()
        (untracked + module(images(8)).square().mean()).backward()  # both backwards outside of the first's context
    for one, two in zip(plain.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)
    assert_equal(plain.state_dict(), again.state_dict())
    assert again.norm.num_batches_tracked == again.blocks[0].bn1.num_batches_tracked == 1


def test_blocks_run_twice_in_training_with_gradients_only():
    module, calls = network("wrn-10-1"), []
    use_blocks(module, recompute=True, compiled=False)
    module.blocks[1].conv1.register_forward_hook(lambda *_: calls.append(1))
    module(images()).sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        module(images())
    module.eval()(images()).sum().backward()
    assert len(calls) == 4


@pytest.mark.parametrize("micro", ["1", "2"])
def test_a_training_run_is_the_same_bit_for_bit(tmp_path: Path, micro: str):
    fields = ("--model", "wrn-10-1", "--batch.micro", micro, "--algorithm.threshold", "0.12")
    plain, again = (make_trainer(tmp_path / way, f"--{way}", *fields) for way in ("no-recompute", "recompute"))
    for trainer in (plain, again):
        loader = trainer.loader()
        trainer.losses = [trainer.training_step(next(loader)).loss.item() for _ in range(3)]
    assert plain.losses == again.losses
    assert_equal(plain.algorithm.state_dict(), again.algorithm.state_dict())


# Compiled one by one.


@pytest.mark.parametrize(
    ("name", "recompute"),
    [("wrn-16-1", False), ("wrn-16-1", True), pytest.param("efficientnet_b0", True, marks=pytest.mark.slow)],
)
def test_compiled_blocks_compute_the_same(counter: CompileCounterWithBackend, name: str, recompute: bool):
    plain, compiled = network(name), network(name)
    count = use_blocks(compiled, recompute, compiled=True)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    expected, found = steps(plain, by_keys(plain)), steps(compiled, by_keys(compiled))
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=key)
    # In a Wide ResNet of two blocks a stage all differ; an efficientnet has blocks of equal structure.
    assert counter.frame_count == count == 6 if name == "wrn-16-1" else counter.frame_count < count
    if recompute:
        assert activations(compiled) < 0.6 * activations(plain)


def test_recomputation_inside_one_graph(counter: CompileCounterWithBackend):
    plain, whole = network("wrn-16-1"), network("wrn-16-1")
    use_blocks(whole, recompute=True, compiled=False)
    call = torch.compile(whole.forward, fullgraph=True, dynamic=False)
    expected, found = steps(plain), steps(whole, call)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=key)
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--recompute",),
        pytest.param(("--recompute", "--algorithm.weak-pass", "separate"), marks=pytest.mark.slow),
    ],
    ids=["blocks", "recompute", "weak views separate"],
)
def test_a_compiled_run_equals_the_eager_one(counter: CompileCounterWithBackend, tmp_path: Path, more: tuple):
    """No graph is compiled from the second step on; evaluation, EMA and checkpoints see nothing of compiled blocks."""
    fields = ("--model", "wrn-10-1", "--algorithm.threshold", "0.12", "--data.held-out", "20", *more)
    both = {way: make_trainer(tmp_path / way, "--compile", way, *fields) for way in ("off", "blocks")}
    for trainer in both.values():
        loader, trainer.losses = trainer.loader(), []
        for step in range(4):
            with torch._dynamo.config.patch(error_on_recompile=step > 0):
                trainer.losses.append(trainer.training_step(next(loader)).loss.item())
                trainer.evaluate("ema", "held_out"), trainer.evaluate("raw", "held_out")
    eager, compiled = both["off"].algorithm, both["blocks"].algorithm
    assert both["blocks"].losses == pytest.approx(both["off"].losses, rel=1e-4)
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    assert compiled.network.norm.num_batches_tracked == compiled.ema.blocks[0].bn2.num_batches_tracked == 4
    assert counter.frame_count >= 3  # the blocks; the losses by themselves may have been compiled before
    loaded = both["off"].evaluate("ema", "held_out").scalars()["loss"]
    assert both["blocks"].evaluate("ema", "held_out").scalars()["loss"] == pytest.approx(loaded, rel=1e-3)


def test_the_copy_calls_its_own_blocks(counter: CompileCounterWithBackend, tmp_path: Path):
    algorithm = make_trainer(tmp_path, "--model", "wrn-10-1", "--compile", "blocks").algorithm
    features = torch.randn(2, 16, 8, 8)
    with torch.no_grad():
        for parameter in algorithm.network.blocks.parameters():
            parameter.zero_()
        for training in (False, True):
            algorithm.train(training)
            assert not algorithm.network.blocks(features).any()
            assert algorithm.ema.blocks(features).any()


def test_more_graphs_than_torch_allows_are_an_error(counter: CompileCounterWithBackend):
    module = network("wrn-10-1")
    use_blocks(module, recompute=False, compiled=True)
    with torch._dynamo.config.patch(recompile_limit=2), pytest.raises(FailOnRecompileLimitHit):
        for count in (2, 3, 4):
            module(images(count))


# Which networks.


@pytest.mark.parametrize("family", BLOCKS)
def test_blocks_are_found_in_every_family(family: str):
    name = EXAMPLES[family]
    with torch.device("cpu" if family == "regnet" else "meta"):  # which computes its widths with tensors
        found = blocks_of(build(ModelConfig(name=name), 10, 64))
    assert has_blocks(name) and len(found) >= 8
    assert not draws(name) and not any(map(_draws, found))


def test_networks_without_blocks():
    assert not any(has_blocks(name) for name in ("small", "alexnet", "vgg11", "squeezenet1_0", "resnet1", "wrn-9-2"))
    with pytest.raises(ValueError, match="none of the module's parts"):
        use_blocks(network("small"), recompute=True, compiled=False)
    assert all(isinstance(block, wide_resnet.Block) for block in blocks_of(network("wrn-16-1")))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["--recompute", "--model", "small"], "recompute: small has no blocks to compute again; possible for wrn-D-K"),
        (["--compile", "blocks", "--model", "vgg11"], "compile: vgg11 has no blocks to compile; use whole, or one of"),
    ],
)
def test_other_networks_are_refused(fields: list[str], message: str):
    with pytest.raises(UserError) as error:
        resolve(fields)
    assert any(line.startswith(message) for line in error.value.messages)


def test_blocks_that_draw_from_torch_s_generator_are_not_replayed(monkeypatch: pytest.MonkeyPatch):
    own = Network(lambda cfg, classes, size: nn.Identity(), "", (resnet.BasicBlock,), blocks_draw=True)
    monkeypatch.setitem(NETWORKS._entries, "own", own)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    fields = ["--no-baseline", "--model"]
    assert resolve([*fields, "resnet18", "--recompute"])[1].replayed == "step"
    assert resolve([*fields, "efficientnet_b4", "--recompute"])[1].replayed == "step"
    assert resolve([*fields, "own"])[1].replayed == "step"
    assert resolve([*fields, "own", "--recompute"])[1].replayed == "off"
    with pytest.raises(UserError, match="replay: recompute repeats the random numbers of own's blocks"):
        resolve([*fields, "own", "--recompute", "--replay", "step"])
