"""What is registered is listed, named in messages, and used as what is built in is."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import semisonic
from semisonic import cli, register
from semisonic.addons.registry import ADD_ONS
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.registry import DATA_SETS, data_problems, image_size, load_data_set
from semisonic.data.views.registry import VIEWS, build_view, view_examples
from semisonic.models import blocks
from semisonic.models.networks import NETWORKS, ModelConfig, build, model_problems
from semisonic.plugins import load_plugins
from semisonic.recipes import RECIPES
from semisonic.schema import UserError
from tests.support.command_line import config, mistakes
from tests.support.processes import ROOT
from tests.support.registries import restored
from tests.support.views import geometry

PLUGIN = ROOT / "tests/support/plugins/own_things.py"
pytestmark = pytest.mark.usefixtures("registries")


@pytest.fixture
def own_things(registries: None) -> None:
    load_plugins([PLUGIN])


@pytest.mark.usefixtures("own_things")
def test_a_data_set_is_one_like_any_other():
    cfg = config("--data", "own-squares")
    assert (cfg.steps, cfg.model.name, cfg.algorithm.strong, cfg.data.labels) == (4, "own-net", "own-noise(0.3)", 8)
    assert image_size(cfg.data) == 8 and len(load_data_set(cfg.data).train) == 120
    assert mistakes("--data", "own-squares", "--data.labels", "7") == [
        "data.labels: 7 is not the same number for each of the 2 classes; give 6 or 8"
    ]
    (line,) = data_problems(DataConfig(name="own-squares", labels=130))
    assert "130 labeled" in line
    (line,) = data_problems(DataConfig(name="own-square"))
    assert "did you mean own-squares?" in line and "digits" in line
    assert data_problems(DataConfig(name="own-squares", size=9, labels=8))[0].startswith("data.size")


@pytest.mark.usefixtures("own_things")
def test_a_network_is_one_like_any_other():
    network = build(ModelConfig(name="own-net", dropout=0.1, norm_eps=0.5), 2, 8)
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 2)
    assert {m.eps for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {0.5}
    assert blocks.has_blocks("own-net") and not blocks.draws("own-net") and len(blocks.blocks_of(network)) == 2
    assert "did you mean own-net?" in model_problems(ModelConfig(name="own-nett"), 8)[0]
    wrong = ModelConfig(name="own-net", stem="3x3", residual="port", first_stride=1, weights=Path("a.pth"))
    fields = ["model.weights", "model.residual", "model.first_stride", "model.stem"]
    assert [line.partition(":")[0] for line in model_problems(wrong, 8)] == fields
    assert config("--data", "own-squares", "--recompute").recompute


@pytest.mark.usefixtures("own_things")
def test_a_view_is_one_like_any_other():
    assert build_view("own-noise(0.3)", geometry()).noise_std == 0.3
    assert build_view("own-noise", geometry()).noise_std == 0.1
    assert "own-noise" in view_examples()
    with pytest.raises(UserError, match=r"'own-noise\(2\)': the deviation must be 0 to 1"):
        build_view("own-noise(2)", geometry())
    with pytest.raises(UserError, match=r"did you mean own-noise\(STD\)\? .*randaugment\(N,M\)"):
        build_view("own-nose", geometry())
    assert mistakes("--algorithm.strong", "own-noise(1,2)")[0].startswith("algorithm.strong: augmentation")


def test_lists_show_what_a_plug_in_adds(capsys: pytest.CaptureFixture):
    own = PLUGIN.with_name("own_freematch.py")
    assert cli.main(["--list", "--plugin", f"{PLUGIN},{own}"]) == 0
    shown = capsys.readouterr().out
    for text in ("own-net", "own-squares", "dark and light squares", "Dark and light squares", "own-noise(STD)",
                 "own-freematch", "FreeMatch without its fairness term", "thresholds by class that follow"):  # fmt: skip
        assert text in " ".join(shown.split()), text
    assert cli.main(["--help", "--algorithm", "own-freematch", "--plugin", str(own)]) == 0
    assert "--algorithm.momentum float" in capsys.readouterr().out


def test_an_algorithm_s_settings_on_a_data_set_are_its_own():
    load_plugins([PLUGIN.with_name("own_freematch.py")])
    assert config("--algorithm", "own-freematch").optim.lr == 0.02
    assert config("--algorithm", "own-freematch", "--optim.lr", "0.5").optim.lr == 0.5
    assert "own-freematch" in mistakes("--algorithm", "own-freemach")[0]


def test_names_are_taken_once_and_builders_fit():
    with pytest.raises(ValueError, match="algorithm 'fixmatch': there is one of that name already"):
        register.algorithm("fixmatch", type("Other", (FixMatch,), {}))
    with pytest.raises(ValueError, match=r"needs the field  name: Literal\['other'\] = 'other'"):
        register.algorithm("other", FixMatch)
    with pytest.raises(ValueError, match="is no subclass"):
        register.algorithm("other", nn.Linear)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="add-on 'my-own': a name is that of a section, such as 'my_own'"):
        register.add_on("my-own", ADD_ONS["auxiliary"])
    for name in ("small", "wrn-16-1", "resnet18"):
        with pytest.raises(ValueError, match="there is one of that name already"):
            register.network(name, lambda classes: nn.Linear(1, classes), "")
    with pytest.raises(ValueError, match="takes 2 arguments"):
        register.network("two", lambda classes, size: nn.Linear(1, classes), "")
    with pytest.raises(ValueError, match="view 'weak'"):
        register.view("weak", lambda *_: build_view("weak", geometry()), "")
    with pytest.raises(ValueError, match="3 counts of 2 classes"):
        register.data_set("three", load_data_set, "", classes=2, counts=(1, 2, 3))


def test_a_recipe_says_what_algorithms_need():
    with pytest.raises(ValueError, match=r"it must say steps and batch\.labeled"):
        register.recipe("short", lambda: {"data": {"name": "digits"}, "algorithm": {"name": "fixmatch"}})
    register.recipe("whole", lambda: RECIPES["digits"]() | {"steps": 7})
    assert config("--recipe", "whole").steps == 7 and config("--recipe", "whole", "--algorithm", "mixmatch").steps == 7


@pytest.mark.parametrize(
    ("build_network", "message"),
    [
        (lambda classes: nn.Linear(3, classes), "has no features, head, feature_dim"),
        (lambda cfg, classes, size: build(ModelConfig(name="small"), classes + 1, size), "an output for each of 5"),
    ],
)
def test_a_network_without_its_parts_is_refused(build_network, message: str):
    register.network("odd", build_network, "odd")
    with pytest.raises(UserError, match=message):
        build(ModelConfig(name="odd"), 5, 16)


def test_the_package_offers_it():
    assert semisonic.register is register


def test_the_plug_ins_of_the_pages_register(tmp_path: Path):
    known, grown = (ALGORITHMS, NETWORKS, DATA_SETS, VIEWS, ADD_ONS), [0] * 5
    for page in sorted((ROOT / "docs" / "extend").glob("*.md")):
        files = []
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)):
            if "semisonic.register." in block:
                files.append(tmp_path / f"{page.stem}{number}.py")
                files[-1].write_text(block)
        with restored():  # two pages may call a network the same
            before = [len(registry) for registry in known]
            assert len(load_plugins(files)) == len(files)
            grown = [count + len(registry) - was for count, registry, was in zip(grown, known, before, strict=True)]
    assert all(count > 0 for count in grown)
