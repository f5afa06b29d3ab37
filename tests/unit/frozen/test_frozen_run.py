"""Runs that start from weights report what these come to without training, once, and keep the features."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import semisonic
from semisonic.config.run_config import RunConfig
from semisonic.data.sets.registry import load_data_set
from semisonic.frozen import images, kept, learner
from semisonic.frozen.learner import Learner
from semisonic.models.networks import NETWORKS
from semisonic.models.tuning import base_names
from semisonic.models.wrapped import GIVEN
from semisonic.plugins import Plugin
from semisonic.schema import UserError
from semisonic.training.build import begun, draw_split
from tests.support.python_data import TINY, digits

FIELDS: dict[str, Any] = {**TINY, "quiet": False, "model": {"name": "small"}, "steps": 4}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "semisonic" / "features"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to start from."""
    out = tmp_path_factory.mktemp("first") / "run"
    semisonic.train(data=digits(200, 100), out=out, **FIELDS | {"quiet": True, "frozen": "off"})
    return out


def train(out: Path, **fields: Any) -> dict[str, Any]:
    semisonic.train(data=digits(200, 100), out=out, **FIELDS | fields)
    return json.loads((out / "summary.json").read_text())


def accuracies(summary: dict[str, Any]) -> dict[str, float]:
    return {name: summary["frozen"][name]["test_top1"] for name in ("neighbors", "logistic", "self_training")}


def test_a_run_from_weights_reports_them_and_shows_a_row_each(
    first: Path, tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
):
    summary = train(tmp_path / "run", init=first, baseline=True)
    found = accuracies(summary)
    assert min(found.values()) > 60  # chance is 10; even random features of the digits tell them
    assert summary["frozen"]["made"] == summary["frozen"]["images"] == 300
    assert summary["frozen"]["weights"] == str(first) and "frozen" not in summary["baseline"]
    said = " ".join(capsys.readouterr().out.split())
    table = said[said.index("Test accuracy with") :]
    for name in ("nearest neighbors", "logistic regression", "self-training", "supervised", "fixmatch"):
        assert name in table
    assert f"nearest neighbors (frozen features): test top-1 {found['neighbors']:.2f} %" in said
    assert len(list(own_cache.glob("*.safetensors"))) == 2

    again = train(tmp_path / "again", init=first, seed=1)  # another split of the same images: nothing is made
    assert again["frozen"]["made"] == 0 and accuracies(again).keys() == found.keys()
    trained = train(tmp_path / "trained", init=tmp_path / "run")  # other weights: all of it is
    assert trained["frozen"]["made"] == 300 and len(list(own_cache.glob("*.safetensors"))) == 4


def test_the_report_does_not_change_the_run(first: Path, tmp_path: Path):
    summaries = [train(tmp_path / mode, init=first, frozen=mode) for mode in ("on", "off")]
    assert "frozen" in summaries[0] and "frozen" not in summaries[1]
    networks = [semisonic.load(tmp_path / mode, "raw").state_dict() for mode in ("on", "off")]
    assert all(torch.equal(value, networks[1][name]) for name, value in networks[0].items())


def test_random_weights_are_reported_where_that_is_asked_for(tmp_path: Path, own_cache: Path):
    assert "frozen" not in train(tmp_path / "auto") and not own_cache.exists()
    assert train(tmp_path / "on", frozen="on")["frozen"]["weights"] == "random"


def test_a_pretext_task_has_no_report(first: Path, tmp_path: Path):
    pretext = {"algorithm": {"name": "rotnet"}}
    assert "frozen" not in train(tmp_path / "run", init=first, **pretext)
    with pytest.raises(UserError, match="frozen: rotnet is a pretext task"):
        train(tmp_path / "on", frozen="on", **pretext)


