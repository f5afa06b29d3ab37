"""Settings that are others than the recipe's."""

import pytest

from semisonic.recipes import RECIPES
from semisonic.run_page.settings import settings_of
from tests.support.command_line import config


def test_the_recipe_itself_differs_in_nothing():
    assert settings_of(config()).recipe == "digits" and settings_of(config()).differing == []
    assert settings_of(config("--algorithm", "mixmatch")).differing == [], "what its paper changes is the recipe's"


def test_what_was_given_is_told_and_what_changes_no_result_is_not():
    found = settings_of(
        config("--steps", "50", "--data.labels", "20", "--optim.lr", "0.5", "--seed", "3", "--log.every", "7")
    )
    assert {one.name: (one.own, one.recipe) for one in found.differing} == {
        "steps": ("50", "600"), "data.labels": ("20", "40"), "optim.lr": ("0.5", "0.1"),
    }  # fmt: skip


@pytest.mark.usefixtures("no_files")
@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("usb-cifar") or name == "cifar100"])
def test_of_several_recipes_the_nearest_counts(name: str):
    assert settings_of(config("--recipe", name)).recipe == name


@pytest.mark.usefixtures("no_files")
def test_data_without_a_recipe(planted):
    cfg = config("--data", "digits")
    assert settings_of(cfg.model_copy(update={"data": cfg.data.model_copy(update={"name": "given"})})).recipe is None
