"""`semisonic check`: what it is given, what it prints, and that it finds a statistic of one rank's images alone."""

import time
from pathlib import Path

import pytest

from semisonic import cli
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.mpl import MPL
from semisonic.check.command import dropout_for, line_of, outcome_of, parse
from semisonic.check.properties import Failed, Skipped
from semisonic.schema import UserError
from tests.support.processes import ROOT

PLUGINS = ROOT / "tests" / "support" / "plugins"
pytestmark = pytest.mark.usefixtures("registries")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--algorithm: name one; one of adamatch"),
        (["--algorithm", "fixmach"], "--algorithm: 'fixmach' is unknown; did you mean fixmatch?"),
        (["--algorithm", "fixmatch", "--steps", "3"], "--steps: check takes fields of the algorithm alone"),
        (["--algorithm", "fixmatch", "--algorithm.threshold", "high"], "algorithm.threshold: 'high' is not valid"),
        (["--algorithm", "fixmatch", "--algorithm.thresold", "1"], "algorithm.thresold: unknown field"),
        (["--algorithm", "fixmatch", "--plugin", "none.py"], "--plugin none.py: No such file"),
    ],
)
def test_mistakes_are_told_before_anything_runs(argv: list[str], message: str, capfd: pytest.CaptureFixture):
    assert cli.dispatch(["check", *argv]) == 2
    assert message in capfd.readouterr().err


def test_a_launcher_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="call it without a launcher"):
        parse(["--algorithm", "fixmatch"])


def test_fields_that_are_not_given_are_such_that_terms_are_touched():
    _, subject, fields = parse(["--algorithm", "flexmatch", "--algorithm.threshold", "0.5"])
    assert subject.fields == {"threshold": "0.5"}
    assert "--algorithm.warm_up=False" in fields
    assert [field for field in fields if "threshold" in field] == ["--algorithm.threshold=0.5"]


def test_two_ranks_are_compared_with_dropout():
    assert dropout_for(FixMatch) == ["--model.dropout=0.2"]
    assert dropout_for(MPL) == []  # at its default, which is not 0
    assert not any("dropout" in field for field in parse(["--algorithm", "mpl"])[2])


def fail(error: Exception):
    raise error


def test_an_outcome_is_a_line_and_what_there_is_to_say():
    good = outcome_of("good", lambda: "told", FixMatch, False)
    assert (good.verdict, good.text) == ("ok", "told")
    assert outcome_of("none", lambda: fail(Skipped("nothing")), FixMatch, False).verdict == "skipped"
    bad = outcome_of("bad", lambda: fail(Failed("the buffer tau " + "x " * 80)), FixMatch, False)
    lines = str(line_of(bad, 60)).splitlines()
    assert lines[0].split()[:2] == ["bad", "FAILED"] and len(lines) > 2 and max(map(len, lines)) <= 60


def test_an_error_in_the_algorithm_is_told_with_its_line():
    found = outcome_of("own", lambda: FixMatch.views(None), FixMatch, False)  # type: ignore[arg-type]
    assert found.verdict == "FAILED" and found.text.startswith("AttributeError: ")
    assert "(weak_strong.py, line " in found.text
    with pytest.raises(AttributeError):
        outcome_of("own", lambda: FixMatch.views(None), FixMatch, True)  # type: ignore[arg-type]


def test_the_contract_alone_takes_seconds(tmp_path: Path, capfd: pytest.CaptureFixture):
    plugin = PLUGINS / "own_freematch.py"
    assert cli.dispatch(["check", "--algorithm", "own-freematch", "--plugin", str(plugin), "--only", "contract"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1] == "own-freematch: all is well"
    assert sum("  ok  " in line for line in lines) == len(lines) - 1 == 11


@pytest.mark.long
@pytest.mark.parametrize(("name", "code"), [("own-freematch", 0), ("local-freematch", 1)])
def test_a_statistic_of_one_rank_is_found_in_two_minutes(
    name: str, code: int, tmp_path: Path, capfd: pytest.CaptureFixture
):
    begin, golden = time.monotonic(), tmp_path / "golden.json"
    plugin = PLUGINS / f"{name.replace('-', '_')}.py"
    argv = ["check", "--algorithm", name, "--plugin", str(plugin), "--golden", str(golden)]
    assert cli.dispatch(argv) == code
    out = capfd.readouterr().out
    assert golden.exists() and f"storedin{golden}" in "".join(out.split())  # a long path is wrapped
    if code:
        assert out.count("FAILED") == 1 and "local-freematch: 1 of 13 checks failed" in out
        assert "two ranks buffer" in " ".join(out.split()) and "observed" in out
    assert time.monotonic() - begin < 120
