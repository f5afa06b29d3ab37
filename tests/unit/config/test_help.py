"""Help and lists: they fit a terminal, name what there is, and end quietly."""

import inspect
import itertools
import subprocess
import sys
from collections.abc import Mapping

import pytest
from rich.console import Console

from semisonic import cli
from semisonic.addons.registry import ADD_ONS
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.help import show_lists, table
from semisonic.recipes import RECIPES
from tests.support.processes import ROOT


@pytest.mark.parametrize("script", [cli.main, cli.views])
def test_help_fits_a_terminal(script, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert script(["-h"]) == 0
    lines = capfd.readouterr().out.splitlines()
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 80 and "Default: 0.95." in text
    assert "--optim.betas float,float AdamW only. Default: 0.9,0.999." in text
    assert ("--plan" in text) == (script is cli.main)


def test_cells_of_a_table_are_text_in_one_line(capfd: pytest.CaptureFixture):
    Console(width=80).print(table("of \x1b[1m[bold]", [("two\nlines", "\udcff \u202e")], ("[red]a", "b" * 200)))
    shown = capfd.readouterr().out
    assert "of \\x1b[1m[bold]" in shown and "two\\nlines  \\xff \\u202e" in shown and "[red]a" in shown


def test_help_ends_quietly_where_nobody_reads_on():
    script = ROOT / "launch" / "train.py"
    shown = subprocess.Popen([sys.executable, script, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert shown.stdout is not None and shown.stderr is not None
    shown.stdout.close()
    assert shown.stderr.read() == b"" and shown.wait() == 0


def test_help_and_lists(capfd: pytest.CaptureFixture):
    assert cli.main(["--help"]) == 0
    text = capfd.readouterr().out
    for field in ("--algorithm.threshold", "--optim.lr", "--data.labels", "--resume", "--max-hours"):
        assert field in text, field
    assert cli.main(["--list"]) == 0
    text = capfd.readouterr().out
    for name in ("fixmatch", "supervised", "digits", "fashion-mnist", "wrn-28-2", "resnet50", "randaugment"):
        assert name in text, name
    assert cli.main(["--print-config", "--seed", "9"]) == 0
    assert "seed: 9" in capfd.readouterr().out


def test_lists_show_recipes_and_what_algorithms_change(capsys: pytest.CaptureFixture):
    assert show_lists() == 0
    shown = capsys.readouterr().out
    for name in itertools.chain(RECIPES, ALGORITHMS):
        assert name in shown
    assert "What they change of a recipe" in shown


@pytest.mark.parametrize("names", [RECIPES, ALGORITHMS, ADD_ONS], ids=["recipes", "algorithms", "add-ons"])
def test_a_line_of_the_lists_is_a_whole_sentence(names: Mapping[str, object]):
    things = [thing if names is RECIPES else inspect.getmodule(thing) for thing in names.values()]
    lines = [(inspect.getdoc(thing) or "").partition("\n")[0] for thing in things]
    assert [line for line in lines if not line.endswith(".")] == []


def shown(capfd: pytest.CaptureFixture, *argv: str) -> str:
    assert cli.main([*argv, "--help"]) == 0
    return " ".join(capfd.readouterr().out.split())


def test_help_shows_the_values_of_the_recipe_that_is_chosen(capfd: pytest.CaptureFixture):
    text = shown(capfd)
    assert "--steps int Optimizer steps. Recipe digits: 600. Default: 1048576." in text
    assert "Recipe digits: small. Default: wrn-28-2." in text and "Recipe digits: 0.1." in text
    text = shown(capfd, "--data", "cifar10", "--algorithm", "mixmatch")
    assert "Optimizer steps. Default: 1048576." in text  # of both
    assert "--batch.unlabeled-ratio int|float" in text and "Recipe cifar10: 1. Default: 7." in text
    assert "Recipe cifar10: adamw. Default: sgd." in text  # by the algorithm's paper
    assert "--algorithm.alpha" in shown(capfd, "--recipe", "folder-16000") and "Recipe digits" not in text
    text = shown(capfd, "--optim", "adamw")
    assert "--optim.lr" in text and "Recipe digits: 0.1." not in text  # it was SGD's
    text = shown(capfd, "--algorithm", "supervised")
    assert "--baseline bool * First" in text and "Recipe digits: True" not in text


def test_help_marks_what_may_change_on_resume(capfd: pytest.CaptureFixture):
    text = shown(capfd)
    for entry in (
        "--threads int *",
        "--log.every int *",
        "--data.root path *",
        "--seed int Seed",
        "--eval.every int Steps",
    ):
        assert entry in text, entry
