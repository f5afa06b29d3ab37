"""Low-rank adapters: where they sit, what is trained, in one graph, and that folded in they are the plain network."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.models import adapters
from semisonic.models.adapters import add_adapters, linear_layers, merged_tensors, scale_of
from semisonic.models.ema import EmaConfig
from semisonic.models.networks import ModelConfig, build
from semisonic.models.tuning import base_names, tuned, tuning_problems, without_adapters
from semisonic.schema import UserError
from tests.support import algorithms as tests_of
from tests.support.algorithms import batch_for, info
from tests.support.runner import Runner

SIZE, WIDTH = 16, 16
LAYERS = [
    f"body.blocks.{block}.{layer}" for block in (0, 1) for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
]


class Transformer(nn.Module):
    """A tiny ViT of timm."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.body = timm.create_model(
            "vit_tiny_patch16_224", img_size=SIZE, patch_size=8, depth=2, embed_dim=WIDTH, num_heads=2, num_classes=0
        )
        self.head = nn.Linear(WIDTH, classes)
        self.feature_dim = WIDTH

    def features(self, images: Tensor) -> Tensor:
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def adapted(seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    network = Transformer()
    add_adapters(network, SIZE, rank=2, alpha=6.0, layers="auto")
    return network


def trained(network: nn.Module) -> set[str]:
    return {name for name, value in network.named_parameters() if value.requires_grad}


def test_the_adapters_of_all_linear_layers_and_the_head_are_trained():
    network = adapted()
    parts = {f"{layer}.lora_{part}.default.weight" for layer in LAYERS for part in "AB"}
    assert trained(network) == parts | {"head.weight", "head.bias"}
    assert not any(value.any() for name, value in network.named_parameters() if "lora_B" in name)


def test_what_they_begin_with_is_the_seeds():
    one, two, other = (adapted(seed).body.blocks[0].attn.qkv.lora_A["default"].weight for seed in (0, 0, 1))
    assert one.equal(two) and not one.equal(other)


def test_layers_by_the_ends_of_their_names():
    assert linear_layers(Transformer(), SIZE) == LAYERS
    assert adapters.chosen(LAYERS, "attn.qkv, fc1") == [LAYERS[0], LAYERS[2], LAYERS[4], LAYERS[6]]
    with pytest.raises(
        UserError, match=r"no linear layer of the network ends in 'query'; there are attn\.proj, attn\.qkv"
    ):
        adapters.chosen(LAYERS, "attn.qkv,query")
    with pytest.raises(UserError, match="none but its head"):
        adapters.chosen([], "auto")


def test_layers_whose_weights_are_read_past_them_get_no_adapter():
    """They would have no gradient, which ranks cannot reduce."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.last = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 8)
            self.head = nn.Linear(8, 5)

        def forward(self, images: Tensor) -> Tensor:
            tokens = images.flatten(2)[:, :, :8]
            return self.head(self.last(self.attention(tokens, tokens, tokens)[0].mean(1)))

    network = Attention()
    add_adapters(network, SIZE, 2, 4.0, "auto")
    assert trained(network) == {f"last.lora_{part}.default.weight" for part in "AB"} | {"head.weight", "head.bias"}
    network(torch.randn(2, 3, SIZE, SIZE)).sum().backward()
    assert all(value.grad is not None for value in network.parameters() if value.requires_grad)


def test_running_statistics_beside_adapters_stay():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 14 * 14, 6), nn.Dropout(0.5)
    )
    network.add_module("head", nn.Linear(6, 5))
    add_adapters(network, SIZE, 2, 4.0, "auto")
    assert {name for name, module in network.named_modules() if not module.training} == {"1"}


def moved(network: Transformer) -> Transformer:
    """After steps that move what is trained far from where it began."""
    rate = torch.optim.SGD([value for value in network.parameters() if value.requires_grad], lr=1.0)
    for step in range(4):
        network(images(step)).square().mean().backward()
        rate.step()
    return network


def images(seed: int = 9) -> Tensor:
    return torch.randn(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def test_folded_into_the_weights_they_are_the_plain_network():
    network, plain = moved(adapted()).eval(), Transformer().eval()
    before = {name: network.state_dict()[own] for name, own in base_names(network).items()}
    assert before.keys() == plain.state_dict().keys()
    plain.load_state_dict(merged_tensors(network.state_dict(), scale_of(2, 6.0)))
    torch.testing.assert_close(plain(images()), network(images()), rtol=1e-5, atol=1e-5)
    plain.load_state_dict(before)
    assert (plain(images()) - network(images())).abs().max() > 1e-2  # the adapters count


def test_tensors_of_no_network_keep_their_names():
    tensors = adapted().state_dict()
    name = "body.blocks.0.attn.qkv.lora_A.default.weight"
    del tensors[name]
    tensors["body.blocks.0.attn.proj.lora_B.default.weight"] = torch.zeros(3, 3)
    wrong = {name for name in merged_tensors(tensors, 1.0) if "base_layer" in name}
    assert wrong == {
        f"body.blocks.0.attn.{layer}.base_layer.{part}" for layer in ("qkv", "proj") for part in ("weight", "bias")
    }
    plain = Transformer().state_dict()
    assert without_adapters(plain, {"name": "given"}) == plain and merged_tensors(plain, 1.0) == plain


def test_the_average_is_of_what_is_trained_and_shares_the_rest():
    algorithm = FixMatch(FixMatch.Config(), adapted, info(), EmaConfig(decay=0.5)).double()
    shadow = algorithm.ema.state_dict()
    shared = {
        name for name, value in algorithm.network.state_dict().items() if value.data_ptr() == shadow[name].data_ptr()
    }
    assert shared == algorithm.network.state_dict().keys() - trained(algorithm.network)
    assert set(algorithm.averaged_parameters()) == {p for p in algorithm.network.parameters() if p.requires_grad}


def test_of_a_network_without_linear_layers_a_line_says_so_before_it_is_built():
    cfg = ModelConfig(name="wrn-10-1", tune="lora")
    (line,) = tuning_problems(cfg, 32, starts_from_weights=True, own_task=False, compile_blocks=False)
    assert line == "model.tune: lora adapts linear layers, of which the network has none but its head; use full"
    with pytest.raises(UserError, match="none but its head"):
        tuned(build(cfg, 5, 32), cfg, 32)
    found = tuning_problems(cfg.model_copy(update={"freeze": "stem"}), 32, False, False, False)
    assert [line.split(":")[0] for line in found] == ["model.freeze", "model.tune", "model.tune"]


def test_names_of_layers_are_checked_before_the_network_is_built():
    cfg = ModelConfig(name="vit_b_32", tune="lora", lora_layers="mlp.9")
    (line,) = tuning_problems(cfg, 32, starts_from_weights=True, own_task=False, compile_blocks=False)
    assert line.startswith("model.lora_layers: no linear layer of the network ends in 'mlp.9'; there are ")


def test_without_peft_a_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(adapters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"model.tune: lora needs the package peft: pip install 'semisonic\[lora\]'"):
        adapted()
    cfg = ModelConfig(name="vit_b_32", tune="lora")
    assert tuning_problems(cfg, 32, True, False, False) == [adapters.missing_package()]


def test_what_a_step_of_each_kind_has_gradients_and_state_for():
    """Numbers counted by hand: two blocks of width 16, hidden 64, rank 2, five classes."""
    linear = (16, 48), (16, 16), (16, 64), (64, 16)
    head, lora = 16 * 5 + 5, 2 * sum(2 * (a + b) for a, b in linear)
    whole = sum(value.numel() for value in Transformer().parameters())
    expected = {"full": whole, "lora": lora + head, "probe": head}
    kept = {}
    for kind, count in expected.items():
        torch.manual_seed(0)
        cfg = ModelConfig(name="given", fingerprint="", tune=kind, lora_rank=2)
        network = tuned(Transformer(), cfg, SIZE)
        optimizer = torch.optim.AdamW([value for value in network.parameters() if value.requires_grad])
        kept[kind] = activations_of(network)
        optimizer.step()
        gradients = [value.grad for value in network.parameters() if value.grad is not None]
        state = [value for own in optimizer.state.values() for name, value in own.items() if name != "step"]
        assert sum(value.numel() for value in gradients) == count
        assert sum(value.numel() for value in state) == 2 * count
    assert kept["probe"] * 30 < kept["lora"] < kept["full"]


def activations_of(network: nn.Module) -> int:
    """Bytes that a forward keeps for its backward, which is done, without parameters."""
    own = {value.untyped_storage().data_ptr() for value in network.parameters()}
    kept: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        if value.untyped_storage().data_ptr() not in own:
            kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        loss = network(images()).square().mean()
    loss.backward()
    return sum(kept.values())


def test_copies_keep_their_adapters_apart():
    network = adapted()
    other = moved(copy.deepcopy(network))
    assert not any(value.any() for name, value in network.named_parameters() if "lora_B" in name)
    assert any(value.any() for name, value in other.named_parameters() if "lora_B" in name)


def test_a_step_moves_adapters_and_their_average_alone():
    torch.manual_seed(0)
    algorithm = FixMatch(FixMatch.Config(threshold=0.0), tiny, info(), EmaConfig(decay=0.5))
    before = {name: value.clone() for name, value in algorithm.state_dict().items()}
    run = Runner(algorithm)
    run.step(batch_for(algorithm))
    run.step(batch_for(algorithm, 1))
    after = algorithm.state_dict()
    changed = {name for name, value in after.items() if not value.equal(before[name]) and "." in name}
    assert changed == {f"{net}.{name}" for net in ("network", "ema") for name in trained(algorithm.network)}


def tiny() -> nn.Module:
    """For the images of tests of methods, a few pixels wide."""
    network = Features(nn.Sequential(nn.Flatten(), nn.Linear(3 * tests_of.SIZE**2, 8), nn.ReLU(), nn.Linear(8, 8)))
    add_adapters(network, tests_of.SIZE, 2, 4.0, "auto")
    return network


class Features(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.head, self.feature_dim = body, nn.Linear(8, tests_of.CLASSES), 8

    def features(self, images: Tensor) -> Tensor:
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))
