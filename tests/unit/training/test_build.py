"""A trainer from its configuration alone, or from what is there already."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semisonic import cli
from semisonic.config.command_line import resolve
from semisonic.config.run_config import RunConfig
from semisonic.data.sets import manifest
from semisonic.data.sets.registry import load_data_set
from semisonic.models.norm import BatchNorm2d, StartUp
from semisonic.schema import UserError
from semisonic.training.build import build_algorithm, build_trainer, draw_split, load, with_classes
from semisonic.training.process import start
from semisonic.training.trainer import Trainer
from tests.support.image_folders import write_images
from tests.support.runs import QUICK


def configuration(out: Path, *fields: str) -> RunConfig:
    return resolve(["--device", "cpu", "--no-baseline", "--log.trackers", "none", "--batch.labeled", "8", "--model", "small",
                    "--batch.unlabeled-ratio", "2", "--out", str(out), *fields])[1]  # fmt: skip


def test_what_is_not_given_is_made_as_a_run_would(tmp_path: Path):
    cfg = configuration(tmp_path, "--seed", "3")
    data = load_data_set(cfg.data)
    split = draw_split(cfg, data)
    given = build_trainer(cfg, data, split)
    torch.randn(5)  # the weights are those of the seed, whatever was drawn before
    made = build_trainer(cfg)
    assert made.split.hash == split.hash and np.array_equal(made.split.labeled, split.labeled)
    assert given.data is data and given.split is split and made.step == 0 and made.algorithm.training
    own = made.algorithm.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in given.algorithm.state_dict().items())
    other = build_trainer(configuration(tmp_path, "--seed", "4"), data, split)
    assert not torch.equal(other.algorithm.network.head.weight, given.algorithm.network.head.weight)


def saved(folder: Path) -> Trainer:
    """One with a checkpoint, whose EMA is no network's initialization."""
    trainer = build_trainer(configuration(folder))
    with torch.no_grad():
        for value in trainer.algorithm.ema.buffers():
            value += 1
    trainer.save()
    trainer.checkpoint_writer.finish()
    return trainer


def test_init_is_read_by_a_fresh_run_only(tmp_path: Path):
    first = saved(tmp_path / "first")
    cfg, told = configuration(tmp_path / "second", "--init", str(tmp_path / "first")), []
    fresh = build_trainer(cfg, say=told.append)
    assert "Initialized" in told[0]
    assert torch.equal(fresh.algorithm.network.head.weight, first.algorithm.ema.head.weight)
    resumed = build_trainer(cfg, fresh=False, say=told.append)
    assert len(told) == 1 and not torch.equal(resumed.algorithm.network.head.weight, first.algorithm.ema.head.weight)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ("0123456789", None),
        ("9876543210", "head: 10 of 10 classes taken by name"),
        ("023456789x", "head: 9 of 10 classes taken by name; fresh: x; not needed: 1"),
        ("0123x456789", "head: 10 of 11 classes taken by name; fresh: x"),
        ("abcdefghij", "head: 0 of 10 classes taken by name; fresh: a, b, c, d, e, f, g, h, i, j; not needed: 0, 1, 2, 3, "
         "4, 5, 6, 7, 8, 9"),
    ],
)  # fmt: skip
def test_init_takes_the_rows_of_the_head_by_the_names_of_classes(classes: str, expected: str | None, tmp_path: Path):
    first = saved(tmp_path / "first")
    cfg, told = configuration(tmp_path / "second", "--init", str(tmp_path / "first")), []
    data = replace(first.data, classes=tuple(classes))
    trainer = build_trainer(cfg, data, first.split, say=told.append)
    fresh = build_algorithm(with_seed(cfg), data, first.split).network.head
    lines = [line.strip() for line in told[0].splitlines()]
    assert [line for line in lines if line.startswith("head:")] == ([expected] if expected else [])
    assert ("freshly initialized: head.bias, head.weight" in lines) == (classes == "abcdefghij")
    trained = first.algorithm.ema.head
    for head in (trainer.algorithm.network.head, trainer.algorithm.ema.head):
        for row, name in enumerate(classes):
            of, own = (trained, "0123456789".index(name)) if name.isdigit() else (fresh, row)
            assert torch.equal(head.weight[row], of.weight[own]) and torch.equal(head.bias[row], of.bias[own]), name


def test_data_that_are_verified_are_read_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for part in ("train", "test"):
        for name in ("a", "b"):
            write_images(tmp_path / part / name, "1.png")
    data = ("--data", "folder", "--data.root", str(tmp_path), "--data.size", "16", "--data.labels", "null")
    cfg, read = configuration(tmp_path / "out", *data), []
    accelerator = start(cfg)
    load(cfg, accelerator)
    real = manifest.examine
    monkeypatch.setattr(manifest, "examine", lambda path, *known: read.append(path) or real(path, *known))
    load(cfg, accelerator)
    assert read == []
    load(cfg, accelerator, verify=True)
    assert len(read) == 4


