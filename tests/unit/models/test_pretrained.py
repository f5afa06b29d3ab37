"""Weights from a file of the user: what is loaded, what is refused, and a run that starts from them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from semisonic.config.command_line import resolve
from semisonic.data.sets import registry as sources
from semisonic.models.networks import ModelConfig, build, model_problems
from semisonic.models.pretrained import load_weights, read
from semisonic.schema import UserError
from semisonic.training.build import build_algorithm, draw_split


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of torchvision's resnet18 with 7 classes, its running statistics moved."""
    from torchvision.models import resnet18

    torch.manual_seed(5)
    theirs = resnet18(num_classes=7)
    theirs(torch.randn(2, 3, 32, 32))
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(theirs.state_dict(), path)
    return path


def loaded(path: Path, classes: int = 7, stem: str = "7x7", name: str = "resnet18") -> nn.Module:
    network = build(ModelConfig(name=name, stem=stem), classes, 32)
    load_weights(network, path, stem)
    return network


def refused(path: Path, **options: object) -> list[str]:
    with pytest.raises(UserError) as caught:
        loaded(path, **options)
    assert all("\n" not in line for line in caught.value.messages)
    return caught.value.messages


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_file_s_network_is_torchvision_s(weights: Path, tmp_path: Path, suffix: str):
    from torchvision.models import resnet18

    state = read(weights)
    path = weights
    if suffix == ".safetensors":
        path = tmp_path / "x.safetensors"
        save_file(state, path)
    theirs = resnet18(num_classes=7)
    theirs.load_state_dict(state)
    images = torch.randn(2, 3, 32, 32)
    assert loaded(path).eval()(images).equal(theirs.eval()(images))


def test_another_number_of_classes_gets_a_new_head(weights: Path):
    torch.manual_seed(0)
    network = loaded(weights, classes=4)
    torch.manual_seed(0)
    fresh = build(ModelConfig(name="resnet18", stem="7x7"), 4, 32)
    assert network.head.weight.equal(fresh.head.weight)
    assert network.body.conv1.weight.equal(read(weights)["conv1.weight"])
    assert network.body.bn1.running_var.equal(read(weights)["bn1.running_var"])


def test_files_that_count_no_batches_are_taken(weights: Path, tmp_path: Path):
    state = {key: value for key, value in read(weights).items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    assert loaded(tmp_path / "old.pth").head.weight.equal(state["fc.weight"])


def test_efficientnets_are_named_as_torchvision_does(tmp_path: Path):
    from torchvision.models import efficientnet_b0

    theirs = efficientnet_b0(num_classes=7)
    torch.save(theirs.state_dict(), tmp_path / "b0.pth")
    network = loaded(tmp_path / "b0.pth", name="efficientnet_b0")
    assert network.head.weight.equal(theirs.classifier[1].weight)
    assert network.body.features[8][0].weight.equal(theirs.features[8][0].weight)


def test_another_stem_names_model_stem(weights: Path):
    (line,) = refused(weights, stem="auto")
    assert line.startswith("model.stem: ") and "7x7 pixels" in line and "(model.stem=auto) one of 3x3" in line


def test_what_does_not_fit_is_listed_in_the_file_s_names(weights: Path, tmp_path: Path):
    state = read(weights)
    state["layer5.weight"] = torch.zeros(1)
    state["layer1.0.conv1.weight"] = torch.zeros(3)
    del state["layer2.0.bn1.weight"], state["fc.bias"]
    torch.save(state, tmp_path / "x.pth")
    lines = refused(tmp_path / "x.pth")
    assert [line.partition(" ")[0] for line in lines] == ["model.weights:"] * 3
    assert lines[0].endswith("misses fc.bias, layer2.0.bn1.weight")
    assert lines[1].endswith("has, but the network has not, layer5.weight")
    assert lines[2].endswith("has in another shape layer1.0.conv1.weight")
    assert any("and " in line and line.endswith("more") for line in refused(weights, name="resnet34"))


class Bad:
    """Would run code when it is unpickled."""

    def __reduce__(self) -> tuple:
        return print, ("executed",)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("fc.weight", torch.ones(()), "has in another shape fc.weight"),
        ("fc.weight", torch.ones(9, 3), "has in another shape fc.weight"),
        ("bn1.bias", torch.full((64,), torch.inf), "has other values than finite numbers in bn1.bias"),
        ("bn1.bias", torch.ones(64).int(), "has other values than finite numbers in bn1.bias"),
    ],
)
def test_what_no_training_leaves_is_refused(weights: Path, tmp_path: Path, key: str, value: torch.Tensor, message: str):
    save_file({**read(weights), key: value}, tmp_path / "x.safetensors")
    assert refused(tmp_path / "x.safetensors")[0].endswith(message)


def test_strange_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    torch.save({"x": Bad()}, tmp_path / "code.pth")
    torch.save({"model": {"x": torch.zeros(1)}}, tmp_path / "nested.pth")
    for name in ("empty.pth", "empty.safetensors"):
        (tmp_path / name).write_bytes(b"")
    for path in (tmp_path / "absent.pth", tmp_path / "absent.safetensors", *sorted(tmp_path.iterdir())):
        (line,) = refused(path)
        assert line.startswith("model.weights: ") and path.name in line
    assert "executed" not in capsys.readouterr().out


def test_impossible_weights_are_found_beforehand(weights: Path):
    assert model_problems(ModelConfig(name="wrn-28-2", weights=weights), 32)[0].startswith(
        "model.weights: is for torchvision's"
    )
    assert model_problems(ModelConfig(name="resnet18", weights=Path("x.bin")), 32)[0].startswith(
        "model.weights: x.bin must end"
    )
    fields = ["--model", "resnet18", "--no-baseline"]
    with pytest.raises(UserError) as caught:
        resolve([*fields, "--model.weights", "absent.pth"])
    assert any(line == "model.weights: there is no file absent.pth" for line in caught.value.messages)


def test_a_run_starts_from_the_weights_with_their_normalization(weights: Path):
    fields = ["--model", "resnet18", "--model.stem", "7x7", "--model.weights", str(weights), "--no-baseline"]
    cfg = resolve([*fields, "--device", "cpu"])[1]
    data = sources.load_data_set(cfg.data)
    assert data.mean == (0.485, 0.456, 0.406) and data.std == (0.229, 0.224, 0.225)
    assert sources.load_data_set(resolve([])[1].data).mean != data.mean
    split = draw_split(cfg, data)
    expected = read(weights)["layer4.1.conv2.weight"]
    algorithm = build_algorithm(cfg, data, split)
    assert algorithm.network.body.layer4[1].conv2.weight.equal(expected)
    assert algorithm.ema.body.layer4[1].conv2.weight.equal(expected)
    assert algorithm.info.mean == data.mean
    gone = cfg.model_copy(update={"model": cfg.model.model_copy(update={"weights": Path("gone.pth")})})
    build(gone.model, 10, 16)  # as a checkpoint's network is built
    assert not build_algorithm(gone, data, split, fresh=False).network.body.layer4[1].conv2.weight.equal(expected)


def test_a_ratio_need_not_be_whole():
    cfg = resolve(["--batch.labeled", "20", "--batch.unlabeled-ratio", "2.5"])[1]
    assert cfg.batch.unlabeled == 50
    assert resolve(["--batch.unlabeled-ratio", "3"])[1].batch.unlabeled_ratio == 3
    with pytest.raises(UserError, match=r"unlabeled_ratio: 2\.5 times 21 labeled images is no whole number"):
        resolve(["--batch.labeled", "21", "--batch.unlabeled-ratio", "2.5"])
