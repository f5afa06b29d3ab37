"""Learning rates by layers: every parameter moves by its own, and what is new in a run keeps the whole."""

import math
from pathlib import Path

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from semisonic.checkpoint.format import load_checkpoint
from semisonic.config.command_line import resolve
from semisonic.models.networks import ModelConfig, build
from semisonic.models.tuning import tuned
from semisonic.optim.optimizer import OptimConfig, build_optimizer, set_learning_rate
from semisonic.reporting.console import Console
from semisonic.schema import UserError
from semisonic.training.layer_rates import about_training, layer_rates, network_shares, rates_line
from semisonic.training.trainer import Trainer
from tests.support.timm_networks import VIT, timm_network
from tests.support.trainers import make_trainer, on_the_host
from tests.support.two_roles import trainer_in

LAYERED = ("--model", "wrn-10-1", "--optim.layer-decay", "0.5")


def groups_of(module: nn.Module, **fields: object) -> list[dict]:
    cfg = OptimConfig(**fields)
    return build_optimizer(module, cfg, rates=layer_rates(module, cfg)).param_groups


def shares(trainer: Trainer, role: str = "network") -> dict[str, float]:
    engine = trainer.training_step.engines[role]
    groups = engine.optimizer.param_groups
    return {engine.names[p].removeprefix("network."): group["lr_scale"] for group in groups for p in group["params"]}


