"""Layers that draw random numbers, from what, and where they must not: MPL's progress, and probes that stand for an
evaluation."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.mpl import MPL
from semisonic.algorithms.rotnet import RotNet
from semisonic.models import blocks
from semisonic.models.ema import EmaConfig
from semisonic.models.head import DropoutLinear
from semisonic.models.networks import ModelConfig, build
from semisonic.models.randomness import Dropout, convert_dropout, drawn_by, number_layers, without_draws
from semisonic.models.shake_shake import Block
from semisonic.models.stochastic_depth import StochasticDepth
from semisonic.schema import UserError
from tests.support.addons import composition
from tests.support.algorithms import batch, images, info, tiny_network
from tests.support.runner import Runner

LAYERS = {
    "dropout": lambda: Dropout(0.5),
    "head": lambda: DropoutLinear(nn.Linear(6, 3), 0.5),
    "depth": lambda: StochasticDepth(0.5),
    "shake-shake": lambda: Block(4, 4, 1).eval().requires_grad_(False),
}


def draws(run, given: Tensor) -> tuple[Tensor, bool]:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    return run(given), not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", LAYERS)
def test_in_the_context_layers_do_what_they_do_in_evaluation(name: str):
    torch.manual_seed(0)
    layer, given = LAYERS[name](), torch.rand(5, 4, 6, 6)
    layer.training = True  # of Shake-Shake the block alone: BatchNorm's part is its own

    def inside(x: Tensor) -> Tensor:
        with without_draws():
            return layer(x)

    torch._dynamo.reset()
    plain, drew = draws(layer, given)
    assert drew
    for run in (inside, torch.compile(inside, fullgraph=True, backend="aot_eager")):
        found, drew = draws(run, given)
        assert not drew and not torch.equal(found, plain)
        layer.training = False
        torch.testing.assert_close(found, layer(given))
        layer.training = True
    with pytest.raises(RuntimeError, match="inside"), without_draws():
        raise RuntimeError("inside")
    assert torch.equal(draws(layer, given)[0], plain)


KEYS = torch.randint(0, 2**62, (5,), generator=torch.Generator().manual_seed(1))


def made(name: str, path: str = "one") -> nn.Module:
    torch.manual_seed(0)
    layer = LAYERS[name]()
    layer.training = True
    number_layers(nn.ModuleDict({"network": nn.ModuleDict({path: layer})}))
    return layer


def by_keys(layer: nn.Module, given: Tensor, keys: Tensor = KEYS) -> Tensor:
    with drawn_by(keys):
        return layer(given)


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_drawn_depends_on_row_and_layer_alone(name: str):
    layer, given = made(name), torch.rand(5, 4, 6, 6)
    found, drew = draws(lambda x: by_keys(layer, x), given)
    assert not drew and found.equal(by_keys(made(name), given))  # torch's generator has no part in it
    order = torch.tensor([3, 0, 4])
    torch.testing.assert_close(by_keys(layer, given[order], KEYS[order]), found[order])
    assert not by_keys(layer, given, KEYS + 1).equal(found)
    assert not by_keys(made(name, "two"), given).equal(found)
    last = given.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(by_keys(layer, last), found)
    double = by_keys(made(name).double(), given.double())
    torch.testing.assert_close(double.float(), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_compiled_layers_draw_what_eager_ones_do(name: str):
    layer, given = made(name), torch.rand(5, 4, 6, 6)
    torch._dynamo.reset()
    call = torch.compile(by_keys, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(call(layer, given), by_keys(layer, given))


class Twice(nn.Module):
    """A layer that both of its branches share, as in torchvision's Swin."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.linear, self.shared = nn.Linear(width, width), StochasticDepth(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.shared(self.linear(x)), self.shared(torch.ones_like(x))], 1)


def test_a_layer_that_is_called_again_draws_anew():
    block, keys = Twice(), torch.arange(400)
    branch, other = by_keys(block, torch.ones(400, 4), keys).any(-1).T
    assert (branch & other).float().mean().item() == pytest.approx(0.25, abs=0.06)
    assert by_keys(block, torch.ones(400, 4), keys).any(-1).T.equal(torch.stack([branch, other]))  # each time


@pytest.mark.parametrize(("recompute", "compiled"), [(True, False), (False, True), (True, True)])
def test_blocks_count_their_layers_calls(recompute: bool, compiled: bool, monkeypatch: pytest.MonkeyPatch):
    torch._dynamo.reset()
    monkeypatch.setattr(blocks, "_is_block", lambda module: isinstance(module, Twice))
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch.manual_seed(0)
    own = nn.Sequential(*(Twice() for _ in range(3)))
    number_layers(nn.ModuleDict({"network": own}))

    def pull() -> list[Tensor]:
        found = by_keys(own, torch.ones(5, 4))
        return [found.detach(), *torch.autograd.grad(found.square().sum(), list(own.parameters()))]

    plain = pull()
    blocks.use_blocks(own, recompute, compiled)
    for first, again in zip(plain, pull(), strict=True):
        torch.testing.assert_close(again, first)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_network_that_would_draw_others_in_the_backward_is_refused(reentrant: bool):
    """One of the user's own with torch.utils.checkpoint: its gradients would be of another network, and nobody told."""
    layer = Dropout(0.5)

    def run(x: Tensor) -> Tensor:
        return checkpoint(lambda own: layer(own.square()).square(), x, use_reentrant=reentrant).sum()

    given = torch.rand(5, 40, requires_grad=True)
    run(given).backward()  # outside of a step torch's generator draws, and is set back
    with drawn_by(KEYS):
        found = run(given)
    with pytest.raises(UserError, match=r"leave out torch\.utils\.checkpoint"):
        found.backward()


