"""What stands around the code: version, changes, citation, the hooks of a commit, types for whoever uses the package."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import semisonic
from semisonic.addons.registry import ADD_ONS
from semisonic.config.renamed import RENAMED
from tests.support.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CHANGES = (ROOT / "CHANGELOG.md").read_text()
DOWNSTREAM = ROOT / "tests" / "fixtures" / "downstream" / "use.py"


def test_the_version_is_the_same_everywhere():
    newest = re.search(r"^## (\S+)$", CHANGES, re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert newest and newest[1] == citation["version"] == semisonic.__version__


def test_every_renamed_field_is_among_the_changes():
    lines = [line for line in CHANGES.splitlines() if line.startswith("| `")]
    written = {tuple(re.findall(r"`([^`]+)`", line)) for line in lines}
    renamed = set(RENAMED.fields.items())
    renamed |= {
        (f"{field}={old}", f"{field}={new}") for field, names in RENAMED.values.items() for old, new in names.items()
    }
    for addon, kind in ADD_ONS.items():
        renamed |= {(old, f"addons.{addon}.{new}") for old, new in kind.former_fields.items()}
    missing = {
        pair for pair in renamed if pair not in written and (_section(pair[0]), _section(pair[1])) not in written
    }
    assert not missing


def _section(field: str) -> str:
    return field.rpartition(".")[0] + ".*"


def test_nobody_is_named_and_nothing_linked_that_is_not_there():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["authors"] == [{"name": "Semisonic contributors"}]
    assert not citation.keys() & {"doi", "url", "repository-code"}
    assert "urls" not in PROJECT and "authors" not in PROJECT
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        targets = re.findall(r"\]\(([^)#\s]+)", (ROOT / name).read_text())
        assert all((ROOT / target).exists() for target in targets)


def test_a_commit_is_checked_by_the_linters_of_make():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    tools = {hook["entry"].split()[0] for hook in hooks}
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    assert tools == set(re.findall(r"\$\(BIN\)/(\S+)", lint))
    assert all(hook["language"] == "system" for hook in hooks)  # the versions of the environment; nothing to download


@pytest.mark.long
def test_types_reach_whoever_uses_the_package(tmp_path: Path):
    """mypy as they call it: from outside of the project, where `py.typed` alone makes it read a package's types."""

    def check(text: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "use.py").write_text(text)
        command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "use.py"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    text = DOWNSTREAM.read_text()
    done = check(text)
    assert done.returncode == 0, done.stdout + done.stderr
    done = check(text.replace("found: float", "found: str"))
    assert done.returncode == 1 and "Incompatible types in assignment" in done.stdout
