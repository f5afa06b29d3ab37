"""Recipes: every algorithm has valid settings on every data set and number of labels, those of its paper."""

import inspect

import pytest

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.algorithms.settings import PAPER_RECIPES
from semisonic.config.command_line import resolve
from semisonic.recipes import RECIPES
from tests.support.recipes import chosen, config

pytestmark = pytest.mark.usefixtures("no_files")

LABELS: dict[str, tuple[str, ...]] = {
    "digits": ("40", "100"),
    "mnist": ("40", "250"),
    "fashion-mnist": ("40", "250"),
    "cifar10": ("40", "250", "4000"),
    "cifar100": ("400", "2500", "10000"),
    "svhn": ("40", "250", "1000"),
    "stl10": ("1000",),
    "folder": ("100",),
    "folder-16000": ("16000", "4000"),
    "folder-small": ("100",),
    "folder-small-vit": ("100",),
    "folder-vit": ("100",),
    "folder-large": ("100",),
    "usb-cifar100": ("200", "400"),
    "usb-stl10": ("40", "100"),
    "usb-eurosat": ("20", "40"),
    "usb-tissuemnist": ("80", "400"),
    "usb-semi-aves": (),
    "dtd": ("188",),
    "sun397": ("1588",),
    "resisc45": ("180",),
    "clevr-count": ("32",),
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_has_valid_settings_on_every_recipe(recipe: str, algorithm: str):
    """Whatever the labels."""
    for labels in (*LABELS[recipe], "null"):
        cfg = config(recipe, "--algorithm", algorithm, "--data.labels", labels)
        assert cfg.algorithm.name == algorithm
        assert cfg.data.labels == (None if labels == "null" else int(labels))
        assert not (cfg.baseline and algorithm == "supervised")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_papers_batches_divide_over_ranks(algorithm: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    for recipe in PAPER_RECIPES:
        config(recipe, "--algorithm", algorithm)


def test_every_registered_algorithm_has_settings_and_every_recipe_labels():
    assert all("paper_settings" in vars(kind) for kind in ALGORITHMS.values())
    assert set(RECIPES) == set(LABELS)


def test_recipes_name_algorithms_that_exist():
    for name, recipe in RECIPES.items():
        assert recipe()["algorithm"]["name"] in ALGORITHMS, name


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_state_command_and_cost(name: str):
    text = inspect.getdoc(RECIPES[name]) or ""
    assert "Command: accelerate launch launch/train.py" in text
    assert name in ("digits", "folder") or "stimated" in text


def test_the_data_set_the_algorithm_and_the_labels_choose_the_settings():
    cfg = chosen("cifar10", "mixmatch", "--data.labels", "250")
    assert (cfg.data.labels, cfg.model.name, cfg.steps) == (250, "wrn-28-2", 2**20)
    assert (cfg.batch.labeled, cfg.batch.unlabeled) == (64, 64)
    optim = cfg.optim
    assert (optim.name, optim.peak, optim.weight_decay, optim.schedule) == ("adamw", 0.002, 0.02, "constant")
    assert [chosen(data, "mixmatch").algorithm.weight for data in PAPER_RECIPES] == [75, 150, 250, 50]
    assert chosen("cifar10", "mixmatch").algorithm.ramp == type(cfg.algorithm)().ramp


def test_another_algorithm_keeps_what_its_paper_does_not_change():
    cfg = chosen("cifar100", "flexmatch")
    assert (cfg.model.name, cfg.optim.weight_decay, cfg.batch.unlabeled) == ("wrn-28-8", 1e-3, 448)
    assert chosen("cifar10", "fixmatch") == resolve(["--data", "cifar10", "--device", "cpu"])[1]
