"""Plug-ins: run once where the user names them, failures as lines, and asked for where a run was made with them."""

import hashlib
import importlib
import shutil
from pathlib import Path

import pytest
import torch
import yaml

import semisonic
from semisonic import cli, plugins
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.compare.jobs import parse
from semisonic.config.command_line import resolve
from semisonic.data.sets.registry import load_data_set
from semisonic.data.views.registry import view_examples
from semisonic.plugins import Plugin, load_plugins, loaded_plugins, require_plugins
from semisonic.recipes import RECIPES
from semisonic.reporting.view_grids import save_views
from semisonic.schema import UserError
from tests.support.processes import ROOT
from tests.support.registries import restored
from tests.support.runs import QUICK

FREEMATCH = ROOT / "tests/support/plugins/own_freematch.py"
pytestmark = pytest.mark.usefixtures("registries")


def written(folder: Path, text: str, name: str = "plugin.py") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_a_content_is_run_once(tmp_path: Path):
    copy = Path(shutil.copy(FREEMATCH, tmp_path / "copy.py"))
    (one,), (two,) = load_plugins([FREEMATCH]), load_plugins([copy, FREEMATCH])
    assert one.sha256 == two.sha256 and (one.path, two.path) == (str(FREEMATCH), str(copy))
    assert ALGORITHMS["own-freematch"].__module__ == f"semisonic_plugin_{(one.sha256 or '')[:16]}"
    assert loaded_plugins() == (one,)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import os\n\nregister('x')\n", "line 3: NameError: name 'register' is not defined"),
        ("x = 1\ndef f(:\n", "line 2: SyntaxError: invalid syntax"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
        ("from semisonic import register\nregister.recipe('digits', dict)\n", "line 2: ValueError: recipe 'digits': it "),
        ("import nothing_of_that_name\n", "line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
    ],
)  # fmt: skip
def test_a_failure_is_one_line(tmp_path: Path, text: str, line: str):
    file = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_plugins([file])
    assert len(caught.value.messages) == 1 and caught.value.messages[0].startswith(f"--plugin {file}: {line}")
    assert caught.value.__cause__ is not None and not loaded_plugins()


def test_all_that_fail_are_told(tmp_path: Path):
    with pytest.raises(UserError) as caught:
        load_plugins([tmp_path / "none.py", written(tmp_path, "1 / 0")])
    assert [line.partition(": ")[2] for line in caught.value.messages] == [
        "No such file or directory",
        "line 1: ZeroDivisionError: division by zero",
    ]


def test_the_command_shows_a_line_and_with_debug_the_traceback(tmp_path: Path, capfd: pytest.CaptureFixture):
    file = written(tmp_path, "x = 1\nraise OSError('gone')\n")
    assert cli.main(["--plugin", str(file), "--print-config"]) == 2
    assert capfd.readouterr().err.strip() == f"error: --plugin {file}: line 2: OSError: gone"
    with pytest.raises(UserError) as caught:
        cli.main(["--plugin", str(file), "--print-config", "--debug"])
    assert isinstance(caught.value.__cause__, OSError)


FILE = Plugin(path="runs/one/my.py", sha256="a" * 64)
PACKAGE = Plugin(package="more", version="1.2")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([], "my.py (sha256 aaaaaaaaaaaa...); name it with --plugin FILE"),
        ([Plugin(path="elsewhere/other.py", sha256="a" * 64)], None),
        ([Plugin(path="my.py", sha256="b" * 64)], "my.py has another content (sha256 bbbbbbbbbbbb...); give the same file"),
        ([Plugin(path="other.py", sha256="b" * 64)], "name it with --plugin FILE"),
    ],
)  # fmt: skip
def test_a_file_is_asked_for_by_name_and_content(given: list[Plugin], problem: str | None):
    if problem is None:
        require_plugins([FILE], given)
        return
    with pytest.raises(UserError) as caught:
        require_plugins([FILE.model_dump()], given, "RUN")
    (line,) = caught.value.messages
    assert line.startswith("plugins: RUN was made with my.py (sha256 aaaaaaaaaaaa...); ") and line.endswith(problem)


