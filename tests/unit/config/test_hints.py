"""Whoever names what there is not is told what there is."""

from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from semisonic import cli
from semisonic.addons.registry import ADD_ONS
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.fields import walk_fields
from semisonic.config.hints import HABITS, OPTIONS, without_recipe
from semisonic.config.run_config import RunConfig
from semisonic.recipes import RECIPES
from tests.support.command_line import config, mistakes


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--no.such.key", "3"], "no.such.key: unknown field (--help lists all)"),
        (["--no-such-key", "3"], "no-such-key: unknown field (--help lists all)"),
        (["--optim.learning-rate", "3"], "optim.learning-rate: unknown field; that is optim.lr"),
        (["--no-baselin"], "--no-baselin: unknown option; did you mean --no-baseline?"),
        (["--resum"], "--resum: unknown field; did you mean --resume?"),
        (["--print-confg"], "--print-confg: unknown field; did you mean --print-config?"),
        (["--recip", "cifar10"], "recip: unknown field; did you mean --recipe?"),
        (["--algoritm", "fixmatch"], "algoritm: unknown field; did you mean algorithm?"),
        (["--ema.decy", "0.9"], "ema.decy: unknown field; did you mean ema.decay?"),
        (["--lr", "1"], "lr: unknown field; did you mean optim.lr?"),
        (["--labels", "40"], "labels: unknown field; did you mean data.labels?"),
        (["--batch-size", "64"], "batch-size: unknown field; the labeled images of a step are batch.labeled, "),
        (["--epochs", "3"], "epochs: unknown field; a run is counted in steps: --steps N; an epoch of "),
        (["--dataset", "cifar10"], "dataset: unknown field; that is data (--data cifar10)"),
        (["--num-workers", "3"], "num-workers: unknown field; that is threads, and data.workers for "),
        (["--train.batch-size", "3"], "train.batch-size: unknown field; the labeled images of a step are "),
        (["--algorithm", "fixmach"], "algorithm.name: 'fixmach' is unknown; did you mean fixmatch? One of "),
        (["--data", "cifra10"], "data.name: there is no data set 'cifra10'; did you mean cifar10? "),
        (["--data", "./my-images"], "data.name: there is no data set './my-images'; for a folder of images give --data "
         "folder --data.root ./my-images; "),
        (["--recipe", "cifra10"], "--recipe cifra10: unknown; did you mean cifar10? One of digits, "),
        (["--model", "resnet-50"], "model.name: no network resnet-50; did you mean resnet50? "),
        (["--precision", "bf-16"], "precision: 'bf-16' is not valid; expected 'auto', 'fp32', 'bf16' or 'fp16'; did you mean "
         "bf16?"),
        (["--ema.start-up", "TF"], "ema.start_up: 'TF' is not valid; expected 'none', 'tf' or 'mean_teacher'; did you "
         "mean tf?"),
        (["--algorithm.threshold", "95"], "algorithm.threshold: '95' is not valid; expected less than or equal to 2; it "
         "is a probability, as 0.95"),
        (["--algorithm.threshold", "950"], "algorithm.threshold: '950' is not valid; expected less than or equal to 2; it "
         "is a probability, as 0.95"),
        (["--steps", "9" * 30], f"steps: '{'9' * 30}' is not valid; expected less than or equal to 1000000000"),
        (["--steps", "9" * 5000], f"steps: '{'9' * 39}... is not valid; expected "),
        (["--steps", "²"], "steps: '²' is not valid; expected a whole number"),
        (["--threads", "100000000"], "threads: '100000000' is not valid; expected less than or equal to 4096"),
        (["--model", "wrn-28-4000"], "model.name: wrn-28-4000 does not exist; wrn-D-K needs D = 6n+4 or 8n+5 up to 1000, "),
        (["--model", "wrn-6000004-2"], "model.name: wrn-6000004-2 does not exist"),
        (["--model", "shake-shake-26-2x4000d"], "model.name: shake-shake-26-2x4000d does not exist; "),
    ],
)  # fmt: skip
def test_what_somebody_may_have_meant(argv: list[str], line: str):
    lines = [found for found in mistakes(*argv) if not found.startswith("batch.labeled")]
    assert len(lines) == 1 and lines[0].startswith(line), lines


def test_a_threshold_that_nothing_reaches_is_still_one():
    assert config("--algorithm.threshold", "1.01").algorithm.threshold == 1.01


def test_every_unknown_field_of_a_section_is_named(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("train: {lr: 1, deep: {er: 2}}\noptim: {lrr: 3}\ncompile: off\nreplay: on\n")
    lines = {line.split(":")[0]: line for line in mistakes("--config", file)}
    assert lines.keys() == {"train.lr", "train.deep.er", "optim.lrr", "compile", "replay"}
    assert "did you mean optim.lr?" in lines["train.lr"] and "did you mean optim.lr?" in lines["optim.lrr"]
    assert lines["compile"].endswith("; put 'off' into quotes, as YAML takes it for a switch")
    assert lines["replay"].endswith("'step', 'backward' or 'off'")


def test_habits_are_no_fields_and_lead_to_some():
    fields = {name for name, *_ in walk_fields(RunConfig, "fixmatch")}
    assert not HABITS.keys() & fields
    for text in HABITS.values():
        named = text.removeprefix("that is ").split(",")[0].split(" ")[0]
        assert named in fields or named in RunConfig.model_fields or text.startswith(("the labeled", "a run")), text


def test_options_are_those_of_help(capfd: pytest.CaptureFixture):
    assert cli.main(["--help"]) == 0
    shown = {line.split()[0].rstrip(",") for line in capfd.readouterr().out.splitlines() if line.startswith("  --")}
    assert set(OPTIONS) == {option for option in shown if "." not in option} - {
        f"--{name.replace('_', '-')}" for name in RunConfig.model_fields
    }


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_number_is_bounded(name: str):
    """Beyond its bounds, it is told by its name; without, torch would tell, or memory run out."""
    for field, info, annotation in walk_fields(RunConfig, name):
        kind: Any = TypeAdapter(Annotated[annotation, *info.metadata]) if info.metadata else TypeAdapter(annotation)
        for value in (10**30, -(10**30)):
            for given in (value, [value, value], [value] * 5):
                with pytest.raises(ValidationError):
                    kind.validate_python(given)
                    raise AssertionError(f"{field} takes {given}")


def test_add_ons_are_among_them():
    names = {name for name, *_ in walk_fields(RunConfig, "fixmatch")}
    assert all(
        f"addons.{addon}.{field}" in names for addon, kind in ADD_ONS.items() for field in kind.Config.model_fields
    )


def test_a_data_set_without_a_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert [line.split(":")[0] for line in without_recipe("mine", {}, ["a"])] == ["steps", "model.name"]
    rest = {name: recipe for name, recipe in RECIPES.items() if name != "digits"}
    monkeypatch.setattr("semisonic.config.command_line.RECIPES", rest)
    few = ["--data", "digits", "--batch.labeled", "8", "--device", "cpu"]
    lines = mistakes(*few)
    assert lines[0].startswith(
        "steps: needed, as digits has no recipe; give --steps N, or start from another data set's"
    )
    assert (
        lines[1].startswith("model.name: needed, as digits has no recipe; give --model NAME, or ") and len(lines) == 2
    )
    assert config(*few, "--steps", "9", "--model", "small").steps == 9
    assert config(*few, "--recipe", "mnist").model.name == "small"
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump({"steps": 7, "model": "small", "data": "digits"}))
    assert config("--config", file).steps == 7
