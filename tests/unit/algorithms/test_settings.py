"""What a paper changes of a recipe: documented, by data set, and shortened for short runs."""

import inspect
import math
import re
from typing import Any

import pytest

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.algorithms.settings import PAPER_RECIPES, Setting
from semisonic.algorithms.vat import EPS, PAPER_SVHN
from semisonic.data.sets.torchvision_sets import KNOWN
from tests.support.recipes import chosen

pytestmark = pytest.mark.usefixtures("no_files")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_settings_are_documented(name: str):
    """In a first line for --list, a cost, and an error with its source."""
    text = inspect.getdoc(ALGORITHMS[name].paper_settings) or ""
    assert text.partition("\n")[0].endswith(".")
    assert re.search(r"^Cost: \d", text, re.MULTILINE), name
    assert " error" in text.lower()


def test_an_algorithm_without_settings_changes_nothing():
    assert Algorithm.paper_settings(Setting("cifar10", 40, 2**20, 64)) == {}


def test_settings_that_depend_on_the_data_set():
    def changed(method: str, data: str) -> dict[str, Any]:
        return ALGORITHMS[method].paper_settings(Setting(data, 250, 2**20, 64))

    assert changed("ict", "cifar10")["batch"] == {"labeled": 100, "unlabeled_ratio": 1}
    assert changed("ict", "cifar10")["algorithm"] == {"block": 25}
    assert changed("ict", "svhn")["algorithm"] == {"alpha": 0.1, "block": 25}
    assert changed("temporal-ensembling", "svhn")["algorithm"] == {"statistics": "labeled", "weight": 100.0}
    assert [changed("enaet", data)["algorithm"]["weight"] for data in PAPER_RECIPES] == [75, 150, 250, 50]
    ict, simclr = changed("ict", "cifar10")["optim"], changed("simclr", "cifar10")["optim"]
    assert (ict["weight_decay"], ict["nesterov"], ict["schedule"]) == (1e-4, False, "ict")
    assert (simclr["name"], simclr["lr"], simclr["weight_decay"]) == ("lars", 2.0, 1e-6)
    mpl = changed("mpl", "cifar10")
    assert (mpl["steps"], mpl["batch"]["labeled"], mpl["optim"]["lr"]) == (300_000, 128, 0.05)
    assert mpl["ema"] == {"decay": 0.995}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_errors_stand_beside_the_settings_that_they_belong_to(name: str):
    """Those of TorchSSL and USB: its strong view, running statistics of labeled images alone, SVHN with extra images."""
    text = inspect.getdoc(ALGORITHMS[name].paper_settings) or ""
    found = re.search(r"\[[TU]\]([^:]*): (.*)", text.partition("Error")[2], re.DOTALL)
    if (
        found is None
        or any(word in found[1] for word in ("transformers", "variant"))
        or "--algorithm.strong usb" in text
    ):
        return  # of other settings, which are named
    cfg = chosen("cifar10", name).algorithm
    assert getattr(cfg, "strong", "usb") == "usb" and getattr(cfg, "statistics", "labeled") == "labeled"
    assert "SVHN" not in found[2] or "SVHN (extra)" in found[2]


def test_statistics_are_those_of_the_code_whose_errors_are_quoted():
    for name in ("pi-model", "pseudo-label", "mean-teacher", "temporal-ensembling", "vat"):
        for data in PAPER_RECIPES:
            assert chosen(data, name).algorithm.statistics == "labeled", name
        if name != "vat":
            assert chosen("digits", name).algorithm.statistics == "all"


def test_svhn_has_its_extra_images_where_its_authors_had():
    """FixMatch's had none."""
    cfg = chosen("svhn", "fixmatch")
    assert (cfg.data.svhn_extra, cfg.data.flip) == (False, None)
    assert all(not chosen("svhn", name).data.svhn_extra for name in ALGORITHMS)  # one split for all that are compared


def test_perturbations_have_a_length_for_each_data_set():
    assert {data: chosen(data, "vat").algorithm.eps for data in (*PAPER_RECIPES, "digits")} == EPS
    assert EPS == {"cifar10": 6.0, "cifar100": 6.0, "svhn": 6.0, "stl10": 6.0, "digits": 3.0}
    # The paper's own for SVHN, on pixels from -1/2 to 1/2, in deviations of the engine's images.
    deviation = math.dist((0, 0, 0), KNOWN["svhn"].std) / 3**0.5
    assert pytest.approx((3.5 / deviation, 2.5 / deviation), rel=1e-3) == PAPER_SVHN
    assert pytest.approx((20, 14.2), abs=0.1) == PAPER_SVHN


def test_short_runs_have_short_ramps():
    """Also where the user sets the steps; runs of the papers' data sets keep the papers' ramps."""
    quick = chosen("digits", "mixmatch")
    assert quick.steps == 600 and quick.algorithm.ramp == 240 and quick.optim.name == "sgd"
    assert chosen("digits", "mixmatch", "--steps", "100").algorithm.ramp == 40
    assert chosen("digits", "mixmatch", "--steps", "1").algorithm.ramp == 1


@pytest.mark.parametrize("method", ["freematch", "shrinkmatch", "softmatch", "adamatch"])
def test_short_runs_have_short_averages(method: str):
    assert chosen("digits", method, "--steps", "400").algorithm.momentum == 0.99
    assert chosen("digits", method, "--steps", "1").algorithm.momentum == 0
    assert chosen("digits", method, "--steps", "100000").algorithm.momentum == 0.999
    assert chosen("cifar10", method, "--steps", "400").algorithm.momentum == 0.999


@pytest.mark.parametrize("labeled", [20, 30, 32, 64, 100, 7])
def test_blocks_divide_the_batch(labeled: int):
    block = Setting("folder", None, 10, labeled).block().get("block", 8)
    assert labeled % block == 0 and (block >= 5 or labeled == 7)
    assert chosen("cifar10", "mixmatch", "--batch.labeled", str(labeled)).algorithm.block == block
