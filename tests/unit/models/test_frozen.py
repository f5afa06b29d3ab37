"""Frozen parts of a network: which they are, that no tensor of them changes, and that they cost no activation."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from semisonic.algorithms.mean_teacher import MeanTeacher
from semisonic.models.ema import EmaConfig
from semisonic.models.frozen import freeze, frozen_tensors
from semisonic.models.networks import ModelConfig, build
from semisonic.models.norm import BatchNorm2d
from semisonic.models.randomness import Dropout
from semisonic.models.tuning import tuned
from semisonic.schema import UserError
from tests.support.algorithms import batch_for, info
from tests.support.networks import activations
from tests.support.runner import Runner
from tests.support.trainers import make_trainer

STEMS = {
    "wrn-10-1": {"stem.weight"},
    "shake-shake-8-2x2d": {"stem.weight", "stem_norm.weight", "stem_norm.bias"},
    "small": {"layers.0.weight", "layers.1.weight", "layers.1.bias"},
    "resnet18": {"body.conv1.weight", "body.bn1.weight", "body.bn1.bias"},
    "convnext_tiny": {f"body.features.0.{layer}.{part}" for layer in "01" for part in ("weight", "bias")},
    "efficientnet_b0": {"body.features.0.0.weight", "body.features.0.1.weight", "body.features.0.1.bias"},
    "timm/test_vit": {"body.patch_embed.proj.weight", "body.patch_embed.proj.bias", "body.cls_token", "body.pos_embed"},
    "timm/efficientnet_b0": {"body.conv_stem.weight", "body.bn1.weight", "body.bn1.bias"},
    "vgg11": {"body.features.0.weight", "body.features.0.bias"},
    "vit_b_32": {"body.conv_proj.weight", "body.conv_proj.bias", "body.class_token", "body.encoder.pos_embedding"},
}
"""Network -> the parameters of its stem."""


@pytest.mark.parametrize("name", STEMS)
def test_the_stem_is_the_first_convolution_with_its_normalization_and_the_positions(name: str):
    with torch.device("meta"):
        network = build(ModelConfig(name=name), 10, 32)
    freeze(network, "stem")
    assert {key for key, value in network.named_parameters() if not value.requires_grad} == STEMS[name]
    layers = {key.rpartition(".")[0] for key in STEMS[name] if key.count(".") > 1 and "encoder" not in key} or {"stem"}
    evaluating = {key for key, module in network.named_modules() if not module.training}
    assert layers - {"body"} <= evaluating
    assert all(key.startswith(tuple(own.split(".")[0] for own in STEMS[name])) for key in evaluating)
    assert not {"", "body", "head"} & evaluating


class Plain(nn.Module):
    """Without convolutions; what enters its head is dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 8), nn.BatchNorm1d(8), Dropout(0.5))
        self.head = nn.Linear(8, 5)
        self.feature_dim = 8

    def features(self, images: Tensor) -> Tensor:
        return self.layers(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def test_a_network_without_convolutions_has_no_stem():
    with pytest.raises(UserError, match="no convolution or patch embedding"):
        freeze(Plain(), "stem")


def test_a_frozen_backbone_drops_nothing_and_keeps_its_statistics_and_no_activation():
    network = Plain()
    freeze(network, "backbone")
    algorithm = MeanTeacher(MeanTeacher.Config(), lambda: network, info(), EmaConfig(decay=0.5))
    images = torch.randn(6, 3, 8, 8)
    for part in (algorithm.train().network, algorithm.train().ema):
        assert part.features(images).equal(part.features(images))
        assert not part.features(images).requires_grad
    assert int(network.layers[2].num_batches_tracked) == 0
    assert algorithm.network.head.training and algorithm.training


def weights_of_resnet18(folder: Path) -> list[str]:
    from torchvision.models import resnet18

    torch.save(trained_statistics(resnet18()).state_dict(), folder / "resnet18.pth")
    return ["--model", "resnet18", "--model.weights", str(folder / "resnet18.pth"), "--model.stem", "7x7",
            "--data.normalize", "imagenet"]  # fmt: skip


def checkpoint_of_wrn(folder: Path) -> list[str]:
    trainer = make_trainer(folder / "first", "--model", "wrn-10-1")
    trained_statistics(trainer.algorithm.ema)
    trainer.save()
    trainer.checkpoint_writer.finish()
    return ["--model", "wrn-10-1", "--init", str(folder / "first")]


def trained_statistics(network: nn.Module) -> nn.Module:
    """A network whose running statistics are no new one's."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean += 0.1 * torch.randn_like(layer.running_mean)
            layer.running_var *= 1.5
    return network


STARTS: dict[str, Callable[[Path], list[str]]] = {"resnet18": weights_of_resnet18, "wrn-10-1": checkpoint_of_wrn}
"""Network -> what a run is given to start from weights of it, which are made in a folder."""


@pytest.mark.parametrize(("how", "value"), [("freeze", "backbone"), ("tune", "probe")])
@pytest.mark.parametrize("name", STARTS)
def test_ten_steps_change_no_tensor_of_a_frozen_backbone(name: str, how: str, value: str, tmp_path: Path):
    trainer = make_trainer(tmp_path, *STARTS[name](tmp_path), f"--model.{how}", value, "--model.dropout", "0.2",
                           "--algorithm.threshold", "0.1")  # fmt: skip
    before = {key: tensor.clone() for key, tensor in trainer.algorithm.state_dict().items()}
    loader = trainer.loader()
    for _ in range(10):
        trainer.training_step(next(loader))
    after = trainer.algorithm.state_dict()
    networks = [key for key in after if key.startswith(("network.", "ema."))]
    changed = {key for key in networks if not after[key].equal(before[key])}
    heads = {f"{net}.head.{part}" for net in ("network", "ema") for part in ("weight", "bias")}
    assert changed == heads
    (engine,) = trainer.training_step.engines.values()
    assert set(engine.trained.values()) == {"network.head.weight", "network.head.bias"}
    assert {key.split("/")[0] for key, _ in engine.state()} == set(engine.trained.values())


def test_a_frozen_stem_stays_while_the_rest_learns(tmp_path: Path):
    trainer = make_trainer(tmp_path, *checkpoint_of_wrn(tmp_path), "--model.freeze", "stem")
    before = {key: tensor.clone() for key, tensor in trainer.algorithm.network.state_dict().items()}
    trainer.training_step(next(trainer.loader()))
    after = trainer.algorithm.network.state_dict()
    assert {key for key, tensor in after.items() if tensor.equal(before[key])} == {"stem.weight"}


def test_the_average_shares_what_is_never_trained():
    """One tensor for both, also after the networks were moved; names of the state dict stay."""
    torch.manual_seed(0)
    cfg = ModelConfig(name="wrn-10-1", freeze="backbone")
    algorithm = MeanTeacher(MeanTeacher.Config(), lambda: tuned(build(cfg, 5, 8), cfg, 8), info(), EmaConfig(decay=0.5))
    algorithm.double().to(memory_format=torch.channels_last)
    own, shadow = algorithm.network.state_dict(), algorithm.ema.state_dict()
    assert own.keys() == shadow.keys()
    shared = {name for name, value in own.items() if value.data_ptr() == shadow[name].data_ptr()}
    assert shared == {name for name in own if not name.startswith("head.")}
    assert set(algorithm.averaged_parameters()) == set(algorithm.network.head.parameters())
    run = Runner(algorithm)
    before = algorithm.ema.head.weight.clone()
    run.step(batch_for(algorithm))
    assert not algorithm.ema.head.weight.equal(before) and not algorithm.ema.head.weight.equal(own["head.weight"])


def test_a_frozen_backbone_keeps_no_activation():
    network = build(ModelConfig(name="wrn-10-1"), 10, 32)
    assert activations(network) > 10**6
    freeze(network, "backbone")
    features = 4 * 4 * network.feature_dim  # of four images, in float32
    assert activations(network) <= 2 * features


def test_frozen_tensors_are_those_that_no_step_moves():
    network = build(ModelConfig(name="wrn-10-1"), 10, 32)
    assert not list(frozen_tensors(network))
    freeze(network, "backbone")
    found = {f"{path}.{name}".lstrip(".") for path, name, _ in frozen_tensors(network)}
    assert found == {key for key in network.state_dict() if not key.startswith("head.")}
    assert all(isinstance(layer, BatchNorm2d) for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (["--model.freeze", "backbone"], "model.freeze: would keep random weights"),
        (["--model.tune", "probe"], "model.tune: would keep random weights"),
        (["--model.tune", "probe", "--model.freeze", "stem"], "model.freeze: a probe"),
        (["--model.freeze", "backbone", "--algorithm", "simclr"], "model.freeze: a pretext task"),
        (["--model.tune", "probe", "--algorithm", "rotnet"], "model.tune: a pretext task"),
        (["--model.freeze", "backbone", "--compile", "blocks"], "compile: no block of a frozen backbone"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: list[str], problem: str, tmp_path: Path):
    with pytest.raises(UserError) as caught:
        make_trainer(tmp_path, "--model", "wrn-10-1", *fields)
    assert sum(line.startswith(problem) for line in caught.value.messages) == 1, caught.value.messages
