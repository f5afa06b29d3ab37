"""Auxiliary pretext losses: added to any algorithm's own loss, which stays as it is, bit for bit."""

import copy
from pathlib import Path

import pytest
import torch
from semisonic.addons.pretext_losses import AuxiliaryConfig, with_auxiliary
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

from semisonic import cli
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.algorithms.supervised import Supervised
from semisonic.checkpoint import format as checkpoints
from semisonic.config.command_line import resolve
from semisonic.models.ema import EmaConfig
from semisonic.schema import UserError
from semisonic.training.build import build_trainer
from semisonic.training.trainer import Trainer
from tests.support.algorithms import batch_for, frozen, info, make, tiny_network
from tests.support.pretext import QUICK, by_hand, xent_by_hand

BOTH = AuxiliaryConfig(rotation=0.5, simclr=2.0, rotation_view="weak", view="fixmatch", temperature=0.3)


def test_without_weights_the_algorithm_is_the_algorithm_itself():
    for kind in ALGORITHMS.values():
        assert with_auxiliary(kind, AuxiliaryConfig(view="weak", temperature=0.1)) is kind
        assert with_auxiliary(kind, BOTH) is with_auxiliary(kind, BOTH.model_copy()) is not kind


def trainer(*fields: str) -> Trainer:
    cfg = resolve([*QUICK, "--no-baseline", "--algorithm.threshold", "0.12", *fields])[1]
    return build_trainer(cfg)


def test_the_weights_0_reproduce_the_run_bit_for_bit():
    """Also against auxiliary losses that are there but whose weight is next to nothing: they change no other draw."""
    states, losses = [], []
    for fields in ([], ["--auxiliary.rotation", "0", "--auxiliary.simclr", "0", "--auxiliary.view", "weak"],
                   ["--auxiliary.rotation", "1e-300", "--auxiliary.simclr", "1e-300", "--auxiliary.view", "fixmatch"]):  # fmt: skip
        run = trainer(*fields)
        loader = run.loader()
        losses.append([run.training_step(next(loader)).loss.item() for _ in range(3)])
        states.append({k: v for k, v in run.algorithm.state_dict().items() if not k.startswith("auxiliary_")})
    assert losses[0] == losses[1] == losses[2]
    for other in states[1:]:
        assert other.keys() == states[0].keys()
        assert all(torch.equal(value, states[0][name]) for name, value in other.items())


def test_auxiliary_losses_are_added_and_only_the_algorithm_s_forward_tracks():
    torch.manual_seed(0)
    kind = with_auxiliary(FixMatch, BOTH)
    algorithm = frozen(kind(FixMatch.Config(threshold=0.3), tiny_network, info(), EmaConfig()).double())
    plain = frozen(make(FixMatch, threshold=0.3))
    assert all(torch.equal(value, algorithm.state_dict()[name]) for name, value in plain.state_dict().items())
    of = batch_for(algorithm)
    output = algorithm.loss(of)
    turns = (4 * of.draws["auxiliary_turns"][:, 0]).long()
    turned = algorithm.normalize(by_hand(of.u["auxiliary_rotated"], turns))
    rotation = F.cross_entropy(algorithm.auxiliary_rotation(algorithm.network.features(turned)), turns)
    pair = [algorithm.normalize(of.u[f"auxiliary_{k}"]) for k in (1, 2)]
    z = torch.cat([algorithm.auxiliary_projector(algorithm.network.features(view)) for view in pair])
    contrast = xent_by_hand(F.normalize(z, dim=1), 0.3)
    torch.testing.assert_close(output.loss, plain.loss(of).loss + 0.5 * rotation + 2.0 * contrast)
    assert output.metrics["loss_auxiliary_rotation"].item() == pytest.approx(rotation.item())
    algorithm.train()
    algorithm.loss(of)
    assert algorithm.network.norm.num_batches_tracked == 1


