"""Weights of timm's networks: resized, without a head that does not fit, checked, and from the hub by name."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import save_file

from semisonic.models.networks import ModelConfig, build, model_problems
from semisonic.models.starting_weights import line, load_starting_weights, record
from semisonic.models.timm_nets import TimmNet, own_state
from semisonic.models.timm_weights import UNKNOWN, weights_about
from semisonic.schema import UserError

SIZE = 32


def saved(path: Path, name: str = "test_vit", classes: int = 5, **options: Any) -> dict[str, torch.Tensor]:
    """Random weights of a network of timm in a file, every one of them nonzero."""
    torch.manual_seed(7)
    tensors = {key: torch.rand(value.shape).to(value.dtype) + 1 for key, value in timm.create_model(name, num_classes=classes, **options).state_dict().items()}  # fmt: skip
    save_file(tensors, path)
    return tensors


def started(path: Path | None, name: str = "test_vit", classes: int = 5, **fields: Any) -> TimmNet:
    cfg = ModelConfig.model_validate({"name": f"timm/{name}", "weights": path, **fields})
    torch.manual_seed(1)
    network = build(cfg, classes, SIZE)
    load_starting_weights(network, cfg)
    assert isinstance(network, TimmNet)
    return network


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet", "dla46_c"])
def test_all_tensors_of_a_file_are_taken(tmp_path: Path, name: str):
    given = saved(tmp_path / "w.safetensors", name, **({"img_size": SIZE} if "vit" in name else {}))
    found = own_state(started(tmp_path / "w.safetensors", name))
    assert found.keys() == given.keys()
    for key, value in given.items():
        assert found[key].equal(value), key


def test_positions_and_patches_are_resized_as_timm_does(tmp_path: Path):
    file = tmp_path / "w.safetensors"
    given = saved(file)  # 160 px, patches of 16
    found = own_state(started(file, patch_size=8))
    theirs = timm.create_model("test_vit", pretrained=True, pretrained_cfg_overlay={"file": str(file), "num_classes": 5}, num_classes=5, img_size=SIZE, patch_size=8).state_dict()  # fmt: skip
    changed = [key for key, value in given.items() if value.shape != found[key].shape]
    assert sorted(changed) == ["patch_embed.proj.weight", "pos_embed"]
    for key, value in theirs.items():
        assert found[key].equal(value), key


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_resnet"])
def test_a_head_of_other_classes_stays_as_it_was_drawn(tmp_path: Path, name: str):
    file = tmp_path / "w.safetensors"
    given = saved(file, name, classes=5)
    found, path = started(file, name, classes=3), started(None, name, classes=3).head_path
    assert found.head.weight.equal(started(None, name, classes=3).head.weight) and found.head.weight.shape[0] == 3
    own = own_state(found)
    kept = [key for key, value in given.items() if value.shape == own[key].shape and not key.startswith(path + ".")]
    assert len(kept) >= len(given) - 4 and all(own[key].equal(given[key]) for key in kept)


def test_weights_without_a_head(tmp_path: Path):
    file = tmp_path / "w.safetensors"
    given = saved(file, classes=0, img_size=SIZE)
    found = own_state(started(file))
    assert not [key for key in given if key.startswith("head.")]
    assert all(found[key].equal(value) for key, value in given.items())


def wrong(tmp_path: Path, change: Any, name: str = "test_vit", **fields: Any) -> list[str]:
    file = tmp_path / "w.safetensors"
    tensors = saved(file, **({"img_size": SIZE} if name == "test_vit" else {}))
    change(tensors)
    save_file(tensors, file)
    with pytest.raises(UserError) as caught:
        started(file, name, **fields)
    assert len(caught.value.messages) == 1 and str(file) in caught.value.messages[0]
    return caught.value.messages


def test_weights_that_do_not_fit_are_one_line(tmp_path: Path):
    line = wrong(tmp_path, lambda tensors: None, "test_resnet")[0]
    assert "holds no weights of timm/test_resnet" in line and "and" in line and "more" in line
    assert "lack norm.weight" in wrong(tmp_path, lambda tensors: tensors.pop("norm.weight"))[0]
    assert "has no extra" in wrong(tmp_path, lambda tensors: tensors.update(extra=torch.zeros(1)))[0]
    short = wrong(tmp_path, lambda tensors: tensors.update({"norm.weight": torch.zeros(3)}))[0]
    assert "of another shape: norm.weight [3], not [64]" in short
    thin = wrong(tmp_path, lambda tensors: tensors.update({"patch_embed.proj.weight": torch.zeros(64, 1, 16, 16)}))[0]
    assert "images of 1 channels" in thin
    for shape in ((), (7,), (7, 0)):  # not another number of classes
        text = wrong(tmp_path, lambda tensors, shape=shape: tensors.update({"head.weight": torch.ones(shape)}))[0]
        assert f"head.weight is {list(shape)}, not [classes, 64]" in text
    bias = wrong(tmp_path, lambda tensors: tensors.update({"head.bias": torch.ones(())}))[0]
    assert "of another shape: head.bias [], not [5]" in bias
    for value in (torch.full((64,), torch.nan), torch.ones(64).long(), torch.ones(64, dtype=torch.complex64)):
        text = wrong(tmp_path, lambda tensors, value=value: tensors.update({"norm.weight": value}))[0]
        assert text.endswith("other values than finite numbers in norm.weight")
    assert "holds no tensors" in wrong(tmp_path, dict.clear)[0]
    (tmp_path / "broken.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(UserError, match=r"broken\.safetensors"):
        started(tmp_path / "broken.safetensors")


class Hub:
    """Stands for the hub's client: hands out a file, and notes what it was asked for."""

    def __init__(self, file: Path, cached: bool = False, error: Exception | None = None):
        self.file, self.cached, self.error = file, cached, error
        self.asked: list[tuple[str, str, bool]] = []

    def __call__(self, repo_id: str, filename: str, revision: str | None = None, local_files_only: bool = False) -> str:
        self.asked.append((repo_id, filename, local_files_only))
        if local_files_only and not self.cached:
            raise LocalEntryNotFoundError("not here")
        if self.error:
            raise self.error
        self.cached = True
        return str(self.file)


