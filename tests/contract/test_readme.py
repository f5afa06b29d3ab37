"""What the README and the pages of docs/ name exists: files, options, fields, make's targets, and what they link to."""

import ast
import csv
import re

import pytest

from semisonic.algorithms.registry import ALGORITHMS, BASELINE, is_pretext
from semisonic.algorithms.weak_strong import WeakStrong
from semisonic.cli import COMMANDS
from semisonic.config.fields import describe_fields
from semisonic.daily.subcommands import SUBCOMMANDS
from semisonic.studies.command import SUMMARIES
from tests.conftest import ROOT

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
README = PAGES["README.md"]
FOLDERS = "launch|engine|kernels|benchmarks|docs|tests"
LAUNCHERS = {
    "config_file", "machine_rank", "main_process_ip", "main_process_port", "max-restarts", "max_restarts", "nnodes",
    "nodes", "gpus-per-node", "nproc_per_node", "num_machines", "num_processes", "rdzv-backend", "rdzv-endpoint",
    "rdzv-id", "shutdown-timeout", "standalone", "time", "partition", "account", "logdir", "backend-store-uri",
}  # fmt: skip
"""Options of torchrun, accelerate, sbatch, tensorboard and mlflow."""
FIELDS = {name for algorithm in ALGORITHMS for name, *_ in describe_fields(algorithm)}
FILES = (".py", ".safetensors", ".pt2", ".onnx")
"""Endings of files whose names look like fields."""
FENCED = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def named(pattern: str) -> list[tuple[str, str]]:
    """Every page with each thing that it names, once."""
    return sorted({(page, name) for page, text in PAGES.items() for name in re.findall(pattern, text)})


def options() -> set[str]:
    """Options of this project's scripts, commands and tests, as their sources spell them."""
    paths = [path for folder in FOLDERS.split("|") for path in (ROOT / folder).rglob("*.py")]
    return {name for path in paths for name in re.findall(r"--([a-z][\w-]*)", path.read_text())}


GENERATED = {
    "algorithm-sections": [*ALGORITHMS, "Weak and strong views"],
    "algorithm-steps": ["Steps", "State"],
    "commands": [
        *(f"semisonic {name}" for name in COMMANDS),
        *(f"semisonic daily PROJECT {name}" for name in SUBCOMMANDS),
        *(f"semisonic study {name}" for name in SUMMARIES),
    ],
    "configuration": ["The run itself", "Add-ons", *{name.rpartition(".")[0] for name in FIELDS if "." in name}],
}
"""Directive -> headings that it makes. The build of the site looks for each anchor that is linked, too."""


def anchors(page: str) -> set[str]:
    """What GitHub calls the headings of a page, those that directives make included."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", PAGES[page]), re.MULTILINE)
    for directive in re.findall(r"^```\{([\w-]+)\}", PAGES[page], re.MULTILINE):
        headings += GENERATED.get(directive, [])
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def linked(page: str) -> list[tuple[str, str]]:
    """Page, target: the links from a page to a file or a heading here, not those to other sites."""
    targets = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", FENCED.sub("", PAGES[page]))
    return [(page, target) for target in targets if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page, path", named(rf"(?<![\w/.-])(?:\.ci|{FOLDERS})/[\w./{{}},*-]*[\w/}}*]"))
def test_paths_exist(page: str, path: str):
    if re.search(r"/[A-Z]+/", path):
        pytest.skip("stands for any folder")
    before, _, after = path.partition("{")
    choices, _, after = after.partition("}")
    for choice in choices.split(","):
        found = list(ROOT.glob(f"{before}{choice}{after}".rstrip("/")))
        assert found


@pytest.mark.parametrize("page, name", named(r"(?<![\w/.-])(?!my_)\w+\.py\b"))
def test_files_named_without_their_folder_exist(page: str, name: str):
    """A name that begins with `my_` stands for a file of the reader's own."""
    assert any(list((ROOT / folder).rglob(name)) for folder in FOLDERS.split("|"))


def test_anchors_of_generated_headings_are_known():
    assert {"flexmatch", "steps"} <= anchors("docs/reference/algorithms.md")
    assert {"semisonic-predict", "semisonic-daily-project-add"} <= anchors("docs/reference/command-line.md")
    assert {"data", "the-run-itself"} <= anchors("docs/reference/configuration.md")
    assert "flexmatch" not in anchors("docs/reference/configuration.md")


@pytest.mark.parametrize("page, target", [link for page in PAGES for link in linked(page)])
def test_links_lead_somewhere(page: str, target: str):
    path, _, anchor = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    assert file.exists()
    found = file.resolve().relative_to(ROOT.resolve()).as_posix()
    assert not anchor or anchor in anchors(found)


