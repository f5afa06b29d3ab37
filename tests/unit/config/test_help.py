"""Help and lists: they fit a terminal, name what there is, and end quietly."""

import itertools
import subprocess
import sys

import pytest

from semisonic import cli
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.help import show_lists
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
