"""Classifiers of timm: the engine's contract, timm's own numbers, and what is refused before anything is built."""

import pytest
import timm
import torch

from semisonic.models.blocks import blocks_of
from semisonic.models.networks import ModelConfig, build, model_problems
from semisonic.models.norm import BatchNorm2d
from semisonic.models.outline import outline
from semisonic.models.randomness import RandomLayer, without_draws
from semisonic.models.stochastic_depth import StochasticDepth
from semisonic.models.timm_nets import TimmNet, own_state, timm_networks
from semisonic.schema import UserError

TINY = ["test_vit", "test_resnet", "test_convnext", "test_efficientnet"]
SIZE = 32


def network(name: str, classes: int = 3, **fields: object) -> TimmNet:
    torch.manual_seed(0)
    made = build(ModelConfig.model_validate({"name": f"timm/{name}", **fields}), classes, SIZE)
    assert isinstance(made, TimmNet)
    return made


@pytest.mark.parametrize("name", TINY)
def test_timm_s_own_network_gives_the_same_logits_gradients_and_statistics(name: str):
    made = network(name).double()
    theirs = timm.create_model(name, num_classes=3, **({"img_size": SIZE} if "vit" in name else {})).double()
    theirs.load_state_dict(own_state(made))
    images = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert made.eval()(images).equal(made.head(made.features(images)))
    torch.testing.assert_close(made(images), theirs.eval()(images), rtol=0, atol=1e-12)
    logits, wanted = made.train()(images), theirs.train()(images)
    torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-10)
    logits.square().sum().backward()
    wanted.square().sum().backward()
    ours = {
        own: made.get_parameter(key).grad
        for key, own in zip(made.state_dict(), own_state(made), strict=True)
        if key in dict(made.named_parameters())
    }
    for key, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours[key], parameter.grad, rtol=0, atol=1e-9)
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(own_state(made)[key], value, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", [*TINY, "resnet10t", "dla46_c", "caformer_s18", "swin_tiny_patch4_window7_224"])
def test_the_outline_is_that_of_the_network_that_is_built(name: str):
    cfg = ModelConfig(name=f"timm/{name}")
    wanted = network(name).state_dict()
    found = outline(cfg, 3, SIZE)
    assert found is not None and {key: value.shape for key, value in found.items()} == {
        key: value.shape for key, value in wanted.items()
    }


def test_layers_are_ours():
    made = network("test_efficientnet", drop_path=0.2)
    kinds = [type(layer) for layer in made.modules()]
    assert sum(issubclass(kind, BatchNorm2d) for kind in kinds) == sum(
        isinstance(layer, torch.nn.BatchNorm2d) for layer in made.modules()
    )
    assert StochasticDepth in kinds and not any(kind.__name__ == "DropPath" for kind in kinds)


def test_stochastic_depth_grows_over_the_blocks():
    made = network("test_vit", drop_path=0.5, patch_size=8)
    rates = [float(layer.rate) for layer in made.modules() if isinstance(layer, StochasticDepth)]
    assert rates == sorted(rates) and rates[-1] == 0.5
    images = torch.randn(2, 3, SIZE, SIZE)
    assert not made(images).equal(made(images))
    with without_draws():
        assert made(images).equal(made(images))
    assert not [layer for layer in network("test_vit").modules() if isinstance(layer, RandomLayer) and layer.draws]


def test_patches_of_another_size():
    assert network("test_vit", patch_size=4).body.pos_embed.shape[1] == 64 + 1
    assert network("test_vit", patch_size=8).body.pos_embed.shape[1] == 16 + 1


@pytest.mark.parametrize(
    "name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet", "vit_small_patch16_dinov3"]
)
def test_blocks_are_known(name: str):
    with torch.device("meta"):
        assert len(blocks_of(network(name))) >= 2


@pytest.mark.parametrize(
    ("fields", "size", "words"),
    [
        ({"name": "timm/vit_smal_patch14_dinov2"}, 28, "did you mean timm/vit_small_patch14_dinov2?"),
        ({"name": "timm/vit_small_patch14_dinov2.lvd142"}, 28, "did you mean lvd142m?"),
        ({"name": "timm/"}, 28, "timm has no network"),
        ({"name": "timm/vit_small_patch14_dinov2"}, 32, "patches of 14 px, which do not divide 32 px; use data.size 28 or 42"),
        ({"name": "timm/test_vit", "patch_size": 64}, 32, "use data.size 64"),
        ({"name": "timm/test_resnet", "patch_size": 4}, 32, "model.patch_size"),
        ({"name": "timm/test_convnext"}, 8, "takes no images of 8 px, but of 160 px (RuntimeError"),
        ({"name": "timm/dla46_c", "drop_path": 0.1}, 32, "model.drop_path"),
        ({"name": "timm/deit_tiny_distilled_patch16_224"}, 32, "several classifiers"),
        ({"name": "timm/crossvit_9_240"}, 240, "2 classifiers"),
        ({"name": "timm/test_vit", "stem": "3x3"}, 32, "model.stem"),
        ({"name": "timm/test_vit", "weights": "w.pth"}, 32, "must end in .safetensors"),
        ({"name": "timm/test_vit", "weights": "w.safetensors", "pretrained": True}, 32, "set it to false, or leave those out"),
        ({"name": "resnet18", "drop_path": 0.1}, 32, "model.drop_path"),
        ({"name": "small", "patch_size": 4}, 32, "model.patch_size"),
        ({"name": "small", "pretrained": True}, 32, "model.pretrained"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line_before_anything_is_built(fields: dict[str, object], size: int, words: str):
    cfg = ModelConfig.model_validate(fields)
    found = model_problems(cfg, size)
    assert len(found) == 1 and words in found[0] and "\n" not in found[0]
    with pytest.raises(UserError):
        build(cfg, 3, size)


def test_names_are_searched():
    found = timm_networks("timm/vit_small_patch14_dino*")
    assert found == {"timm/vit_small_patch14_dinov2": ["lvd142m"]}
    assert len(timm_networks("timm/*")) > 1000
    with pytest.raises(UserError, match="timm has no network"):
        timm_networks("timm/nothing_of_this_name*")


FAMILIES = {
    "mobilenetv3_small_050": 224, "regnetx_002": 224, "ghostnet_100": 224, "edgenext_xx_small": 256, "pvt_v2_b0": 224,
    "coatnet_nano_rw_224": 224, "vit_tiny_patch16_224": 224, "beit_base_patch16_224": 224, "mixer_s32_224": 224,
    "poolformer_s12": 224, "fastvit_t8": 256, "efficientnet_b0": 224, "dla46_c": 224, "starnet_s1": 224,
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_timm_are_networks_here_at_their_own_size(name: str):
    cfg = ModelConfig(name=f"timm/{name}")
    assert model_problems(cfg, FAMILIES[name]) == []
    found = outline(cfg, 7, FAMILIES[name])
    assert found is not None and found["head.weight"].shape[0] == 7


@pytest.mark.parametrize("name", ["levit_128", "efficientvit_m0", "crossvit_9_240", "deepseek_vit_412m_enc"])
def test_networks_that_cannot_be_used_say_why(name: str):
    (text,) = model_problems(ModelConfig(name=f"timm/{name}"), 224)
    assert text.startswith(f"model.name: timm/{name}") and "\n" not in text
