"""Runs that train adapters or a head alone: what their checkpoints hold, and the plain network that comes out of them."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import semisonic
from semisonic.checkpoint import format as checkpoints
from semisonic.models.networks import ModelConfig, build
from semisonic.reporting.console import Console
from semisonic.training.layer_rates import about_training
from semisonic.training.metrics import evaluation_mode
from semisonic.training.trainer import Trainer
from tests.support.trainers import make_trainer

VIT = ("--model", "timm/test_vit", "--model.patch-size", "8", "--optim.lr", "0.5", "--algorithm.threshold", "0.1")
LORA = (*VIT, "--model.tune", "lora", "--model.lora-rank", "2", "--model.lora-alpha", "3")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the plain network, of which there is a checkpoint."""
    folder = tmp_path_factory.mktemp("start")
    saved(make_trainer(folder, *VIT))
    return folder


def saved(trainer: Trainer) -> Trainer:
    trainer.save()
    trainer.checkpoint_writer.finish()
    return trainer


def stepped(trainer: Trainer, count: int) -> Trainer:
    loader = trainer.loader()
    for _ in range(count):
        trainer.training_step(next(loader))
    return trainer


def images(count: int = 8) -> Tensor:
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def lora(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    return saved(stepped(make_trainer(tmp_path_factory.mktemp("lora"), *LORA, "--init", str(start)), 3))


@pytest.mark.parametrize("net", ["ema", "raw"])
def test_what_is_loaded_of_adapters_is_the_plain_network_with_the_runs_own_logits(lora: Trainer, net: str):
    with evaluation_mode(lora.algorithm), torch.no_grad():
        expected = lora.algorithm.predict(images(), {"ema": "ema", "raw": "network"}[net])
    classifier = semisonic.load(lora.run_folder, net=net)
    with torch.no_grad():
        torch.testing.assert_close(classifier(images()), expected, rtol=1e-5, atol=1e-5)
    plain = build(ModelConfig(name="timm/test_vit", patch_size=8), 10, 16)
    assert classifier.network.state_dict().keys() == plain.state_dict().keys()
    assert all(value.requires_grad for value in classifier.network.parameters())


def test_the_table_says_what_it_starts_from_what_is_trained_and_how_labels_count(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    trainer = make_trainer(
        tmp_path, *LORA, "--init", str(start), "--batch.balanced", "--loss.class-weights", "effective"
    )
    rows = about_training(trainer.training_step.engines)
    Console(main=True).start_up(trainer.cfg, trainer.data, trainer.split, trainer.rank, trainer.device, 1, rows)
    shown = " ".join(capsys.readouterr().out.split())
    network = trainer.algorithm.network
    trained = sum(value.numel() for value in network.parameters() if value.requires_grad)
    assert f"trained {trained:,} of {sum(value.numel() for value in network.parameters()):,} parameters (" in shown
    assert "model timm/test_vit starts from" in shown
    assert "labels count every class is drawn equally often; class weights effective" in shown


def test_the_license_of_weights_goes_on_through_init(tmp_path: Path):
    about = {"network": "timm/test_vit", "source": "a.safetensors", "tag": "", "sha256": "0", "license": "cc-by-nc-4.0"}
    first = make_trainer(tmp_path / "first", *VIT)
    assert first.weights is None
    first.weights = about
    saved(first)
    assert make_trainer(tmp_path / "second", *VIT, "--init", str(tmp_path / "first")).weights == about


def test_a_checkpoint_holds_frozen_tensors_once_and_resumes_bit_for_bit(lora: Trainer, start: Path, tmp_path: Path):
    trainer = make_trainer(tmp_path, *LORA, "--init", str(start))
    written = checkpoints.find(lora.run_folder)
    shared = set(json.loads((written / "state.json").read_text())["shared"])
    frozen = {name for name, value in lora.algorithm.network.named_parameters() if not value.requires_grad}
    assert shared == frozen and len(frozen) > 50
    size = sum(value.nbytes for value in lora.algorithm.ema.state_dict().values())
    assert (written / "model.safetensors").stat().st_size < 1.3 * size
    with torch.no_grad():
        for value in trainer.algorithm.parameters():
            value += 1  # whatever is not restored stays wrong
    trainer.restore(checkpoints.load_checkpoint(lora.run_folder))
    stepped(trainer, 2)
    whole = stepped(make_trainer(tmp_path / "whole", *LORA, "--init", str(start)), 5)
    mine, others = trainer.algorithm.state_dict(), whole.algorithm.state_dict()
    assert mine.keys() == others.keys()
    assert not [name for name, value in mine.items() if not value.equal(others[name])]


def test_a_run_that_starts_from_adapters_starts_from_the_merged_network(lora: Trainer, tmp_path: Path):
    """Whether it has adapters of its own, which count for nothing yet, or none."""
    with torch.no_grad():
        expected = semisonic.load(lora.run_folder)(images())
    for fields in (VIT, LORA):
        trainer = make_trainer(tmp_path, *fields, "--init", str(lora.run_folder))
        with evaluation_mode(trainer.algorithm), torch.no_grad():
            for module in ("ema", "network"):
                torch.testing.assert_close(trainer.algorithm.predict(images(), module), expected, rtol=1e-5, atol=1e-5)


def test_a_snapshot_of_adapters_is_whole_by_itself(lora: Trainer):
    lora.save_snapshot()
    lora.checkpoint_writer.finish()
    (snapshot,) = (lora.run_folder / "snapshots").iterdir()
    assert "shared" not in json.loads((snapshot / "state.json").read_text())
    with torch.no_grad():
        assert semisonic.load(snapshot)(images()).equal(semisonic.load(lora.run_folder)(images()))


def test_a_shared_tensor_that_is_not_there_is_told(lora: Trainer):
    written = checkpoints.find(lora.run_folder)
    model = checkpoints.load_checkpoint(written).model
    with pytest.raises(semisonic.UserError, match=r"shared: there is no tensor 'ema\.nothing'"):
        checkpoints.with_shared(model, ["nothing"], written)