def test_every_part_of_the_site_is_linked_from_the_readme():
    listed = {target.partition("#")[0] for _, target in linked("README.md")}
    assert {page for page in PAGES if page.count("/") == 2 and page.endswith("/index.md")} <= listed


def test_the_readme_is_short_and_begins_with_two_commands():
    assert len(README.splitlines()) <= 150
    section = README.partition("\n## Two commands\n")[2].partition("\n#")[0]
    (language, block), *further = FENCED.findall(section)
    assert language == "bash" and not further
    assert [line.partition("#")[0].strip() for line in block.splitlines()] == ["make train", "make test"]


def test_each_promise_of_the_readme_names_what_shows_it():
    table = README.partition("| promise |")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("| **")]
    shown = [re.findall(r"\]\(((?:tests|benchmarks/results)/[^)]+)\)", row.rpartition(" | ")[2]) for row in rows]
    assert len(rows) > 5 and all(shown)


def test_the_readme_counts_the_methods_and_each_has_been_compared_with_the_labels_alone():
    assert f"| {len(ALGORITHMS)} methods, " in README
    with open(ROOT / "benchmarks" / "results" / "compare-digits.csv", newline="") as file:
        rows = {row["entry"]: row for row in csv.DictReader(file)}
    methods = {name for name in ALGORITHMS if not is_pretext(name)} - {BASELINE}
    assert methods < rows.keys()
    ends = {
        name: float(rows[name]["against_supervised"]) + float(rows[name]["against_supervised_half_width"])
        for name in methods
    }
    assert {name: end for name, end in ends.items() if end >= 0} == {}


def test_the_errors_of_the_readme_are_the_stored_ones():
    with open(ROOT / "benchmarks" / "results" / "digits-accuracy-cpu.csv", newline="") as file:
        stored = {row["entry"]: (float(row["last20_error"]), float(row["seconds"])) for row in csv.DictReader(file)}
    for name in ("supervised", "FixMatch"):
        error, seconds = stored[name.lower()]
        assert f"| {name} | {error:.2f} % | {seconds:.0f} |" in README


def test_the_readme_lists_every_algorithm_once():
    table = README.partition("\n## Algorithms\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(name for cell in cells[1:] for name in re.findall(r"`([\w-]+)`", cell)) == sorted(ALGORITHMS)


def test_what_goes_with_a_method_is_as_its_page_says():
    table = PAGES["docs/use/algorithms.md"].partition("\n## Which one\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    written = {row[0].strip("`"): tuple(cell.startswith("yes") for cell in row[3:]) for row in rows}
    kinds = {name: kind for name, kind in ALGORITHMS.items() if issubclass(kind, WeakStrong)}
    assert written == {
        name: (not kind.aligns(cfg), kind.takes_micro_batches(cfg), kind.takes_growing_batches(cfg))
        for name, kind in kinds.items()
        for cfg in [kind.Config()]
    }


@pytest.mark.parametrize(
    "page, code",
    [(page, code) for page, text in PAGES.items() for language, code in FENCED.findall(text) if language == "python"],
)
def test_python_on_a_page_is_python(page: str, code: str):
    ast.parse(code)


def test_the_tree_is_the_folders_that_there_are():
    tree = PAGES["docs/extend/development.md"].partition("## How it is built")[2].partition("**The step**")[0]
    rooms = re.findall(r"^      ([\w/]+(?:\.py|/))", tree, re.MULTILINE)
    engine = ROOT / "engine" / "semisonic"
    assert all((engine / room).exists() for room in rooms)
    folders = {path.parent.relative_to(engine).as_posix() for path in engine.rglob("*.py") if path.stem != "__init__"}
    assert {room.rstrip("/") for room in rooms if room.endswith("/")} == folders - {"."}


def test_options_and_fields_exist():
    known = {name.replace("_", "-") for name in FIELDS} | {name.partition(".")[0] for name in FIELDS}
    known |= LAUNCHERS | options()
    given = named(r"(?<![\w-])--(?!addons\.my-)([a-z][\w.-]*\w)")  # an add-on of the reader's own
    assert [(page, name) for page, name in given if name not in known and name.removeprefix("no-") not in known] == []


def test_fields_in_the_text_exist():
    sections = {name.partition(".")[0] for name in FIELDS if "." in name}
    written = [(page, name) for page, name in named(r"`([a-z]+\.[a-z_]+)`") if name.partition(".")[0] in sections]
    assert [(page, name) for page, name in written if name not in FIELDS and not name.endswith(FILES)] == []


def test_make_has_the_targets():
    makefile = (ROOT / "Makefile").read_text()
    targets = {target for line in re.findall(r"^([\w -]+):", makefile, re.MULTILINE) for target in line.split()}
    assert [(page, name) for page, name in named(r"[`\n]make ([a-z-]+)") if name not in targets] == []