def test_dropout_drops_its_share_and_keeps_the_mean():
    layer, given = Dropout(0.3), torch.ones(400, 300, requires_grad=True)
    keys = torch.arange(400)
    found = by_keys(layer, given, keys)
    assert sorted(found.unique().tolist()) == pytest.approx([0, 1 / 0.7])
    assert (found == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    for dimension in (0, 1):
        assert (found == 0).float().mean(dimension).std() < 0.035  # as independent ones have
    found.sum().backward()
    assert given.grad.equal(found.detach())
    assert not by_keys(Dropout(1.0), given, keys).any() and by_keys(Dropout(0.0), given, keys).equal(given)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dropout_divides_as_exactly_as_torch_s(dtype: torch.dtype):
    given = torch.rand(8, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    found = by_keys(Dropout(0.1), given, torch.arange(8))
    wide = given if dtype is torch.float64 else given.float()
    assert found.dtype is dtype and found.equal((wide * (1 / 0.9)).to(dtype) * (found != 0))


def test_parts_of_an_image_have_numbers_of_their_own():
    """As windows or patches that a network makes rows of; where rows are no parts of images, torch's generator draws."""
    layer = Dropout(0.5)
    found, drew = draws(lambda x: by_keys(layer, x), torch.ones(15, 40))
    assert not drew and len(found.unique(dim=0)) == 15
    assert found[3:9].equal(by_keys(layer, torch.ones(6, 40), KEYS[1:3]))
    assert draws(lambda x: by_keys(layer, x), torch.ones(7, 40))[1]


def test_torchvision_s_dropout_is_replaced():
    layers = convert_dropout(nn.Sequential(nn.Sequential(nn.Dropout(0.3, inplace=True)), nn.Linear(2, 2)))
    assert type(layers[0][0]) is Dropout and layers[0][0].p == 0.3 and layers[0][0].inplace
    network = build(ModelConfig(name="mobilenet_v3_small"), 4, 32)
    assert not any(name.endswith("layer") for name in network.state_dict())
    assert {type(layer) for layer in network.modules() if isinstance(layer, nn.Dropout)} == {Dropout}


class Random(nn.Module):
    """The tiny network with a layer that draws before its pooled features, and a head that may."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        tiny = tiny_network()
        self.conv, self.norm, self.depth = tiny.conv, tiny.norm, StochasticDepth(0.5)
        self.head = DropoutLinear(tiny.head, rate) if rate else tiny.head
        self.feature_dim = tiny.feature_dim

    def features(self, given: Tensor) -> Tensor:
        return self.depth(self.norm(self.conv(given))).mean((2, 3))

    def forward(self, given: Tensor) -> Tensor:
        return self.head(self.features(given))


def test_a_student_that_does_not_move_makes_no_progress_whatever_its_network_draws():
    torch.manual_seed(0)
    algorithm = MPL(MPL.Config(variant="plain"), lambda: Random(0.0), info())
    given = batch(u={"strong": images(12, 3)})
    one, two = (algorithm.learn("network", given.x["weak"], track=False)[0] for _ in (1, 2))
    assert not torch.equal(one, two)
    assert algorithm.train_step(given, Runner(algorithm, lr=0.0)).metrics["progress"] == 0
    assert algorithm.train_step(given, Runner(algorithm, lr=0.1)).metrics["progress"] != 0


def test_probes_stand_for_an_evaluation():
    torch.manual_seed(0)
    made = composition(FixMatch, {"strong": "ctaugment"}, ctaugment={"lag": 1})
    probed = made.build(lambda: Random(0.5), info(), EmaConfig(), None)
    given = batch(params={"probe": {"bins": torch.zeros(6, 2, 2, dtype=torch.int32)}})
    given.x["probe"] = images(6, 9)
    found = probed(given).observed["ctaugment/omega"]
    with torch.no_grad():
        p_BC = probed.eval().infer(given.x["probe"], module="ema").softmax(-1)
    torch.testing.assert_close(found, p_BC.gather(1, given.y[:, None])[:, 0])

    rotnet = RotNet(RotNet.Config(), lambda: Random(0.0), info())
    given = batch(u={"view": images(12, 3)})
    found = rotnet.loss(given).metrics["loss_labeled"]  # its forward comes after the one that tracks
    with torch.no_grad():
        logits_BC = rotnet.eval().infer(given.x["weak"])
    torch.testing.assert_close(found, nn.functional.cross_entropy(logits_BC, given.y))
