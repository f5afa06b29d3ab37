"""What every registered algorithm keeps, whatever it computes."""

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from semisonic.algorithms.base import Algorithm, Batch
from semisonic.algorithms.registry import ALGORITHMS
from tests.unit.test_algorithms import batch, images, info, tiny_network

each = pytest.mark.parametrize("kind", ALGORITHMS.values(), ids=ALGORITHMS)


def make(kind: type[Algorithm]) -> Algorithm:
    torch.manual_seed(0)
    fields = {"block": 2} if "block" in kind.Config.model_fields else {}  # must divide the 6 labelled images
    return kind(kind.Config(**fields), tiny_network, info())


def batch_for(algorithm: Algorithm, seed: int = 0) -> Batch:
    """Exactly the streams, views and draws that the algorithm asked for; nothing else is there to be read."""
    views, full = algorithm.views(algorithm.cfg), batch()
    labelled = {name: images(6, seed + k) for k, name in enumerate(views.labelled)}
    unlabelled = {name: images(12, seed + 50 + k) for k, name in enumerate(views.unlabelled)}
    bits = torch.Generator().manual_seed(seed)
    none = torch.empty(0, dtype=torch.int64)
    return Batch(
        x=labelled, y=full.y if labelled else none, x_index=full.x_index if labelled else none,
        u=unlabelled, u_index=full.u_index if unlabelled else none, u_true=full.u_true if unlabelled else none,
        u_key=torch.arange(12 if unlabelled else 0) + seed, params={},
        draws={name: torch.rand(12, width, generator=bits) for name, width in views.draws.items()}
        | {name: torch.rand(6, width, generator=bits) for name, width in views.labelled_draws.items()},
    )  # fmt: skip


@each
def test_registry_name_is_the_configuration_s(kind: type[Algorithm]):
    assert ALGORITHMS[kind.Config().name] is kind


@each
def test_output_follows_the_contract(kind: type[Algorithm]):
    algorithm = make(kind)
    output = algorithm(batch_for(algorithm))
    assert output.loss.ndim == 0 and output.loss.requires_grad and output.loss.dtype == torch.float32
    for name, value in output.metrics.items():
        assert value.ndim <= 1 and not value.requires_grad, name
    for name, value in output.observed.items():
        assert value.ndim >= 1 and not value.requires_grad, name


@each
def test_loss_writes_no_state_and_one_forward_tracks(kind: type[Algorithm]):
    algorithm = make(kind)
    before = copy.deepcopy(algorithm.state_dict())
    algorithm(batch_for(algorithm))
    moved = {name for name, value in algorithm.state_dict().items() if not torch.equal(value, before[name])}
    assert all("running_" in name or name.endswith("num_batches_tracked") for name in moved)
    assert not any(name.startswith("ema.") for name in moved)
    assert algorithm.network.norm.num_batches_tracked == 1


@each
def test_every_parameter_gets_a_gradient(kind: type[Algorithm]):
    algorithm = make(kind)
    algorithm(batch_for(algorithm)).loss.backward()
    assert [name for name, p in algorithm.named_parameters() if p.grad is None] == []


@each
def test_state_round_trips(kind: type[Algorithm]):
    one, other = make(kind), make(kind)
    for seed in range(3):
        one.update(one(batch_for(one, seed)).observed)
        one.update_ema()
        one.step += 1
    other.load_state_dict(one.state_dict())
    one.eval(), other.eval()
    assert torch.equal(one(batch_for(one)).loss, other(batch_for(other)).loss)
    assert other.step == 3 and other.ema_updates == 3


@each
def test_one_graph_and_no_recompile_from_step_two_on(kind: type[Algorithm]):
    torch._dynamo.reset()
    algorithm, plain = make(kind), make(kind)
    counter = CompileCounterWithBackend("aot_eager")
    algorithm.forward = torch.compile(algorithm.forward, fullgraph=True, dynamic=False, backend=counter)
    rates = [0.1, 0.05, 0.025, 0.0125]
    for module in (algorithm, plain):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
        module.losses = []
        for step, rate in enumerate(rates):
            module.train()
            optimizer.param_groups[0]["lr"] = rate
            output = module(batch_for(module, seed=step))
            output.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            module.update(output.observed)
            module.update_ema()
            module.step += 1
            module.losses.append(output.loss.item())
            module.eval()  # an evaluation between steps must not cost a recompile either
            module.infer(images(4, 9), net="ema")
    assert counter.frame_count == 1
    assert algorithm.losses == pytest.approx(plain.losses, rel=1e-5)
    assert algorithm.state_dict().keys() == plain.state_dict().keys()  # no `_orig_mod.`


@pytest.mark.slow
def test_the_trainer_s_compiled_step_equals_the_eager_one(tmp_path):
    """The real compiler on the real small network, through the trainer, for a few steps."""
    from semisonic.building import build_algorithm
    from semisonic.commandline import resolve
    from semisonic.data.sources import load
    from semisonic.data.splits import make_split
    from semisonic.runtime import start
    from semisonic.trainer import Trainer

    losses = {}
    for mode in ("off", "whole"):
        torch._dynamo.reset()
        fields = ["--no-baseline", "--compile", mode, "--device", "cpu", "--batch.labelled", "8", "--log.trackers",
                  "none", "--batch.unlabelled-ratio", "2", "--algorithm.threshold", "0.12",
                  "--out", str(tmp_path / mode)]  # fmt: skip
        cfg = resolve(fields)[1]
        data = load(cfg.data)
        split = make_split(cfg.data, data.train.labels, 10, cfg.seed)
        torch.manual_seed(0)
        trainer = Trainer(cfg, build_algorithm(cfg, data, split), data, split, start(cfg))
        loader = trainer.loader()
        with torch._dynamo.config.patch(error_on_recompile=True):
            losses[mode] = [trainer.train_step(next(loader)).loss.item() for _ in range(4)]
    assert losses["whole"] == pytest.approx(losses["off"], rel=1e-4)