def test_classes_of_one_s_own_are_those_of_the_data(tmp_path: Path):
    cfg = configuration(tmp_path)
    data = load_data_set(cfg.data)
    assert with_classes(cfg, data).data.classes == data.classes == tuple("0123456789")
    for classes, what in (("9876543210", "in another order"), ("012345678x", "and 9 is not in both")):
        own = configuration(tmp_path, "--data.classes", ",".join(classes))
        with pytest.raises(UserError, match=rf"data\.classes: they are not those of the images of digits, {what}"):
            with_classes(own, data)
        with pytest.raises(UserError, match=what):
            load_data_set(own.data)


def with_seed(cfg: RunConfig) -> RunConfig:
    """Weights that are drawn next are those of the run."""
    torch.manual_seed(cfg.seed)
    return cfg


def starting(trainer: Trainer, module: str) -> set[bool]:
    """Whether the layers of a network start up."""
    layers = trainer.algorithm.get_submodule(module).modules()
    return {layer.start_up for layer in layers if isinstance(layer, BatchNorm2d)}


def test_statistics_start_up_where_they_are_fresh(tmp_path: Path):
    """And where they were when the run began: a resumed run reads no weights."""
    from torchvision.models import resnet18

    fresh = build_trainer(configuration(tmp_path, "--batch.micro", "2"))
    assert starting(fresh, "network") == {True} and fresh.algorithm.start_up == StartUp(10.0, 2)
    assert build_trainer(configuration(tmp_path, "--model.norm-start-up", "0")).algorithm.start_up is None
    file = tmp_path / "weights.pth"
    torch.save(resnet18().state_dict(), file)
    given = ("--data.normalize", "imagenet", "--model", "resnet18", "--model.stem", "7x7", "--model.weights", str(file))
    assert starting(build_trainer(configuration(tmp_path, *given)), "network") == {False}
    assert starting(build_trainer(configuration(tmp_path, *given), fresh=False), "network") == {False}
    loaded = configuration(tmp_path, "--algorithm", "mpl", "--steps", "100").model_copy(update={"init": tmp_path})
    resumed = build_trainer(loaded, fresh=False)
    assert starting(resumed, "network") == {False} and starting(resumed, "teacher") == {True}  # nothing is loaded there


def test_the_statistics_of_a_step_are_its_own_at_first(tmp_path: Path):
    """From the second step on the run's own counter says how much they count, also after a restart."""
    trainer = build_trainer(configuration(tmp_path))
    norm, loader = trainer.algorithm.network.layers[1], trainer.loader()
    seen: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].detach().mean((0, 2, 3))))
    trainer.training_step(next(loader))
    torch.testing.assert_close(norm.running_mean, seen[0])
    trainer.algorithm.step.fill_(30)
    trainer.training_step(next(loader))
    torch.testing.assert_close(norm.running_mean, 0.75 * seen[0] + 0.25 * seen[1])
    torch.testing.assert_close(trainer.algorithm.ema.layers[1].running_mean, norm.running_mean)


def test_a_pool_without_images_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"data\.labels: every image is labeled"):
        build_trainer(configuration(tmp_path, "--data.labels", "null", "--no-data.unlabeled-includes-labeled"))


def test_init_starts_from_the_weights(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    rate = [
        "--optim.lr",
        "1e-6",
    ]  # a step of the digits' own rate moves weights far that have been trained for 30 steps
    fields = [*QUICK, "--no-baseline", "--steps", "1", "--log.trackers", "none", *rate, "--init", str(run)]
    assert cli.main([*fields, "--out", str(tmp_path / "a")]) == 0
    output = capfd.readouterr().out
    assert "Initialized" in output and "freshly initialized" not in output
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    start = next(line["test/top1"] for line in lines if "test/top1" in line)
    assert abs(start - json.loads((run / "summary.json").read_text())["test_top1"]) < 10


def test_init_reports_what_does_not_fit(tmp_path: Path, capfd: pytest.CaptureFixture):
    fields = [*QUICK, "--algorithm", "supervised", "--steps", "1", "--log.trackers", "none"]
    assert cli.main([*fields, "--model", "wrn-10-1", "--out", str(tmp_path / "a")]) == 0
    deeper = [*fields, "--model", "wrn-16-1", "--init", str(tmp_path / "a"), "--out", str(tmp_path / "b")]
    assert cli.main(deeper) == 0
    output = capfd.readouterr().out
    assert "freshly initialized: " in output and "in the checkpoint only, or of another shape: " in output


def test_init_refuses_weights_of_another_network(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    """Of which the head's bias always fits."""
    fields = [*QUICK, "--no-baseline", "--init", str(run), "--model", "wrn-10-1", "--out", str(tmp_path / "b")]
    assert cli.main(fields) == 2 and not (tmp_path / "b").exists()
    assert capfd.readouterr().err == f"error: init: no layer of {run} fits; give its network, --model small\n"
