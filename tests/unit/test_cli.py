"""The command lines: mistakes end with code 2, one line each and nothing written, and every command can be called."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from semisonic import cli
from semisonic.schema import UserError
from semisonic.version import __version__
from tests.support.processes import ROOT, Run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (["--optim.learning-rate", "0.1"], "optim.learning-rate"),
        (["--steps", "a few"], "steps"),
        (["--batch.labeled", "30", "--batch.micro", "7"], "batch.labeled"),
        (["--data.labels", "0"], "data.labels"),
        (["--data.labels", "14000"], "data.labels"),
        (["--data", "cifar10", "--data.root", "nowhere", "--model", "small"], "data.root"),
        (["--data", "folder", "--data.root", "nowhere", "--data.size", "32"], "data.root"),
        (["--out", "{run}"], "out"),
        (["--out", "{run}", "--resume", "--seed", "5"], "seed"),
        (["--out", "nothing-here", "--resume"], "--resume"),
        (["--out", "/proc/nothing"], "out"),
        (["--init", "{run}/trackers"], "neither a checkpoint nor a run"),
    ],
)
def test_a_mistake_exits_2_with_a_line_and_touches_nothing(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
    fields: list[str],
    field: str,
):
    monkeypatch.chdir(tmp_path)
    before = contents(run)
    assert cli.main([part.format(run=run) for part in fields]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert any(field in line for line in lines), lines
    assert contents(run) == before and not any(tmp_path.iterdir())


def test_the_process_exits_2_without_a_traceback(tmp_path: Path, launch: Run):
    done = launch("train.py", "--stepz", "3", "--precision", "fp1", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == 2
    assert not any(tmp_path.iterdir())


def test_debug_raises_a_mistake():
    for script in (cli.main, cli.views, cli.compare):
        with pytest.raises(UserError):
            script(["--algorithms", "supervised", "--stepz", "3", "--debug"])


def test_python_m_semisonic_runs_the_same_commands(capfd: pytest.CaptureFixture):
    assert cli.dispatch([]) == cli.dispatch(["--help"]) == 0
    shown = capfd.readouterr().out
    launchers = {path.stem.removesuffix("_data") for path in (ROOT / "launch").glob("*.py")}
    assert launchers == set(cli.COMMANDS) and all(f"\n  {name} " in shown for name in launchers)
    assert cli.dispatch(["train", "--print-config", "--seed", "9"]) == 0 and "seed: 9" in capfd.readouterr().out
    assert cli.dispatch(["--version"]) == 0 and capfd.readouterr().out == f"semisonic {__version__}\n"
    assert cli.dispatch(["trian"]) == 2
    assert "trian: no such command; did you mean train? One of train, " in capfd.readouterr().err
    assert cli.dispatch(["--list"]) == 2
    assert "--list: options follow a command, as in semisonic train --list; one of" in capfd.readouterr().err
    assert cli.dispatch(["nonsense"]) == 2 and "nonsense: no such command; one of" in capfd.readouterr().err
    done = subprocess.run([sys.executable, "-m", "semisonic", "views", "--plan"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: --plan: is for semisonic train\n")


def test_no_script_hides_a_module_of_python():
    """A script's folder comes first in `sys.path`: beside an inspect.py there, no script of the folder would start."""
    assert not {path.stem for path in (ROOT / "launch").iterdir()} & sys.stdlib_module_names


HEAVY = {"nvidia", "triton", "accelerate", "deepspeed", "matplotlib", "transformers", "sklearn", "scipy", "torchvision",
         "tensorboard", "pyarrow", "pandas", "timm", "peft"}  # fmt: skip
"""Packages that take long to import, of which what only shows things needs none."""


def test_what_only_shows_things_imports_little():
    code = "; ".join(
        ["import sys", "import semisonic", "before = set(sys.modules)", "from semisonic import cli", "cli.dispatch([])",
         *(f"assert not cli.dispatch(['train', {option!r}])" for option in ("--help", "--list", "--print-config")),
         "sys.stderr.write(' '.join(['torch' * ('torch' in before), *(name.partition('.')[0] for name in sys.modules)]))"]
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    early, *loaded = done.stderr.split(" ")
    assert early == "" and "torch" in loaded and not HEAVY & set(loaded)


def test_the_launcher_is_watched_while_imports_take_their_time(monkeypatch: pytest.MonkeyPatch):
    class Died(Exception):
        pass

    def died() -> None:
        raise Died

    monkeypatch.setattr(cli, "Launcher", died)
    with pytest.raises(Died):
        cli.main(["--list"])


def test_the_collector_is_as_it_was():
    assert gc.isenabled()
    with cli.uncollected():
        assert not gc.isenabled()
        with cli.uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_views_refuses_what_it_does_not_do(capfd: pytest.CaptureFixture, tmp_path: Path):
    assert cli.views(["--plan", "--out", str(tmp_path)]) == 2
    assert capfd.readouterr().err == "error: --plan: is for semisonic train\n" and not any(tmp_path.iterdir())


def test_views_replaces_nothing_and_says_so_before_the_work(capfd: pytest.CaptureFixture, tmp_path: Path):
    (tmp_path / "weak.png").write_text("kept")
    for out, problem in ((tmp_path, "holds pictures already"), (tmp_path / "weak.png", "is no folder")):
        assert cli.views(["--out", str(out)]) == 2
        line = capfd.readouterr().err
        assert problem in line and line.count("\n") == 1
    assert (tmp_path / "weak.png").read_text() == "kept"


def test_predict_and_evaluate_refuse_a_batch_of_nothing(run: Path, capfd: pytest.CaptureFixture):
    for script in (cli.predict, cli.evaluate):
        assert script([str(run), str(run), "--batch", "0"]) == 2
        line = capfd.readouterr().err
        assert "error: argument --batch: '0' is not a whole number above 0" in line and line.count("\n") == 1


@pytest.mark.parametrize(
    "command", ["predict RUN", "evaluate", "check --only nothing", "compare --processes", "replay"]
)
def test_a_mistake_in_an_option_is_one_line(command: str, capfd: pytest.CaptureFixture):
    assert cli.dispatch([*command.split(), *(["--no-such-option"] if "--" not in command else [])]) == 2
    line = capfd.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1
