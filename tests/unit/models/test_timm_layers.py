"""timm's layers made ours, in its own networks and in those of a user: numbers by an image's place, and what is refused."""

from typing import Any

import pytest
import timm
import torch
from timm.layers import DropBlock2d, PatchDropout
from torch import Tensor, nn

from semisonic.models.blocks import use_blocks
from semisonic.models.networks import ModelConfig, build
from semisonic.models.norm import BatchNorm2d, batch_statistics
from semisonic.models.randomness import drawn_by, number_layers
from semisonic.models.timm_layers import BatchNormAct2d, Dropout2d, convert_timm_layers
from semisonic.models.wrapped import build_given
from semisonic.schema import UserError

SIZE, ROWS = 32, 8


def numbered(network: nn.Module) -> nn.Module:
    number_layers(nn.ModuleDict({"network": network}))
    return network.double().train()


def network(name: str, **fields: Any) -> nn.Module:
    torch.manual_seed(0)
    return numbered(build(ModelConfig.model_validate({"name": f"timm/{name}", "drop_path": 0.4, **fields}), 3, SIZE))


def given(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return numbered(build_given(lambda classes: timm.create_model(name, num_classes=classes, **options), 3, SIZE))


NETWORKS = {
    "ViT": lambda: network("test_vit", patch_size=8, dropout=0.3),
    "ConvNeXt": lambda: network("test_convnext"),
    "Swin": lambda: network("swin_tiny_patch4_window7_224", patch_size=8),
    "given": lambda: given("test_vit", img_size=SIZE, drop_path_rate=0.4, attn_drop_rate=0.2, proj_drop_rate=0.1),
}


def outputs(module: nn.Module, images: Tensor, keys: Tensor) -> Tensor:
    with drawn_by(keys), batch_statistics(track=False):
        return module(images)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_image_s_numbers_are_those_of_its_place(name: str):
    """In float64, to 1e-10: halves of a batch as two ranks have them, and blocks that are computed again."""
    made = NETWORKS[name]()
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(ROWS, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
    keys = torch.randint(2**62, (ROWS,), generator=generator)
    whole, other = outputs(made, images, keys), outputs(made, images, keys + 1)
    assert not whole.equal(other)
    torch.manual_seed(9)
    halves = [outputs(made, images[rows], keys[rows]) for rows in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(torch.cat(halves), whole, rtol=0, atol=1e-10)
    whole.square().sum().backward()
    wanted = {key: parameter.grad.clone() for key, parameter in made.named_parameters() if parameter.grad is not None}
    made.zero_grad()
    assert use_blocks(made, recompute=True, compiled=False) >= 2
    torch.manual_seed(10)
    with batch_statistics(track=False):
        with drawn_by(keys):
            again = made(images)
        again.square().sum().backward()
    torch.testing.assert_close(again, whole, rtol=0, atol=1e-10)
    for key, parameter in made.named_parameters():
        if key in wanted:
            torch.testing.assert_close(parameter.grad, wanted[key], rtol=0, atol=1e-9)


def test_blocks_that_are_called_by_keywords_are_computed_again():
    made = network("vit_small_patch16_dinov3", drop_path=0.0)
    images = torch.randn(2, 3, SIZE, SIZE, dtype=torch.float64)
    wanted = made(images)
    assert use_blocks(made, recompute=True, compiled=False) == 12
    torch.testing.assert_close(made(images), wanted, rtol=0, atol=1e-12)


def test_batch_norm_keeps_its_activation_in_a_network_of_the_user_s_own():
    made = given("test_efficientnet")
    theirs = timm.create_model("test_efficientnet", num_classes=3).double()
    state = {key.removeprefix("body."): value for key, value in made.state_dict().items() if key.startswith("body.")}
    state |= {
        key.replace("head.", "classifier."): value
        for key, value in made.state_dict().items()
        if key.startswith("head.")
    }
    theirs.load_state_dict(state)
    images = torch.randn(4, 3, SIZE, SIZE, dtype=torch.float64)
    torch.testing.assert_close(made.eval()(images), theirs.eval()(images), rtol=0, atol=1e-12)
    layers = [layer for layer in made.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert layers and all(isinstance(layer, BatchNorm2d) for layer in layers)
    assert any(isinstance(layer, BatchNormAct2d) and isinstance(layer.act, nn.SiLU) for layer in layers)


def test_channels_are_dropped_whole():
    layer = convert_timm_layers(nn.Sequential(nn.Dropout2d(0.5)))
    assert isinstance(layer[0], Dropout2d)
    x = torch.ones(4, 64, 3, 3)
    found = layer.train()(x)
    assert set(found.unique().tolist()) == {0.0, 2.0} and found.flatten(2).std(-1).max() == 0
    assert layer.eval()(x).equal(x)


class Drops(nn.Module):
    def __init__(self, layer: nn.Module, classes: int):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(3, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return self.head(x.flatten(2).mean(-1))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (DropBlock2d(0.2), r"DropBlock2d \(layer\) drops a share of 0\.2"),
        (PatchDropout(0.3), r"PatchDropout \(layer\) drops a share of 0\.3"),
        (nn.BatchNorm3d(3), r"BatchNorm3d \(layer.layer\) has running statistics"),
    ],
)
def test_what_cannot_be_made_ours_is_told_in_one_line(layer: nn.Module, words: str):
    part = Deep(layer) if isinstance(layer, nn.BatchNorm3d) else layer
    with pytest.raises(UserError, match=words) as caught:
        build_given(lambda classes: Drops(part, classes), SIZE, SIZE)
    assert len(caught.value.messages) == 1


class Deep(nn.Module):
    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[:, :, None])[:, :, 0]


def test_a_rate_that_no_layer_has_is_refused():
    with pytest.raises(UserError, match=r"ResNet drops a share of 0\.2"):
        given("test_resnet", drop_rate=0.2)
    given("test_resnet")
