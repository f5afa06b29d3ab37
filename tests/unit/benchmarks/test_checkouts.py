"""What is measured beside another checkout runs that checkout's code, and its result is shown and stored."""

import argparse
import json
from pathlib import Path

import pytest
import torch

import checkouts
from measure import Mistake, environment
from tests.support.processes import ROOT


def test_a_process_has_the_code_of_its_checkout(tmp_path: Path):
    (tmp_path / "engine/semisonic").mkdir(parents=True)
    (tmp_path / "engine/semisonic/__init__.py").touch()
    assert checkouts.is_checkout(tmp_path) and checkouts.is_checkout(ROOT) and not checkouts.is_checkout(ROOT / "docs")
    code = "import os, sys, semisonic; print(semisonic.__file__, sys.argv[1], os.environ['OF'], os.getcwd())"
    found = checkouts.timed(tmp_path, code, ["argument"], tmp_path, OF="variable")
    assert found["printed"].split() == [
        str(tmp_path / "engine/semisonic/__init__.py"), "argument", "variable", str(tmp_path)
    ]  # fmt: skip
    assert found["seconds"] > 0 and found["cpu"] >= 0


@pytest.mark.parametrize("code, said", [("raise SystemExit('error: no')", "error: no"), ("exit(3)", "no message")])
def test_a_process_that_fails_says_why(code: str, said: str, tmp_path: Path):
    with pytest.raises(Mistake, match=f"{tmp_path}: {said}"):
        checkouts.timed(tmp_path, code, [], tmp_path)


def test_a_result_is_shown_and_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "result.json"

    def parse(argv):
        return argparse.Namespace(word=argv[0], out=out)

    def run(args):
        return {**environment(torch.device("cpu")), "word": args.word}

    assert checkouts.main(["hello"], parse, run, lambda found, console: console.print(found["word"]), 7) == 0
    stored = json.loads(out.read_text())
    assert (stored["word"], stored["seeds"], capsys.readouterr().out) == ("hello", [7], "hello\n")