@pytest.mark.parametrize("name", [name for name, kind in ALGORITHMS.items() if kind.roles == ("network",)])
def test_every_algorithm_computes_its_own_loss_beside_auxiliary_ones(name: str):
    """Also those whose own views are all that the batch has, such as MixMatch."""
    kind = ALGORITHMS[name]
    cfg = kind.Config(**({"block": 2} if "block" in kind.Config.model_fields else {}))
    torch.manual_seed(0)
    plain = kind(cfg, tiny_network, info()).double()
    extended = with_auxiliary(kind, BOTH)(cfg, tiny_network, info()).double()
    extended.load_state_dict(plain.state_dict(), strict=False)
    of = batch_for(extended)
    own = of._replace(u={view: of.u[view] for view in plain.views(cfg).unlabeled})
    found, expected = extended.loss(of).metrics, plain.loss(own).metrics
    assert expected.keys() < found.keys()
    assert all(torch.equal(found[metric], value) for metric, value in expected.items())


def test_an_extended_algorithm_keeps_the_contract():
    torch._dynamo.reset()
    torch.manual_seed(0)
    kind = with_auxiliary(FixMatch, BOTH)
    algorithm = kind(kind.Config(), tiny_network, info())
    other = copy.deepcopy(algorithm)
    counter = CompileCounterWithBackend("aot_eager")
    algorithm.forward = torch.compile(algorithm.forward, fullgraph=True, dynamic=False, backend=counter)
    for seed in range(2):
        algorithm(batch_for(algorithm, seed)).loss.backward()
    assert counter.frame_count == 1
    assert [name for name, p in algorithm.named_parameters() if p.grad is None] == []
    assert algorithm.network.norm.num_batches_tracked == 2
    other.load_state_dict(algorithm.state_dict())
    assert torch.equal(other.eval()(batch_for(other)).loss, other(batch_for(other)).loss)


def test_every_part_of_the_engine_sees_the_auxiliary_views(tmp_path: Path, capfd: pytest.CaptureFixture):
    fields = ["--auxiliary.rotation", "1", "--auxiliary.simclr", "1", "--auxiliary.view", "usb"]
    cfg = resolve([*QUICK, "--no-baseline", "--algorithm", "supervised", *fields])[1]
    assert set(cfg.algorithm_class.views(cfg.algorithm).unlabeled) == {
        "auxiliary_rotated",
        "auxiliary_1",
        "auxiliary_2",
    }
    assert cfg.supervised_baseline().algorithm_class is Supervised
    assert not Supervised.views(Supervised.Config()).unlabeled
    out = tmp_path / "run"
    assert cli.main([*QUICK, "--no-baseline", "--algorithm", "supervised", *fields, "--out", str(out)]) == 0
    first = checkpoints.load_checkpoint(out).model
    assert {name for name in first if name.startswith("auxiliary_rotation.")} == {
        "auxiliary_rotation.weight", "auxiliary_rotation.bias"}  # fmt: skip
    assert sum(name.startswith("auxiliary_projector.") for name in first) == 4
    optimizer = checkpoints.load_checkpoint(out).optimizer
    assert any("auxiliary_projector" in name for name in optimizer)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["--auxiliary.rotation", "1", "--auxiliary.rotation-view", "nope"], "auxiliary.rotation_view: augmentation 'nope'"),
        (["--auxiliary.simclr", "1", "--auxiliary.view", "nope"], "auxiliary.view: augmentation 'nope'"),
        (["--algorithm", "rotnet", "--algorithm.view", "rotnet"], "algorithm.view: augmentation 'rotnet'"),
        (["--auxiliary.simclr", "-1"], "auxiliary.simclr: '-1' is not valid"),
        (["--auxiliary.simclr", "1", "--auxiliary.view", "weak", "--batch.micro", "2"],
         "batch.micro: auxiliary.simclr couples all samples of a batch; use 1"),
    ],
)  # fmt: skip
def test_mistakes_name_their_field(fields: list[str], message: str):
    with pytest.raises(UserError) as caught:
        resolve(fields)
    assert any(line.startswith(message) for line in caught.value.messages), caught.value.messages


def test_algorithms_with_several_networks_refuse_auxiliary_losses(monkeypatch: pytest.MonkeyPatch):
    class Two(FixMatch):
        roles = ("student", "teacher")

    monkeypatch.setitem(ALGORITHMS, "fixmatch", Two)
    with pytest.raises(UserError, match=r"auxiliary.rotation: fixmatch has several networks"):
        resolve(["--auxiliary.rotation", "1"])
    resolve([])
