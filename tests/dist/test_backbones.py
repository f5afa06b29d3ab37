"""Fine-tuning, adapters and probes of pre-trained backbones: 1 and 2 ranks solve the same problem, to 1e-10 in float64, a
resumed run is the one that was not stopped bit for bit, and a step is one graph.

A tiny vision transformer, ResNet and ConvNeXt of timm, whose weights are saved here in the place of trained ones.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import semisonic
from tests.dist.worker import Job
from tests.dist.workers import needed, needs, run_jobs
from tests.support import random_networks
from tests.support.runs import compare, difference, second_half
from tests.support.trainers import make_trainer

HALF, STEPS = 2, 4
NETS = {
    "vit": ["--model", "timm/test_vit", "--model.patch-size", "8", "--model.drop-path", "0.1"],
    "resnet": ["--model", "timm/test_resnet"],
    "convnext": ["--model", random_networks.CONVNEXT],
}
"""Short name -> what makes it one for images of 16 px. The last is a plug-in, with weights of its own."""
WAYS = [
    ("vit", "supervised", "full"), ("vit", "supervised", "lora"), ("vit", "supervised", "probe"),
    ("vit", "fixmatch", "full"), ("vit", "flexmatch", "lora"),
    ("resnet", "supervised", "full"), ("resnet", "supervised", "probe"), ("resnet", "fixmatch", "probe"),
    ("resnet", "flexmatch", "full"),
    ("convnext", "supervised", "full"), ("convnext", "supervised", "lora"), ("convnext", "supervised", "probe"),
    ("convnext", "fixmatch", "lora"), ("convnext", "flexmatch", "full"),
]  # fmt: skip
QUICK = {("vit", "flexmatch", "lora"), ("resnet", "fixmatch", "probe"), ("convnext", "flexmatch", "full")}
ZERO = [f"adapters {strategy}" for strategy in ("ddp", "zero1", "zero2")]
Way = tuple[str, str, str]
Results = dict[int, dict[str, dict]]


def way(entry: Way) -> object:
    return pytest.param(entry, id=" ".join(entry), marks=() if entry in QUICK else pytest.mark.long)


def weights(net: str, folder: Path) -> Path:
    """A file of them under timm's own names; running statistics are no new network's."""
    import timm

    path = folder / f"{net}.safetensors"
    if not path.exists():
        torch.manual_seed(1)
        network = timm.create_model(f"test_{net}", **({"img_size": 16, "patch_size": 8} if net == "vit" else {}))
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean += 0.1 * torch.randn_like(layer.running_mean)
                layer.running_var *= 1.5
        save_file(network.state_dict(), path)
    return path


def start(net: str, folder: Path) -> dict[str, torch.Tensor]:
    """What a backbone's tensors were before the first step, by timm's names."""
    return random_networks.TinyConvNeXt(5).body.state_dict() if net == "convnext" else load_file(weights(net, folder))


def fields(net: str, tune: str, folder: Path) -> list[str]:
    own = [] if net == "convnext" else ["--model.weights", str(weights(net, folder))]
    return [*NETS[net], *own, "--model.tune", tune]


def jobs(folder: Path) -> list[Job]:
    found = []
    for net, algorithm, tune in WAYS:
        name, own = f"{net} {algorithm} {tune}", fields(net, tune, folder)
        run = folder / name
        fixed = {"dtype": "float64", "dropout": 0.2, "fields": own, "steps": STEPS, "save_at": HALF}
        found.append(Job(name, algorithm, save=str(run), **fixed))  # type: ignore[arg-type]
        last = str(run / "checkpoints" / f"step-{HALF}")
        found.append(Job(f"{name} resumed", algorithm, resume=last, **fixed))  # type: ignore[arg-type]
    for name in ZERO:
        found.append(Job(name, strategy=name.split()[1], fields=fields("vit", "lora", folder),
                         steps=3, rate=0.1))  # fmt: skip
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backbones")


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, folder: Path) -> Results:
    """World size -> job -> result, of what the chosen tests read."""
    random_networks.register()
    found = {}
    for world, names in needed(request).items():
        (folder / str(world)).mkdir()
        found[world] = run_jobs(folder, world, [job for job in jobs(folder / str(world)) if job.name in names])
    return found


@pytest.mark.parametrize("world", [2])
@pytest.mark.parametrize("entry", map(way, WAYS))
@needs(lambda entry: [" ".join(entry)])
def test_ranks_equal_one_process(results: Results, folder: Path, entry: Way, world: int):
    (net, _, tune), name = entry, " ".join(entry)
    one, more = results[1][name], results[world][name]
    assert one["wrapper"] != more["wrapper"] == "DistributedDataParallel"
    assert len(one["loss"]) == STEPS
    compare(one, more, 1e-10)
    assert one["confusion"] == more["confusion"]
    kept = {key.split("/")[2] for key in one["state"] if key.startswith("optimizer/")}
    moved = {key for key, value in one["gradients"][-1].items() if value.any()}
    assert {key.removeprefix("network.") for key in moved} <= {key.removeprefix("network.") for key in kept}
    before = start(net, folder / "1")
    state = {key: value for key, value in one["state"].items() if key.startswith(("network.body.", "ema.body."))}
    bases = {key: key.partition(".body.")[2].replace(".base_layer.", ".") for key in state if "lora_" not in key}
    changed = {key for key, base in bases.items() if not torch.equal(state[key], before[base].to(state[key].dtype))}
    assert bool(changed) == (tune == "full")
    assert any("lora_B" in key and bool(value.any()) for key, value in state.items()) == (tune == "lora")
    assert any(key.startswith("network.head") for key in moved)


@pytest.mark.parametrize("entry", map(way, WAYS))
@needs(lambda entry: [" ".join(entry), " ".join(entry) + " resumed"])
def test_a_resumed_run_is_the_one_that_was_not_stopped(results: Results, entry: Way):
    name = " ".join(entry)
    whole, resumed = second_half(results[1][name], HALF), results[1][f"{name} resumed"]
    assert resumed["loss"] == whole["loss"] and resumed["seen"] == whole["seen"]
    assert resumed["state"].keys() == whole["state"].keys()
    assert not [key for key, value in whole["state"].items() if not torch.equal(value, resumed["state"][key])]
    assert resumed["confusion"] == whole["confusion"]


@pytest.mark.parametrize("entry", map(way, WAYS))
@needs(lambda entry: [" ".join(entry)])
def test_the_network_that_is_loaded_has_the_names_of_the_plain_one(results: Results, folder: Path, entry: Way):
    net, name = entry[0], " ".join(entry)
    network = semisonic.load(folder / "1" / name).network
    own = {key.removeprefix("body.") for key in network.state_dict() if key.startswith("body.")}
    assert own == {key for key in start(net, folder / "1") if not key.startswith(("fc.", "head."))} | {
        key for key in own if key.startswith("head.norm.")
    }


@pytest.mark.long
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("name", ZERO[1:])
@needs(lambda name: [ZERO[0], name])
def test_adapters_under_zero(results: Results, name: str, world: int):
    ddp, zero = results[world][ZERO[0]], results[world][name]
    assert zero["wrapper"] == "DeepSpeedEngine"
    compare(ddp, zero, 1e-5, slack=100)
    assert {key.split("/")[2] for key in zero["state"] if key.startswith("optimizer/")} == {
        key.split("/")[2] for key in ddp["state"] if key.startswith("optimizer/")
    }


@pytest.mark.parametrize("entry", map(way, WAYS))
def test_a_step_is_one_graph(tmp_path: Path, entry: Way):
    """Traced as one, or an error; with the loss and the gradients of the step that is not compiled."""
    net, algorithm, tune = entry
    random_networks.register()
    trainer = make_trainer(tmp_path, "--algorithm", algorithm, "--compile", "off",
                           *fields(net, tune, tmp_path))  # fmt: skip
    method, batch = trainer.algorithm.train(), next(trainer.loader())
    found = []
    torch._dynamo.reset()
    for forward in (method.forward, torch.compile(method.forward, fullgraph=True, dynamic=False, backend="aot_eager")):
        method.zero_grad()
        with torch.random.fork_rng():
            loss = forward(batch).loss
            loss.backward()
        found.append([loss.detach(), *(value.grad.clone() for value in method.parameters() if value.grad is not None)])
    assert len(found[0]) == len(found[1]) == 1 + sum(value.requires_grad for value in method.parameters())
    assert all(difference(a, b) < 1e-4 or torch.allclose(a, b, atol=1e-6) for a, b in zip(*found, strict=True))
