"""What users get wrong about backbones and weights: one line each, all together, before anything is trained."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from semisonic import cli
from tests.support.command_line import mistakes
from tests.support.image_folders import write_images


def save(network: torch.nn.Module, path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path


def timms(name: str, path: Path, **options: object) -> Path:
    """Random weights of one of timm's networks, under its own names."""
    import timm

    return save(timm.create_model(name, **options), path)


def trained(capsys: pytest.CaptureFixture[str], run: Path, *fields: object) -> list[str]:
    """The lines by which a training is refused, which leaves no folder."""
    given = ["--data", "digits", "--device", "cpu", "--steps", "2", "--log.trackers", "none", "--no-baseline"]
    assert cli.main([*given, "--out", str(run), *map(str, fields)]) == 2
    assert not run.exists()
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            ["--model", "timm/vit_smal_patch16_224"],
            "model.name: timm has no network vit_smal_patch16_224; did you mean timm/vit_small_patch16_224?",
        ),
        (["--model", "timm/test_vit.nowhere"], "model.name: timm's test_vit has no weights nowhere"),
        (
            ["--model", "timm/test_vit", "--model.patch_size", "5"],
            "model.name: timm/test_vit cuts images into patches of 5 px, which do not divide 16 px; use data.size 15 or 20",
        ),
        (
            ["--model", "timm/test_resnet", "--model.pretrained", "true", "--model.tune", "lora"],
            "model.tune: lora adapts linear layers, of which the network has none but its head",
        ),
        (
            ["--model", "timm/test_vit", "--model.tune", "lora"],
            "model.tune: lora would keep random weights as they are; give model.weights, model.pretrained or init",
        ),
        (
            ["--model", "timm/test_resnet", "--optim.layer_decay", "0.5", "--optim.backbone_lr", "0.1"],
            "optim.layer_decay: scales the learning rates of the network, as optim.backbone_lr does; give one",
        ),
        (["--model", "small", "--model.drop_path", "0.1"], "model.drop_path: is for timm's networks (timm/NAME), not"),
        (["--loss.class_weights", "1,-1,1,1,1,1,1,1,1,1"], "loss.class_weights: '1,-1,1,1,1,1,1,1,1,1' is not valid"),
        (["--loss.class_weights", ",".join("0" * 10)], "loss.class_weights: '0,0,0,0,0,0,0,0,0,0' is not valid"),
    ],
)
def test_one_line(fields: list[str], expected: str):
    (line,) = mistakes("--data", "digits", "--device", "cpu", *fields)
    assert line.startswith(expected) and "\n" not in line


def test_several_at_once(tmp_path: Path):
    lines = mistakes(
        "--data", "digits", "--data.labels", 41, "--model", "timm/vit_smal_patch16_224", "--model.weights",
        tmp_path / "none.safetensors", "--optim.layer_decay", 0.5, "--optim.backbone_lr", 0.1, "--loss.class_weights",
        ",".join("0" * 10),
    )  # fmt: skip
    assert sorted(line.partition(":")[0] for line in lines) == [
        "data.labels", "loss.class_weights", "model.name", "model.weights", "optim.layer_decay",
    ]  # fmt: skip


def test_weights_of_another_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = timms("test_resnet", tmp_path / "resnet.safetensors")
    (line,) = trained(capsys, tmp_path / "run", "--model", "timm/test_vit", "--model.weights", file)
    assert line.startswith(f"error: model.weights: {file} holds no weights of timm/test_vit: they lack cls_token")
    (line,) = trained(capsys, tmp_path / "run", "--model", "resnet18", "--model.weights", file)
    assert line.startswith(f"error: model.weights: {file} holds weights of another network: it misses ")


@pytest.mark.parametrize("channels", [1, 4])
def test_weights_for_images_of_other_channels(tmp_path: Path, capsys: pytest.CaptureFixture[str], channels: int):
    from torchvision.models import resnet18

    file = timms("test_vit", tmp_path / "vit.safetensors", in_chans=channels)
    (line,) = trained(capsys, tmp_path / "run", "--model", "timm/test_vit", "--model.weights", file)
    assert line.startswith(f"error: model.weights: {file} holds weights for images of {channels} channels")
    theirs = resnet18()
    theirs.conv1 = torch.nn.Conv2d(channels, 64, 7, bias=False)
    file = save(theirs, tmp_path / "resnet.safetensors")
    (line,) = trained(capsys, tmp_path / "run", "--model", "resnet18", "--model.weights", file, "--model.stem", "7x7")
    assert line == f"error: model.weights: {file} is for images of {channels} channels; they have 3"


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (
            ["1", "-1", "2", "1"],
            "data.csv: line 3 of {csv} has the weight -1 in its column sure; give a number of 0 to",
        ),
        (["0"] * 4, "data.weight_column: every labeled image of {csv} has the weight 0 in its column sure"),
    ],
)
def test_a_table_whose_weights_teach_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: list[str], expected: str
):
    write_images(tmp_path, [f"{i}.png" for i in range(4)])
    csv = tmp_path / "table.csv"
    csv.write_text("path,label,sure\n" + "".join(f"{i}.png,{'ab'[i % 2]},{w}\n" for i, w in enumerate(weights)))
    (line,) = trained(
        capsys, tmp_path / "run", "--data", "folder", "--data.csv", csv, "--data.size", 16, "--data.weight_column", "sure",
        "--data.test", "none", "--model", "small",
    )  # fmt: skip
    assert line.startswith("error: " + expected.format(csv=csv))