def test_a_new_run_may_take_a_file_of_the_name_and_any_version():
    given = [Plugin(path="my.py", sha256="b" * 64), Plugin(package="more", version="2")]
    require_plugins([FILE, PACKAGE], given, exact=False)
    with pytest.raises(UserError) as caught:
        require_plugins([FILE, PACKAGE], given)
    assert len(caught.value.messages) == 1  # the file's alone: who upgrades a package may use nothing of it in this run
    with pytest.raises(UserError, match=r"the package more 1\.2; install it"):
        require_plugins([PACKAGE], [], exact=False)


@pytest.fixture
def installed(tmp_path: Path, registries: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with an entry point; its module is to be written."""
    about = tmp_path / "more_recipes-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: more-recipes\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text("[semisonic.plugins]\nmore = more_recipes_of_a_test:add\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    plugins.installed_plugins.cache_clear()
    return tmp_path / "more_recipes_of_a_test.py"


def test_a_package_is_a_plug_in_where_it_is_installed(installed: Path, monkeypatch: pytest.MonkeyPatch):
    installed.write_text("from semisonic import register\nfrom semisonic.recipes import RECIPES\n\n\n"
                         "def add():\n    register.recipe('more', RECIPES['digits'])\n")  # fmt: skip
    monkeypatch.delitem(plugins.sys.modules, "more_recipes_of_a_test", raising=False)
    assert load_plugins() == (Plugin(package="more-recipes", version="1.2"),) and "more" in RECIPES


def test_a_package_that_fails_is_named(installed: Path, monkeypatch: pytest.MonkeyPatch):
    installed.write_text("def add():\n    raise KeyError('lost')\n")
    monkeypatch.delitem(plugins.sys.modules, "more_recipes_of_a_test", raising=False)
    with pytest.raises(UserError) as caught:
        load_plugins()
    assert caught.value.messages == [
        "the package more-recipes 1.2: its plug-in more failed: KeyError: 'lost'; uninstall or repair it"
    ]


FIELDS = ["--data", "own-squares", "--algorithm", "own-freematch", "--device", "cpu", "--threads", "1",
          "--log.trackers", "none"]  # fmt: skip


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run of a plug-in's algorithm, stopped at step 2, on another's data set, network and view; and its plug-ins."""
    folder = tmp_path_factory.mktemp("own")
    files = [shutil.copy(FREEMATCH.with_name(name), folder / name) for name in ("own_freematch.py", "own_things.py")]
    given = ["--plugin", files[0], "--plugin", files[1]]
    with restored():
        assert cli.main([*FIELDS, *map(str, given), "--out", str(folder / "run"), "--max-hours", "1e-9"]) == 0
    return folder / "run", list(map(str, given))


def lines_of(capfd: pytest.CaptureFixture) -> list[str]:
    return [line.removeprefix("error: ") for line in capfd.readouterr().err.splitlines() if line]


def test_a_run_records_its_plug_ins(own_run: tuple[Path, list[str]]):
    folder, given = own_run
    recorded = yaml.safe_load((folder / "config.yaml").read_text())["plugins"]
    assert [entry["path"] for entry in recorded] == given[1::2]
    assert recorded[0]["sha256"] == hashlib.sha256(FREEMATCH.read_bytes()).hexdigest()
    state = yaml.safe_load((folder / "checkpoints" / "step-1" / "config.yaml").read_text())
    assert state["algorithm"]["name"] == "own-freematch" and state["plugins"] == recorded


@pytest.mark.parametrize("option", ["--resume", "--config"])
def test_a_run_s_code_is_named_by_the_user_or_not_run(
    own_run: tuple[Path, list[str]], capfd: pytest.CaptureFixture, option: str
):
    folder = own_run[0]
    again = ["--resume", "--out", str(folder)] if option == "--resume" else ["--config", str(folder / "config.yaml")]
    assert cli.main(again) == 2
    lines = lines_of(capfd)
    assert len(lines) == 2 and not loaded_plugins()
    for line, name in zip(lines, ("own_freematch.py", "own_things.py"), strict=True):
        assert line.startswith(f"plugins: {folder / 'config.yaml'} was made with {name} (sha256 ")
        assert line.endswith("; name it with --plugin FILE")


def test_a_resumed_run_takes_the_same_content_from_anywhere(
    own_run: tuple[Path, list[str]], tmp_path: Path, capfd: pytest.CaptureFixture
):
    folder = Path(shutil.copytree(own_run[0], tmp_path / "run"))
    first, second = own_run[1][1::2]
    changed = written(tmp_path, Path(first).read_text() + "\n# changed\n", "own_freematch.py")
    resume = ["--resume", "--out", str(folder), "--plugin", second, "--max-hours", "null"]
    with restored():
        assert cli.main([*resume, "--plugin", str(changed)]) == 2
    (line,) = lines_of(capfd)
    assert "own_freematch.py has another content" in line and line.endswith("give the same file")
    elsewhere = shutil.copy(first, tmp_path / "elsewhere.py")
    assert cli.main([*resume, "--plugin", str(elsewhere)]) == 0
    assert (folder / "summary.json").exists()


def test_a_new_run_from_a_configuration_may_have_changed_code(own_run: tuple[Path, list[str]], tmp_path: Path):
    first, second = own_run[1][1::2]
    changed = written(tmp_path, Path(first).read_text() + "\n# changed\n", "own_freematch.py")
    _, cfg = resolve(["--config", str(own_run[0] / "config.yaml"), "--plugin", f"{changed},{second}"])
    assert [plugin.path for plugin in cfg.plugins] == [str(changed), second]


def test_a_network_of_a_plug_in_is_used_with_it(
    own_run: tuple[Path, list[str]], tmp_path: Path, capfd: pytest.CaptureFixture
):
    folder, given = own_run
    with pytest.raises(UserError, match=r"was made with own_things\.py .*; name it with --plugin FILE"):
        semisonic.load(folder)
    assert cli.evaluate([str(folder)]) == 2
    assert len(lines_of(capfd)) == 2
    with restored():
        classifier = semisonic.load(folder, plugin=given[3])
        assert classifier(torch.zeros(1, 3, 8, 8)).shape == (1, 2) and len(loaded_plugins()) == 1
    pool = tmp_path / "pool.npy"
    with restored():
        assert cli.evaluate([str(folder), *given]) == 0
        assert cli.predict([str(folder), "--pool", "--out", str(pool), "--plugin", ",".join(given[1::2])]) == 0
    assert pool.exists()


def test_a_network_of_this_package_is_used_without_the_plug_ins_of_its_run(tmp_path: Path):
    fields = ["--algorithm", "own-freematch", "--plugin", str(FREEMATCH), *QUICK, "--steps", "2", "--no-baseline"]
    with restored():
        assert cli.main([*fields, "--log.trackers", "none", "--out", str(tmp_path / "run")]) == 0
    assert len(semisonic.load(tmp_path / "run").classes) == 10 and not loaded_plugins()


def test_a_comparison_hands_plug_ins_to_its_runs(tmp_path: Path):
    given = ["--plugin", str(FREEMATCH), "--device", "cpu", "--steps", "2", "--out", str(tmp_path)]
    jobs = parse(["--algorithms", "supervised,own-freematch:momentum=0.9", *given]).jobs
    assert jobs[1].cfg.algorithm.momentum == 0.9
    assert all(("--plugin", str(FREEMATCH)) in zip(job.argv, job.argv[1:], strict=False) for job in jobs)
    assert all(job.cfg.plugins[0].path == str(FREEMATCH) for job in jobs)


def test_the_grids_show_views_of_plug_ins(tmp_path: Path):
    things = str(FREEMATCH.with_name("own_things.py"))
    cfg = resolve(["--plugin", things, "--data", "own-squares", "--device", "cpu"])[1]
    (picture,) = save_views(cfg, load_data_set(cfg.data), view_examples()[-1:], tmp_path)
    assert "own-noise" in picture.name and picture.exists()


def test_a_record_is_not_to_be_given(tmp_path: Path):
    with pytest.raises(UserError, match="--plugins: a plug-in is named with --plugin FILE"):
        resolve(["--plugins", "x.py"])
    with pytest.raises(UserError, match=r"plugins: .*config.yaml: 1 is no record of a plug-in"):
        resolve(["--config", str(written(tmp_path, "plugins: [1]\n", "config.yaml"))])