def test_the_hub_is_asked_for_safetensors_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hub = Hub(tmp_path / "hub.safetensors")
    given = saved(hub.file, classes=1000)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    for _ in range(2):
        found = own_state(started(None, pretrained=True))
        assert found["norm.weight"].equal(given["norm.weight"])
    repository = "timm/test_vit.r160_in1k"
    assert hub.asked == [(repository, "model.safetensors", local) for local in (True, False, True)]
    cfg = ModelConfig(name="timm/test_vit", pretrained=True)
    about = record(cfg)
    assert about is not None and about["source"] == f"timm's hub, {repository}" and len(about["sha256"]) == 64
    assert f"{repository} (timm/test_vit), SHA-256" in line(about) and about["license"] in line(about)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LocalEntryNotFoundError("no connection"), "cannot be fetched"),
        (ConnectionError("name resolution"), "cannot be fetched"),
        (EntryNotFoundError("404"), "has no model.safetensors"),
    ],
)
def test_without_a_hub_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", Hub(tmp_path / "none", error=error))
    monkeypatch.setattr(torch, "load", lambda *args, **named: pytest.fail("something was unpickled"))
    with pytest.raises(UserError) as caught:
        started(None, pretrained=True)
    assert len(caught.value.messages) == 1 and words in str(caught.value) and "model.weights" in str(caught.value)


def test_what_is_known_of_weights(tmp_path: Path):
    assert weights_about(ModelConfig(name="timm/test_vit")) is None
    about = weights_about(ModelConfig(name="timm/vit_small_patch14_dinov2", pretrained=True))
    assert about is not None and (about.tag, about.license, about.input_size) == ("lvd142m", "apache-2.0", 518)
    assert about.mean == (0.485, 0.456, 0.406) and about.interpolation == "bicubic"
    own = weights_about(ModelConfig(name="timm/vit_small_patch14_dinov2", weights=Path("w.safetensors")))
    assert own is not None and own.license == UNKNOWN and own.mean == about.mean
    half = weights_about(ModelConfig(name="timm/vit_tiny_patch16_224.augreg_in21k", weights=Path("w.safetensors")))
    assert half is not None and half.mean == (0.5, 0.5, 0.5)


def test_networks_without_published_weights_are_told_before_anybody_is_asked():
    found = model_problems(ModelConfig(name="timm/resnet10t", pretrained=True), SIZE)
    assert found == []
    (text,) = model_problems(ModelConfig(name="timm/vit_small_patch16_36x1_224", pretrained=True), SIZE)
    assert "publishes no weights" in text


def test_a_network_is_built_without_its_weights(monkeypatch: pytest.MonkeyPatch):
    """As `semisonic.load` does it, from a checkpoint alone."""
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *args, **named: pytest.fail("the hub was asked"))
    for fields in ({"pretrained": True}, {"weights": "/nowhere/w.safetensors"}):
        cfg = ModelConfig.model_validate({"name": "timm/test_vit", **fields})
        assert model_problems(cfg, SIZE) == [] and isinstance(build(cfg, 5, SIZE), TimmNet)