def test_every_group_of_a_twelve_block_transformer_is_timm_s_with_the_final_norm_at_the_head_s_rate():
    network, whole = timm_network(VIT[0], **VIT[1]), timm.create_model(VIT[0], num_classes=5, **VIT[1])
    groups = groups_of(network, name="adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.65)
    theirs = param_groups_layer_decay(whole, 0.05, whole.no_weight_decay(), layer_decay=0.65)
    assert len(groups) == len(theirs) == 28

    def values(module: nn.Module, groups: list[dict]) -> dict[str, tuple[float, float]]:
        names: dict[Tensor, str] = {p: name.removeprefix("body.") for name, p in module.named_parameters()}
        return {names[p]: (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}

    expected = values(whole, theirs) | dict.fromkeys(("norm.weight", "norm.bias"), (1.0, 0.0))
    assert values(network, groups) == expected
    assert expected["cls_token"] == expected["pos_embed"] == (pytest.approx(3.7e-3, rel=0.01), 0.0)
    for group in groups:
        assert float(group["lr"]) == pytest.approx(1e-3 * group["lr_scale"], rel=1e-12)
    by_depth = sorted({group["lr_scale"] for group in groups})
    assert math.prod(by_depth) == pytest.approx(0.65 ** sum(range(14)))


def test_without_layer_decay_there_is_one_rate_and_the_head_s_is_always_the_run_s():
    network = timm_network("test_vit")
    assert [(g["lr_scale"], g["weight_decay"]) for g in groups_of(network, lr=0.2)] == [(1.0, 5e-4), (1.0, 0.0)]
    for fields in ({"layer_decay": 0.5}, {"backbone_lr": 0.1}, {}):
        groups = groups_of(network, lr=0.2, **fields)
        head = set(network.head.parameters())
        assert {float(g["lr"]) for g in groups if head & set(g["params"])} == {0.2}
    groups = groups_of(network, lr=0.2, backbone_lr=0.1)
    assert sorted({float(g["lr"]) for g in groups}) == pytest.approx([0.02, 0.2]) and len(groups) == 4
    alone = next(g for g in groups if g["lr_scale"] == 1 and not g["weight_decay"])
    assert alone["params"] == [network.head.bias]


def test_decay_all_means_what_a_network_keeps_from_decay_too():
    network = timm_network("test_vit")
    assert {g["weight_decay"] for g in groups_of(network, decay_all=True, weight_decay=0.3)} == {0.3}


def test_frozen_parameters_are_in_no_group():
    network = timm_network("test_vit")
    network.body.requires_grad_(False)
    (decayed, bias) = groups_of(network, layer_decay=0.5)
    assert decayed["params"] == [network.head.weight] and bias["params"] == [network.head.bias]


def test_every_parameter_moves_by_the_rate_of_its_layer(tmp_path: Path):
    """Against the same step at one rate; without momentum and decay a step is the rate times the gradient."""
    fields = ("--model", "wrn-10-1", "--optim.momentum", "0", "--no-optim.nesterov", "--optim.weight-decay", "0",
              "--optim.lr", "0.5")  # fmt: skip
    moved = []
    for number, own in enumerate(((), ("--optim.layer-decay", "0.5"))):
        trainer = make_trainer(tmp_path / str(number), *fields, *own)
        before = {name: p.detach().clone() for name, p in trainer.algorithm.network.named_parameters()}
        trainer.training_step(next(trainer.loader()))
        moved.append({n: p.detach() - before[n] for n, p in trainer.algorithm.network.named_parameters()})
    plain, layered = moved
    expected = network_shares(trainer.algorithm.network, trainer.cfg.optim)
    assert shares(trainer) == expected and expected["stem.weight"] == 0.5**4 and expected["head.bias"] == 1
    for name, share in expected.items():
        torch.testing.assert_close(layered[name], share * plain[name], rtol=1e-3, atol=1e-7)
    assert any(delta.abs().max() > 1e-3 for delta in plain.values())


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_rates_of_all_groups_follow_the_step_in_place(name: str):
    network = timm_network("test_vit")
    cfg = OptimConfig(name=name, lr=0.5, schedule="cosine", warm_up=3, layer_decay=0.5)
    groups = build_optimizer(network, cfg, rates=layer_rates(network, cfg)).param_groups
    places = [group["lr"].data_ptr() for group in groups]
    assert len(set(places)) == 8 and len(groups) == 16  # those of one depth share a tensor
    for step, rate in {0: 0.125, 2: 0.375, 3: 0.5, 53: 0.25}.items():
        set_learning_rate(groups, cfg, torch.tensor(step), 103)
        assert [float(g["lr"]) for g in groups] == pytest.approx([rate * g["lr_scale"] for g in groups])
        assert [group["lr"].data_ptr() for group in groups] == places


FINE_TUNED = (*LAYERED, "--optim", "adamw", "--optim.clip", "0.5", "--optim.warm-up", "3", "--optim.schedule", "cosine")


def steps(trainer: Trainer, until: int) -> None:
    loader = trainer.loader()
    while trainer.step < until:
        trainer.training_step(next(loader))


def test_a_replayed_step_with_many_groups_is_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain, replayed = (make_trainer(tmp_path / name, *FINE_TUNED) for name in ("plain", "replayed"))
    replayed.training_step = on_the_host(replayed, "step", monkeypatch)
    for trainer in (plain, replayed):
        steps(trainer, 5)
    expected = plain.algorithm.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in replayed.algorithm.state_dict().items())
    rates = [float(group["lr"]) for group in replayed.training_step.engines["network"].optimizer.param_groups]
    assert len(rates) == 9 and len(set(rates)) == 5


def test_a_run_with_many_groups_goes_on_bit_for_bit(tmp_path: Path):
    whole = make_trainer(tmp_path, *FINE_TUNED)
    tmp_path.mkdir(exist_ok=True)
    steps(whole, 2)
    whole.save()
    whole.checkpoint_writer.finish()
    continued = make_trainer(tmp_path, *FINE_TUNED)
    continued.restore(load_checkpoint(tmp_path))
    for trainer in (whole, continued):
        steps(trainer, 4)
    expected = whole.algorithm.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in continued.algorithm.state_dict().items())


