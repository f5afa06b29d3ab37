"""Precedence, strictness, and that every mistake is reported, all at once, before anything is touched."""

from pathlib import Path

import pytest

from semisonic.config.command_line import resolve
from semisonic.schema import UserError
from tests.support.command_line import config, mistakes
from tests.support.recipes import chosen


def test_default_then_recipe_then_file_then_command_line(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("optim: {lr: 0.5, momentum: 0.5}\nsteps: 7\n")
    cfg = config("--config", file, "--optim.lr", "0.25")
    assert cfg.optim.lr == 0.25  # command line
    assert cfg.optim.momentum == 0.5 and cfg.steps == 7  # file
    assert cfg.model.name == "small"  # recipe
    assert cfg.optim.nesterov is True  # default


def test_a_data_set_brings_its_recipe():
    assert config().data.name == "digits"
    cfg = config("--recipe", "cifar10", "--data", "digits")
    assert cfg.model.name == "wrn-28-2" and cfg.data.name == "digits"


def test_another_algorithm_starts_from_its_own_defaults(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("algorithm: {name: fixmatch, threshold: 0.8}\n")
    assert config("--config", file).algorithm.threshold == 0.8
    assert config("--config", file, "--algorithm", "supervised").algorithm.model_dump() == {
        "name": "supervised", "view": "weak", "label_smoothing": 0.0, "mix": "none", "mix_alpha": 1.0,
        "mix_lam": "sample", "block": 8,
    }  # fmt: skip


def test_forms_of_the_command_line():
    cfg = config(
        "--seed=3", "--no-baseline", "--algorithm.threshold", "0.9", "--log.trackers", "none", "--ema.start-up", "tf"
    )
    assert (cfg.seed, cfg.baseline, cfg.algorithm.threshold, cfg.log.trackers) == (3, False, 0.9, ())
    softmatch = [config("--algorithm", "softmatch", switch) for switch in ("--algorithm.align", "--no-algorithm.align")]
    assert [own.algorithm.align for own in softmatch] == [True, False]
    assert config("--deterministic").deterministic and config("--no-compile").compile == "off"
    assert config("--data.labels", "null").data.labels is None
    assert config("--optim", "adamw", "--optim.betas", "0.8,0.9").optim.betas == (0.8, 0.9)


@pytest.mark.parametrize("order", [1, -1])
def test_a_section_s_name_and_its_fields_in_any_order(order: int):
    pairs = [
        ["--algorithm", "fixmatch"],
        ["--algorithm.threshold", "0.2"],
        ["--data", "digits"],
        ["--data.labels", "20"],
    ]
    cfg = config(*[part for pair in pairs[::order] for part in pair])
    assert cfg.algorithm.threshold == 0.2 and cfg.data.labels == 20


def test_what_a_recipe_says_of_another_optimizer_or_algorithm_is_dropped():
    assert config().optim.peak == 0.1 and config().baseline
    assert config("--optim", "adamw").optim.peak == 1e-3
    assert config("--optim", "adamw", "--optim.lr", "0.2").optim.peak == 0.2
    assert not config("--algorithm", "supervised").baseline


def test_another_optimizer_or_algorithm_than_a_written_configuration_s(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text(config().dump())
    assert config("--config", file).optim.peak == 0.1 and config("--config", file).baseline
    assert config("--config", file, "--optim", "adamw").optim.peak == 1e-3
    assert not config("--config", file, "--algorithm", "supervised").baseline
    file.write_text("optim: {lr: 0.5}\n")
    assert config("--config", file, "--optim", "adamw").optim.peak == 0.5


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--optim.learning_rate", "1"], "optim.learning_rate: unknown field"),
        (["--batch.labeld", "8"], "batch.labeld: unknown field; did you mean batch.labeled?"),
        (["--lr", "1"], "lr: unknown field; did you mean optim.lr?"),
        (
            ["--algorithm", "supervised", "--algorithm.threshold", "1"],
            "algorithm.threshold: supervised has no such field; ",
        ),
        (["--algorithm", "supervised", "--baseline"], "baseline: a supervised run is its own baseline"),
        (["--steps", "many"], "steps: 'many' is not valid; expected a whole number"),
        (["--steps", "0"], "steps: '0' is not valid"),
        (["--precision", "fp8"], "precision: 'fp8' is not valid; expected 'auto', 'fp32', 'bf16' or 'fp16'"),
        (["--algorithm", "fixmach"], "algorithm.name: 'fixmach' is unknown; did you mean fixmatch? One of"),
        (["--algorithm.thresh", "1"], "algorithm.thresh: unknown field; did you mean algorithm.threshold?"),
        (["--algorithm.strong", "stronger"], "algorithm.strong: "),
        (["--model", "wrn-27-2"], "model.name"),
        (["--data", "imagenet-21k"], "data.name"),
        (["--data.labels", "0"], "data.labels"),
        (["--data.labels", "41"], "data.labels"),
        (["--batch.labeled", "30", "--batch.micro", "4"], "batch.labeled: 30 labeled images do not divide"),
        (["--log.trackers", "tensorbord"], "log.trackers: tensorbord is unknown"),
        (["--seed", "1", "--seed.x", "2"], "seed.x: both a value and a section"),
        (["--seed.x", "2", "--seed", "1"], "seed: both a value and a section"),
        (["--resume=false"], "--resume: takes no value"),
        (["--data.fingerprint", "abc"], "--data.fingerprint: a run records it of images that are given in Python"),
        (["--model.fingerprint", "abc"], "--model.fingerprint: a run records it of a network that is given in Python"),
        (["--resume", "--out.x", "1"], "out"),
        (["--data.name.x", "1"], "data.name"),
        (["--ema.decay", "1.5"], "ema.decay"),
        (["--optim.betas", "0.9,1.5"], "optim.betas.1"),
        (["--optim.lr", "inf"], "optim.lr"),
        (["--seed", "99999999999999999999999"], "seed"),
        (["--data.held-out", "-1"], "data.held_out"),
        (["--recipe", "imagenet"], "--recipe imagenet: unknown"),
        (["--config", "missing.yaml"], "--config missing.yaml: No such file"),
        (["--init", "missing"], "init: there is no checkpoint missing"),
        (["--algorithm.name.x", "3"], "algorithm"),
        (["--steps"], "--steps: a value is missing"),
        (["steps=3"], "steps=3: expected an option"),
        (["--precision", "fp16", "--device", "cpu"], "precision: fp16 needs a GPU"),
    ],
)
def test_a_mistake_names_its_field(argv: list[str], expected: str):
    lines = mistakes(*argv)
    assert any(line.startswith(expected) for line in lines), lines
    assert all("\n" not in line for line in lines)


@pytest.mark.parametrize(
    "content",
    ["1: 2", "- a", "data: {name: [1]}", "algorithm: {name: [1]}", "data: 3", "algorithm: null", "steps: [1]", "\xff"],
)
def test_a_strange_file_is_an_error_and_no_crash(tmp_path: Path, content: str):
    file = tmp_path / "c.yaml"
    file.write_bytes(content.encode("latin-1"))
    assert all("\n" not in line for line in mistakes("--config", file))


def test_another_data_set_than_the_file_s_starts_from_its_own_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "c.yaml"
    file.write_text("data: {name: mnist, labels: 100}\n")
    monkeypatch.setattr("semisonic.data.sets.registry.data_problems", lambda cfg: [])
    assert config("--config", file).data.labels == 100
    assert config("--config", file, "--data", "stl10").data.labels == 1000


def test_all_mistakes_at_once():
    lines = mistakes("--steps", "x", "--optim.lr", "-1", "--batch.labeled", "10", "--batch.micro", "3", "--nonsense",
                     "1", "--algorithm.threshold", "high", "--model", "nothing")  # fmt: skip
    for field in ("steps", "optim.lr", "batch.labeled", "nonsense", "algorithm.threshold", "model.name"):
        assert sum(line.startswith(field) for line in lines) == 1, (field, lines)


@pytest.mark.usefixtures("no_files")
def test_fields_of_the_user_stay_above(tmp_path):
    cfg = chosen("cifar10", "mixmatch", "--algorithm.weight", "5", "--batch.unlabeled-ratio", "3")
    assert cfg.algorithm.weight == 5 and cfg.batch.unlabeled == 192
    file = tmp_path / "c.yaml"
    file.write_text("data: cifar10\nalgorithm: {name: mixmatch, alpha: 0.5}\n")
    cfg = resolve(["--config", str(file), "--device", "cpu"])[1]
    assert (cfg.optim.name, cfg.algorithm.alpha, cfg.algorithm.weight) == ("adamw", 0.5, 75.0)
    cfg = resolve(["--config", str(file), "--algorithm", "fixmatch", "--device", "cpu"])[1]
    assert (cfg.optim.name, cfg.batch.unlabeled) == ("sgd", 448)


@pytest.mark.usefixtures("no_files")
def test_a_wrong_algorithm_is_still_one_mistake():
    for name in ("mixmach", "x.y"):
        with pytest.raises(UserError) as caught:
            chosen("cifar10", name)
        assert sum(line.startswith("algorithm.name: ") for line in caught.value.messages) == 1


def test_what_holds_for_every_network_is_the_recipe_s_for_another_one_too(no_files: None):
    """The papers' recipes have no start-up, on whatever network; what they say of their own network alone is dropped."""
    assert config("--recipe", "cifar10", "--model", "resnet18").model.norm_start_up == 0.0
    assert (
        config("--recipe", "cifar10", "--algorithm", "simclr").model
        == config("--recipe", "cifar10", "--model", "resnet18").model
    )
    assert config("--recipe", "cifar10", "--model", "resnet18", "--model.norm-start-up", "3").model.norm_start_up == 3.0
    assert config("--recipe", "folder", "--model", "resnet18", "--data.root", ".").model.norm_start_up == 10.0
