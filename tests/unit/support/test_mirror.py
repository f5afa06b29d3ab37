"""The unit tests mirror the code: what a module does is tested in the file of its name, in the folder of its room."""

from pathlib import Path

import pytest

from tests.support.processes import ROOT

UNIT = ROOT / "tests" / "unit"
FOLDERS = {
    "kernels": ("kernels/semisonic_kernels",),
    "benchmarks": ("benchmarks", "benchmarks/gpu", "benchmarks/aot"),
    "docs": ("docs/_extension",),
}
"""Where the code of a room lies that is not one of the engine's."""
OF_THE_WHOLE = {
    "test_known_defects.py": "defects of public code, wherever one could come in",
    "test_odd_names.py": "all commands on classes and files that are called anything",
    "test_older_runs.py": "whole runs that older versions began",
    "test_without_dali.py": "what the engine answers where DALI is not installed",
    "daily/test_days.py": "a whole day of a project, through its commands",
    "daily/test_bad_input.py": "bad input of all kinds, through the commands of a project",
    "inference/test_forged_runs.py": "what a run of somebody else has commands read",
    "runs/test_without_test.py": "whole runs without test images, from data to report",
    "data/sets/test_csv_weights.py": "weights of images, from a column of a CSV to the loss",
    "frozen/test_frozen_run.py": "whole runs with baselines on frozen features",
    "inference/test_shown_as_weights_expect.py": "images on their ways to a network with weights, against timm's own",
    "models/test_backbone_mistakes.py": "mistakes about backbones, through the command line",
    "recipes/test_backbone_recipes.py": "recipes that start from weights, against their sources",
    "runs/test_expectations_go_on.py": "what weights expect of images, in runs that go on",
    "runs/test_imbalanced_run.py": "whole runs on classes of different sizes, from data to report",
    "training/test_tuning.py": "runs that train a part of a network, and what comes out of them",
    "kernels/test_losses_compiled.py": "losses as torch.compile makes them, against the plain ones",
    "recipes/test_recipe_values.py": "the values of all recipes and algorithms, in one table",
}
"""Files that test no module of their own, and what they test."""
TESTS = sorted(str(path.relative_to(UNIT)) for path in UNIT.rglob("test_*.py") if path.parent != UNIT / "support")


def files_of(test: str) -> list[Path]:
    """The files of which a test file may be. One that is called like its folder is of the package itself."""
    room, name = Path(test).parent, Path(test).stem.removeprefix("test_")
    folders = [ROOT / folder for folder in FOLDERS.get(room.as_posix(), (Path("engine/semisonic") / room,))]
    found = [folder / f"{name}{ending}" for folder in folders for ending in (".py", ".sh")]
    return [*found, folders[0] / "__init__.py"] if name == room.name else found


@pytest.mark.parametrize("test", [test for test in TESTS if test not in OF_THE_WHOLE])
def test_a_test_file_has_a_module_of_its_name(test: str):
    assert any(file.exists() for file in files_of(test)), f"tests/unit/{test}: there is no such module"


def test_what_is_left_out_is_there_and_has_no_module():
    assert OF_THE_WHOLE.keys() <= set(TESTS)
    assert not any(file.exists() for test in OF_THE_WHOLE for file in files_of(test))


def test_a_module_s_test_is_found_in_its_room():
    assert ROOT / "engine/semisonic/data/views/view.py" in files_of("data/views/test_view.py")
    assert ROOT / "kernels/semisonic_kernels/fuse.py" in files_of("kernels/test_fuse.py")
    assert ROOT / "benchmarks/gpu/machine.py" in files_of("benchmarks/test_machine.py")
    assert ROOT / "engine/semisonic/recipes/__init__.py" in files_of("recipes/test_recipes.py")
    assert ROOT / "engine/semisonic/cli.py" in files_of("test_cli.py")
