"""Auxiliary pretext losses: added to any algorithm's own loss, which stays as it is, bit for bit."""

import copy
from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

from semisonic import cli
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.algorithms.supervised import Supervised
from semisonic.checkpoint import format as checkpoints
from semisonic.config.command_line import resolve
from semisonic.schema import UserError
from semisonic.training.build import build_trainer
from semisonic.training.trainer import Trainer
from tests.support.addons import composed, composition
from tests.support.algorithms import batch_for, frozen, make
from tests.support.pretext import QUICK, by_hand, xent_by_hand

BOTH = {"rotation": 0.5, "simclr": 2.0, "rotation_view": "weak", "view": "fixmatch", "temperature": 0.3}


def test_without_weights_the_algorithm_is_the_algorithm_itself():
    for kind in ALGORITHMS.values():
        assert composition(kind, auxiliary={"view": "weak", "temperature": 0.1}).addons == ()
        assert [addon.name for addon in composition(kind, auxiliary=BOTH).addons] == ["auxiliary"]


def trainer(*fields: str) -> Trainer:
    cfg = resolve([*QUICK, "--no-baseline", "--algorithm.threshold", "0.12", *fields])[1]
    return build_trainer(cfg)


def test_the_weights_0_reproduce_the_run_bit_for_bit():
    """Also against auxiliary losses that are there but whose weight is next to nothing: they change no other draw."""
    states, losses = [], []
    for fields in ([], ["--addons.auxiliary.rotation", "0", "--addons.auxiliary.simclr", "0"],
                   ["--addons.auxiliary.rotation", "1e-300", "--addons.auxiliary.simclr", "1e-300", "--addons.auxiliary.view", "fixmatch"]):  # fmt: skip
        run = trainer(*fields)
        loader = run.loader()
        losses.append([run.training_step(next(loader)).loss.item() for _ in range(3)])
        states.append({k: v for k, v in run.algorithm.state_dict().items() if not k.startswith("addons.auxiliary.")})
    assert losses[0] == losses[1] == losses[2]
    for other in states[1:]:
        assert other.keys() == states[0].keys()
        assert all(torch.equal(value, states[0][name]) for name, value in other.items())


def test_auxiliary_losses_are_added_and_only_the_algorithm_s_forward_tracks():
    algorithm = frozen(composed(FixMatch, {"threshold": 0.3}, auxiliary=BOTH))
    plain = frozen(make(FixMatch, threshold=0.3))
    assert all(torch.equal(value, algorithm.state_dict()[name]) for name, value in plain.state_dict().items())
    of = batch_for(algorithm)
    output, own = algorithm(of), algorithm.addons["auxiliary"]
    turns = (4 * of.draws["auxiliary_turns"][:, 0]).long()
    turned = algorithm.normalize(by_hand(of.u["auxiliary_rotated"], turns))
    rotation = F.cross_entropy(own.rotation(algorithm.network.features(turned)), turns)
    pair = [algorithm.normalize(of.u[f"auxiliary_{k}"]) for k in (1, 2)]
    z = torch.cat([own.projector(algorithm.network.features(view)) for view in pair])
    contrast = xent_by_hand(F.normalize(z, dim=1), 0.3)
    torch.testing.assert_close(output.loss, plain.loss(of).loss + 0.5 * rotation + 2.0 * contrast)
    assert output.metrics["loss_auxiliary_rotation"].item() == pytest.approx(rotation.item())
    algorithm.train()
    algorithm(of)
    assert algorithm.network.norm.num_batches_tracked == 1


@pytest.mark.parametrize("name", [name for name, kind in ALGORITHMS.items() if kind.roles == ("network",)])
def test_every_algorithm_computes_its_own_loss_beside_auxiliary_ones(name: str):
    """Also those whose own views are all that the batch has, such as MixMatch."""
    kind = ALGORITHMS[name]
    plain, extended = composed(kind), composed(kind, auxiliary=BOTH)
    of = batch_for(extended)
    own = of._replace(u={view: of.u[view] for view in plain.inputs.unlabeled})
    found, expected = extended(of).metrics, plain(own).metrics
    assert expected.keys() < found.keys()
    assert all(torch.equal(found[metric], value) for metric, value in expected.items())


def test_an_extended_algorithm_keeps_the_contract():
    torch._dynamo.reset()
    algorithm = composed(FixMatch, auxiliary=BOTH).float()
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
    fields = ["--addons.auxiliary.rotation", "1", "--addons.auxiliary.simclr", "1", "--addons.auxiliary.view", "usb"]
    cfg = resolve([*QUICK, "--no-baseline", "--algorithm", "supervised", *fields])[1]
    assert set(cfg.views.unlabeled) == {
        "auxiliary_rotated",
        "auxiliary_1",
        "auxiliary_2",
    }
    baseline = cfg.supervised_baseline()
    assert baseline.algorithm_class is Supervised and not baseline.views.unlabeled
    out = tmp_path / "run"
    assert cli.main([*QUICK, "--no-baseline", "--algorithm", "supervised", *fields, "--out", str(out)]) == 0
    first = checkpoints.load_checkpoint(out).model
    assert {name for name in first if name.startswith("addons.auxiliary.rotation.")} == {
        "addons.auxiliary.rotation.weight", "addons.auxiliary.rotation.bias"}  # fmt: skip
    assert sum(name.startswith("addons.auxiliary.projector.") for name in first) == 4
    optimizer = checkpoints.load_checkpoint(out).optimizer
    assert any("auxiliary.projector" in name for name in optimizer)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["--addons.auxiliary.rotation", "1", "--addons.auxiliary.rotation-view", "nope"], "addons.auxiliary.rotation_view: augmentation 'nope'"),
        (["--addons.auxiliary.simclr", "1", "--addons.auxiliary.view", "nope"], "addons.auxiliary.view: augmentation 'nope'"),
        (["--algorithm", "rotnet", "--algorithm.view", "rotnet"], "algorithm.view: augmentation 'rotnet'"),
        (["--addons.auxiliary.simclr", "-1"], "addons.auxiliary.simclr: '-1' is not valid"),
        (["--addons.auxiliary.simclr", "1", "--addons.auxiliary.view", "weak", "--batch.micro", "2"],
         "batch.micro: addons.auxiliary couples all samples of a batch; use 1"),
    ],
)  # fmt: skip
def test_mistakes_name_their_field(fields: list[str], message: str):
    with pytest.raises(UserError) as caught:
        resolve(fields)
    assert any(line.startswith(message) for line in caught.value.messages), caught.value.messages


def test_algorithms_with_several_networks_refuse_auxiliary_losses(monkeypatch: pytest.MonkeyPatch):
    class Two(FixMatch):
        roles = ("student", "teacher")

    monkeypatch.setitem(ALGORITHMS._entries, "fixmatch", Two)
    with pytest.raises(UserError, match=r"addons.auxiliary.rotation: fixmatch has several networks"):
        resolve(["--addons.auxiliary.rotation", "1"])
    resolve([])