def test_a_run_that_goes_on_keeps_its_report(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "run"
    before = train(out, init=first)["frozen"]
    (out / "summary.json").unlink()
    monkeypatch.setattr(Learner, "neighbors", lambda _: pytest.fail("made again"))
    assert train(out, init=first, resume=True)["frozen"] == before
    (out / "summary.json").unlink()
    (out / "frozen.json").write_text("{")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert accuracies(train(out, init=first, resume=True)) == accuracies({"frozen": before})


def test_a_baseline_that_fails_is_told_and_the_run_goes_on(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fails(*_: object) -> None:
        raise FloatingPointError("no luck")

    monkeypatch.setattr(learner.logistic, "choose_strength", fails)
    summary = train(tmp_path / "run", init=first)
    assert summary["step"] == 4 and "test_top1" in summary["frozen"]["neighbors"]
    for name in ("logistic", "self_training"):
        assert summary["frozen"][name]["error"] == "FloatingPointError: no luck"
    assert "error: logistic regression (frozen features): FloatingPointError: no luck" in capsys.readouterr().out


def test_being_stopped_keeps_what_is_made(first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "run"
    small = {"eval": {"every": 4, "batch": 32}}
    semisonic.train(data=digits(200, 100), out=out, init=first, max_hours=1e-9, **FIELDS | small)
    assert "Stopped during the baselines on frozen features (max_hours)" in capsys.readouterr().out
    assert json.loads((out / "status.json").read_text())["status"] == "stopped"
    summary = train(out, init=first, resume=True, max_hours=None, **small)
    assert summary["step"] == 4 and accuracies(summary)


def test_of_many_images_a_sample_is_used_and_told(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(images, "POOL", 30)
    summary = train(tmp_path / "run", init=first)
    assert summary["frozen"]["self_training"]["pool"] == 30
    assert "30 of 100 images of the pool are used, drawn by the seed" in capsys.readouterr().out


def test_the_key_tells_weights_images_and_transform_apart(first: Path, tmp_path: Path):
    cfg = RunConfig.model_validate({"data": {"name": "digits"}, "model": {"name": "small"}, "device": "cpu"})
    data = load_data_set(cfg.data)
    algorithm = begun(cfg, data, draw_split(cfg, data))
    key = kept.fingerprint(cfg, data, algorithm, "train")
    with torch.no_grad():
        algorithm.network.head.weight.add_(1)  # no part of the features
    assert kept.fingerprint(cfg, data, algorithm, "train") == key != kept.fingerprint(cfg, data, algorithm, "test")
    brighter = replace(data, mean=(0.4, 0.4, 0.4))
    fewer = replace(data, train=replace(data.train, pixels=data.train.pixels[:9], labels=data.train.labels[:9]))
    assert len({key, *(kept.fingerprint(cfg, other, algorithm, "train") for other in (brighter, fewer))}) == 3
    with torch.no_grad():
        next(iter(algorithm.network.parameters())).view(-1)[0].add_(1)
    assert kept.fingerprint(cfg, data, algorithm, "train") != key


def test_what_is_trained_later_is_no_part_of_the_key():
    keys = set()
    for seed, tune in enumerate(("full", "probe", "lora")):  # the weights of the first
        model = {"name": "timm/test_vit", "patch_size": 4, "tune": tune}
        cfg = RunConfig.model_validate({"data": {"name": "digits"}, "model": model, "device": "cpu", "seed": seed})
        data = load_data_set(cfg.data)
        algorithm = begun(cfg, data, draw_split(cfg, data))
        state = algorithm.network.state_dict()
        if not keys:
            weights = {name: value.clone() for name, value in state.items()}
        names = base_names(algorithm.network)
        algorithm.network.load_state_dict({names[name]: value for name, value in weights.items()}, strict=False)
        keys.add(kept.fingerprint(cfg, data, algorithm, "train"))
    assert len(keys) == 1


def test_the_code_of_a_plug_in_is_part_of_the_key_and_that_of_a_given_network_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
):
    cfg = RunConfig.model_validate({"data": {"name": "digits"}, "model": {"name": "small"}, "device": "cpu"})
    data = load_data_set(cfg.data)
    algorithm = begun(cfg, data, draw_split(cfg, data))

    def key(name: str, sha256: str, path: str = "net.py") -> str:
        update = {"model": cfg.model.model_copy(update={"name": name}), "plugins": (Plugin(path=path, sha256=sha256),)}
        return kept.fingerprint(cfg.model_copy(update=update), data, algorithm, "train")

    monkeypatch.setitem(NETWORKS._entries, "mine", replace(NETWORKS["small"], plug_in=True))
    assert key("mine", "a") == key("mine", "a", "moved/net.py") != key("mine", "b")
    assert key("small", "a") == key("small", "b")
    assert kept.may_be_kept(cfg)
    assert not kept.may_be_kept(cfg.model_copy(update={"model": cfg.model.model_copy(update={"name": GIVEN})}))
