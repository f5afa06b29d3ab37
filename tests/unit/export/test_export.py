"""A network outside of this package computes what `semisonic.load` does, and what is written says so and is whole."""

import errno
import json
import os
import re
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

import semisonic
from semisonic.export.command import main
from semisonic.export.programs import ABOUT
from semisonic.models import torchvision_nets
from semisonic.models.networks import ModelConfig
from semisonic.models.outline import sketch
from semisonic.schema import UserError
from tests.support.exports import as_the_card_says, run_of

IMAGES = torch.randint(256, (7, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def normalized(images: Tensor, run: Path) -> Tensor:
    classifier = semisonic.load(run)
    return (images.float() - classifier.mean) / classifier.std


def expected(run: Path, net: str = "ema") -> Tensor:
    with torch.no_grad():
        return semisonic.load(run, net)(IMAGES)


@pytest.mark.parametrize(
    "name",
    ["timm/test_vit", "timm/test_resnet", "timm/test_convnext", "resnet18", "efficientnet_b0", "wrn-10-1", "small"],
)
def test_weights_are_those_that_the_library_s_own_network_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Strictly: the card's lines, which are run here, load them so."""
    run, out = run_of(tmp_path / "run", name), tmp_path / "out"
    assert main([str(run), "--to", "safetensors", "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"model.safetensors", "model_card.md"}
    found = as_the_card_says(out, normalized(IMAGES, run), monkeypatch)
    torch.testing.assert_close(found, expected(run), rtol=0, atol=1e-5)
    with safe_open(out / "model.safetensors", "pt") as file:
        keys, about = set(file.keys()), json.loads(file.metadata()["semisonic"])
    assert (
        about["classes"] == ["cat", "dog", "eel"] and about["normalized_inside"] is False and about["mean"] == [0.5] * 3
    )
    assert not any(key.startswith("body.") for key in keys)
    text = (out / "model_card.md").read_text()
    assert ("are not torchvision's own" in text) == (name in ("resnet18", "efficientnet_b0"))
    assert ("semisonic.load takes the run" in text) == (name in ("wrn-10-1", "small"))


@pytest.mark.parametrize(
    "name", ["vit_b_32", "swin_t", "convnext_tiny", "densenet121", "googlenet", "inception_v3", "vgg11"]
)
def test_torchvision_s_names_and_shapes_are_its_own(name: str):
    network = sketch(ModelConfig(name=name), 3, 96)
    assert isinstance(network, torchvision_nets.TorchvisionNet)
    with torch.device("meta"):
        own = torchvision_nets.own_network(network).state_dict()
    found = torchvision_nets.own_state(network)
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in own.items()}


def paths_in(file: Path) -> set[bytes]:
    """Of this machine: of the user's own files, of this package and of others."""
    content = file.read_bytes()
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            content = b"".join(archive.read(name) for name in archive.namelist())
    return set(re.findall(rb"(?:/[\w.-]+)+\.py|/home/me[\w/.-]*", content))


def test_a_program_needs_no_package_and_takes_any_number_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    preprocess = {"view": "whole", "border": 0, "shown_for": "init, /home/me/secret"}
    run, out = run_of(tmp_path / "run", "wrn-10-1", preprocess=preprocess), tmp_path / "out"
    assert main([str(run), "--to", "pt2", "--out", str(out)]) == 0
    files: dict[str, str] = {ABOUT: ""}
    program = torch.export.load(out / "model.pt2", extra_files=files)
    assert json.loads(files[ABOUT])["normalized_inside"] is True
    assert not paths_in(out / "model.pt2")
    kinds = {node.target.namespace for node in program.graph.nodes if isinstance(node.target, torch._ops.OpOverload)}
    assert kinds == {"aten"}  # no kernel of this package
    torch.testing.assert_close(as_the_card_says(out, IMAGES, monkeypatch), expected(run), rtol=0, atol=1e-5)
    again = tmp_path / "raw"
    options = ["--net", "raw", "--no-normalize", "--batch-max", "7"]
    assert main([str(run), "--to", "pt2", "--out", str(again), *options]) == 0
    found = as_the_card_says(again, normalized(IMAGES, run), monkeypatch)
    torch.testing.assert_close(found, expected(run, "raw"), rtol=0, atol=1e-5)
    with pytest.raises(Exception, match="7"):
        torch.export.load(again / "model.pt2").module()(torch.zeros(8, 3, 32, 32))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("timm/test_vit", []), ("resnet18", ["--no-normalize"]), ("timm/test_convnext", [])]
)
def test_onnx_computes_the_same_in_onnxruntime(
    name: str, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    onnx = pytest.importorskip("onnx")
    run, out = run_of(tmp_path / "run", name), tmp_path / "out"
    assert main([str(run), "--to", "onnx", "--out", str(out), *options]) == 0
    images = normalized(IMAGES, run) if options else IMAGES
    torch.testing.assert_close(as_the_card_says(out, images, monkeypatch), expected(run), rtol=0, atol=1e-4)
    assert not paths_in(out / "model.onnx")
    properties = {entry.key: entry.value for entry in onnx.load(out / "model.onnx").metadata_props}
    assert json.loads(properties["semisonic"])["classes"] == ["cat", "dog", "eel"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_resnet"])
def test_programs_of_other_libraries_networks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run, out = run_of(tmp_path / "run", name), tmp_path / "out"
    assert main([str(run), "--to", "pt2", "--out", str(out)]) == 0
    torch.testing.assert_close(as_the_card_says(out, IMAGES, monkeypatch), expected(run), rtol=0, atol=1e-5)


def test_adapters_and_what_add_ons_add_to_logits_are_part_of_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = ModelConfig(name="timm/test_vit", tune="lora", lora_rank=2).model_dump(mode="json")
    head = {"raw": "network.head", "ema": "ema.head", "offset": [1.0, -2.0, 3.0]}
    run, out = run_of(tmp_path / "run", "timm/test_vit", model=model, head=head), tmp_path / "out"
    assert main([str(run), "--to", "safetensors", "--out", str(out)]) == 0
    found = as_the_card_says(out, normalized(IMAGES, run), monkeypatch)
    torch.testing.assert_close(found, expected(run), rtol=0, atol=1e-5)
    plain = expected(run_of(tmp_path / "plain", "timm/test_vit"))
    assert (found - plain).mean(0).argsort().tolist() == [1, 0, 2] and not torch.allclose(
        found - plain, torch.tensor(head["offset"]), atol=1e-3
    )


def test_outputs_that_differ_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = run_of(tmp_path / "run", "resnet18")
    own_state = torchvision_nets.own_state

    def altered(network: torchvision_nets.TorchvisionNet) -> dict[str, Tensor]:
        return {key: value * 1.01 if key == "fc.weight" else value for key, value in own_state(network).items()}

    monkeypatch.setattr(torchvision_nets, "own_state", altered)
    with pytest.raises(UserError, match=r"differ from semisonic\.load's by .* nothing was written"):
        main([str(run), "--to", "safetensors", "--out", str(tmp_path / "out")])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_card_says_what_the_run_s_files_say(tmp_path: Path):
    history = [{"step": 0, "test/top1": 75.0, "test_raw/top1": 50.0}]
    weights = {
        "network": "timm/vit",
        "tag": "in1k",
        "source": "/home/me/a_b.safetensors",
        "sha256": "0123456789abcdef0",
        "license": "<b>cc</b>",
    }
    run = run_of(tmp_path / "run", "small", classes=["cat", "[x](http://y)", "eel"], history=history, weights=weights)
    summary = {
        "algorithm": "fixmatch",
        "step": 0,
        "labels": 40,
        "seed": 1,
        "test_top1": 75.0,
        "test_top1_raw": 50.0,
        "test_top1_last20_median": None,
        "wall_seconds": 1,
        "images_per_second": 1,
        "test_images": 400,
    }
    (run / "summary.json").write_text(json.dumps(summary))
    assert main([str(run), "--to", "safetensors", "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "model_card.md").read_text()
    assert "Accuracy: 75.00 % on 400 test images (95 % interval 70.53 to 78.99 %)" in text
    assert (
        r"began: timm/vit\.in1k, from the file a\_b\.safetensors (SHA-256 0123456789abcdef); license: \<b\>cc\</b\>"
        in text
    )
    assert r"cat, \[x\](http\://y), eel" in text and "Method: fixmatch, 0 steps" in text
    assert "numbers of images not known" in text  # without split.npz
    assert main([str(run), "--to", "safetensors", "--net", "raw", "--out", str(tmp_path / "raw")]) == 0
    assert "Accuracy: 50.00 %" in (tmp_path / "raw" / "model_card.md").read_text()


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = run_of(tmp_path / "run", "small")
    monkeypatch.setattr("semisonic.export.command.sync_file", refused)
    with pytest.raises(UserError, match="No space left on device; nothing was written"):
        main([str(run), "--to", "safetensors", "--out", str(tmp_path / "new" / "out")])
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "safetensors", "--normalize"], "--normalize: is for pt2 and onnx"),
        (["--to", "safetensors", "--batch-max", "3"], "--batch-max: is for pt2 and onnx"),
        (["--to", "pt2", "--out", "FULL"], "already exists; name another folder"),
        (["--to", "onnx"], "--to onnx: needs onnx, onnxruntime; pip install onnx onnxscript onnxruntime"),
        ([], "--to"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    monkeypatch.setattr("semisonic.export.command.missing_packages", lambda: ["onnx", "onnxruntime"])
    run = run_of(tmp_path / "run", "small")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message) as caught:
        main([str(run), *(str(tmp_path / "full") if part == "FULL" else part for part in options)])
    assert len(caught.value.messages) == 1 and sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "squeezenet1_1"}, "--to safetensors: squeezenet1_1's head is a linear layer here"),
        ({"name": "resnet18", "norm_eps": 0.01}, "model.norm_eps: torchvision's own resnet18 adds 1e-05"),
        ({"name": "given", "fingerprint": "a"}, "its network was given in Python"),
    ],
)
def test_a_network_that_cannot_be_had_elsewhere_is_refused(model: dict, message: str, tmp_path: Path):
    name = "small" if model["name"] == "given" else model["name"]
    run = run_of(tmp_path / "run", name, model=ModelConfig(**model).model_dump(mode="json"))
    with pytest.raises(UserError, match=message):
        main([str(run), "--to", "safetensors", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
