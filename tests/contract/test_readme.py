"""What the README names exists: files, options, fields, make's targets."""

import re

import pytest

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.fields import describe_fields
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
FOLDERS = "launch|engine|kernels|benchmarks|tests"
LAUNCHERS = {
    "config_file", "machine_rank", "main_process_ip", "main_process_port", "max-restarts", "max_restarts", "nnodes",
    "nodes", "gpus-per-node", "nproc_per_node", "num_machines", "num_processes", "rdzv-backend", "rdzv-endpoint",
    "rdzv-id", "shutdown-timeout", "standalone",
}  # fmt: skip
"""Options of torchrun, accelerate and sbatch."""
FIELDS = {name for algorithm in ALGORITHMS for name, *_ in describe_fields(algorithm)}


def named(pattern: str) -> list[str]:
    return sorted(set(re.findall(pattern, README)))


def options() -> set[str]:
    """Options of this project's scripts, commands and tests, as their sources spell them."""
    paths = [path for folder in FOLDERS.split("|") for path in (ROOT / folder).rglob("*.py")]
    return {name for path in paths for name in re.findall(r"--([a-z][\w-]*)", path.read_text())}


@pytest.mark.parametrize("path", named(rf"(?<![\w/.-])(?:\.ci|{FOLDERS})/[\w./{{}},*-]*[\w/}}*]"))
def test_paths_exist(path: str):
    if re.search(r"/[A-Z]+/", path):
        pytest.skip("stands for any folder")
    before, _, after = path.partition("{")
    choices, _, after = after.partition("}")
    for choice in choices.split(","):
        found = list(ROOT.glob(f"{before}{choice}{after}".rstrip("/")))
        assert found


@pytest.mark.parametrize("name", named(r"(?<![\w/.-])\w+\.py\b"))
def test_files_named_without_their_folder_exist(name: str):
    assert any(list((ROOT / folder).rglob(name)) for folder in FOLDERS.split("|"))


def test_the_tree_is_the_folders_that_there_are():
    tree = README.partition("## How it is built")[2].partition("**The step**")[0]
    rooms = re.findall(r"^      ([\w/]+(?:\.py|/))", tree, re.MULTILINE)
    engine = ROOT / "engine" / "semisonic"
    assert all((engine / room).exists() for room in rooms)
    folders = {path.parent.relative_to(engine).as_posix() for path in engine.rglob("*.py") if path.stem != "__init__"}
    assert {room.rstrip("/") for room in rooms if room.endswith("/")} == folders - {"."}


def test_options_and_fields_exist():
    known = {name.replace("_", "-") for name in FIELDS} | {name.partition(".")[0] for name in FIELDS}
    known |= LAUNCHERS | options()
    given = named(r"(?<![\w-])--([a-z][\w.-]*\w)")
    assert [name for name in given if name not in known and name.removeprefix("no-") not in known] == []


def test_fields_in_the_text_exist():
    sections = {name.partition(".")[0] for name in FIELDS if "." in name}
    written = [name for name in named(r"`([a-z]+\.[a-z_]+)`") if name.partition(".")[0] in sections]
    assert [name for name in written if name not in FIELDS and not name.endswith(".py")] == []


def test_make_has_the_targets():
    makefile = (ROOT / "Makefile").read_text()
    targets = {target for line in re.findall(r"^([\w -]+):", makefile, re.MULTILINE) for target in line.split()}
    assert set(named(r"[`\n]make ([a-z-]+)")) <= targets