def test_adapters_have_the_rate_of_their_block():
    cfg = ModelConfig(name="timm/test_vit", tune="lora", lora_rank=2)
    network = tuned(build(cfg, 5, 32), cfg, 32)
    names: dict[Tensor, str] = {parameter: name for name, parameter in network.named_parameters()}
    groups = groups_of(network, layer_decay=0.5)
    found = {names[p]: group["lr_scale"] for group in groups for p in group["params"]}
    assert {name.split(".")[0] for name in found} == {"body", "head"} and found["head.weight"] == 1
    for name, share in found.items():
        if "lora_" in name:
            assert share == 0.5 ** (7 - 1 - int(name.split(".")[2])), name
    assert sum("lora_" in name for name in found) == len(found) - 2


def test_heads_of_algorithms_are_new_layers(tmp_path: Path):
    trainer = make_trainer(tmp_path, "--algorithm", "simclr", *LAYERED)
    found = shares(trainer)
    own = {name: share for name, share in found.items() if not name.startswith(("stem", "blocks", "norm", "head."))}
    assert own and set(own.values()) == {1.0} and found["stem.weight"] == 0.5**4


def test_both_networks_of_two_roles_have_their_layers(tmp_path: Path):
    trainer = trainer_in(tmp_path, *LAYERED, "--optim.lr", "0.05", "--optim.schedule", "constant")
    student, teacher = (shares(trainer, role) for role in ("student", "teacher"))
    assert {name.removeprefix("teacher."): share for name, share in teacher.items()} == student
    assert student["stem.weight"] == 0.5**4
    loader = trainer.loader()
    for _ in range(2):
        trainer.training_step(next(loader))
    metrics = trainer.read()
    assert metrics["lr_smallest/teacher"] == pytest.approx(0.02 / 16) and metrics["lr/teacher"] == pytest.approx(0.02)
    assert metrics["lr_smallest"] == pytest.approx(metrics["lr"] / 16) and metrics["lr"] == pytest.approx(0.05)
    line = rates_line(trainer.training_step.engines)
    assert line == "9 groups, 0.00313 to 0.05 (student); 9 groups, 0.00125 to 0.02 (teacher)"


def test_a_run_logs_and_shows_its_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    trainer = make_trainer(tmp_path, "--model", "small", "--optim.backbone-lr", "0.1", "--optim.lr", "0.2",
                           "--optim.schedule", "constant")  # fmt: skip
    trainer.training_step(next(trainer.loader()))
    metrics = trainer.read()
    assert metrics["lr"] == pytest.approx(0.2) and metrics["lr_smallest"] == pytest.approx(0.02)
    rows = about_training(trainer.training_step.engines)
    Console(main=True).start_up(trainer.cfg, trainer.data, trainer.split, trainer.rank, trainer.device, 1, rows)
    assert "4 groups, 0.02 to 0.2" in capsys.readouterr().out
    plain = make_trainer(tmp_path / "plain", "--model", "small")
    plain.training_step(next(plain.loader()))
    assert "lr_smallest" not in plain.read() and about_training(plain.training_step.engines) == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("--model", "small"), "optim.layer_decay: nothing is known of the layers of small; use optim.backbone_lr"),
        (("--model", "wrn-10-1", "--optim.backbone-lr", "0.1"), "optim.layer_decay: scales the learning rates"),
    ],
)
def test_what_means_nothing_is_refused(fields: tuple[str, ...], message: str):
    with pytest.raises(UserError, match=message) as caught:
        resolve(["--optim.layer-decay", "0.5", *fields])
    assert len(caught.value.messages) == 1


def test_a_network_of_unknown_layers_that_no_configuration_builds_is_refused_when_it_is_there():
    with pytest.raises(UserError, match=r"optim\.layer_decay: nothing is known of this network's layers"):
        layer_rates(nn.ModuleDict({"network": plain_network()}), OptimConfig(layer_decay=0.5))


def plain_network() -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    network.head, network.features, network.feature_dim = network[1], network[0], 12
    return network
