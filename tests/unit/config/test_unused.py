"""Given fields that have no effect are mistakes; what asks for nothing, recipes and stored runs are not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.command_line import Arguments, recipe_of
from semisonic.config.fields import dotted
from semisonic.config.run_config import RunConfig
from semisonic.config.sections import section_model
from semisonic.config.unused import unused_problems
from semisonic.config.validation import validated
from semisonic.recipes import RECIPES
from semisonic.schema import Config, UsedWith
from tests.support.command_line import config, mistakes

POLICY = ("--algorithm", "policy-mixmatch", "--algorithm.policy")
ALIGN = "; leave it out, or give addons.prior.kind=align"
UNUSED = [
    (["--addons.prior.window", "64"], f"addons.prior.window: 64 has no effect with addons.prior.kind=none{ALIGN}"),
    (["--addons.prior.target", "uniform"], "addons.prior.target: uniform has no effect with addons.prior.kind=none"),
    (["--addons.prior.kind", "align", "--addons.prior.momentum", "0.9"],
     "addons.prior.momentum: 0.9 has no effect with addons.prior.window=128; leave it out"),
    (["--addons.auxiliary.rotation", "1", "--addons.auxiliary.temperature", "0.1"],
     "addons.auxiliary.temperature: 0.1 has no effect with addons.auxiliary.simclr=0.0; leave it out"),
    (["--addons.auxiliary.rotation-view", "plain"], "addons.auxiliary.rotation_view: plain has no effect"),
    (["--addons.ctaugment.lag", "64"], "addons.ctaugment.lag: 64 has no effect, for the run has no ctaugment; "),
    (["--batch.unlabeled-stages", "4"], "batch.unlabeled_stages: 4 has no effect with batch.unlabeled_schedule=constant"),
    (["--optim.betas", "0.5,0.9"], "optim.betas: 0.5,0.9 has no effect with optim.name=sgd; leave it out, or give "),
    (["--optim", "adamw", "--optim.momentum", "0.5"], "optim.momentum: 0.5 has no effect with optim.name=adamw"),
    (["--ema.decay", "0", "--ema.buffers", "averaged"], "ema.buffers: averaged has no effect with ema.decay=0.0"),
    (["--model.lora-rank", "8"], "model.lora_rank: 8 has no effect with model.tune=full; leave it out, or give model.tune"),
    (["--data.split", __file__, "--data.labels", "20"], "data.labels: 20 has no effect with data.split="),
    (["--data.test-fraction", "0.5"], "data.test_fraction: 0.5 has no effect with data.name=digits"),
    (["--log.collapse", "0", "--log.collapse-coverage", "0.5"], "log.collapse_coverage: 0.5 has no effect"),
    ([*POLICY, "none", "--algorithm.rejected", "partners"], "algorithm.rejected: partners has no effect"),
    ([*POLICY, "fixed", "--algorithm.floor", "0.3"], "algorithm.floor: 0.3 has no effect with algorithm.policy=fixed"),
    (["--algorithm", "mixmatch", "--algorithm.lam", "0.9", "--algorithm.alpha", "1"], "algorithm.alpha: 1.0 has no"),
    (["--algorithm", "mpl", "--algorithm.variant", "plain", "--algorithm.threshold", "0.5"], "algorithm.threshold: 0.5"),
    (["--algorithm", "refixmatch", "--algorithm.mapping", "linear"], "algorithm.mapping: linear has no effect with "),
    (["--algorithm", "supervised", "--algorithm.block", "4"], "algorithm.block: 4 has no effect with algorithm.mix=none"),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), UNUSED, ids=[" ".join(argv[-2:]) for argv, _ in UNUSED])
def test_a_field_without_effect_is_a_mistake(argv: list[str], message: str):
    lines = [line for line in mistakes(*argv) if "has no effect" in line]
    assert len(lines) == 1 and lines[0].startswith(message)


@pytest.mark.parametrize(
    "argv",
    [
        ["--addons.prior.window", "128", "--addons.prior.momentum", "0.999"],  # the defaults
        ["--optim", "adamw", "--no-optim.nesterov"],
        ["--ema.decay", "0", "--ema.start-up", "none"],
        ["--algorithm", "mixmatch", "--addons.aum.record", "off"],
        ["--addons.prior.kind", "align", "--addons.prior.window", "0", "--addons.prior.momentum", "0.9"],
        [*POLICY, "staged", "--algorithm.threshold", "0.8", "--algorithm.floor", "0.3", "--algorithm.stage", "0.1"],
        ["--algorithm.strong", "ctaugment", "--addons.ctaugment.lag", "64"],
        ["--addons.auxiliary.simclr", "0.1", "--addons.auxiliary.temperature", "0.1"],
    ],
    ids=lambda argv: " ".join(argv[-2:]),
)
def test_what_asks_for_nothing_or_has_an_effect_is_accepted(argv: list[str]):
    config(*argv)


def test_of_a_mistaken_field_nothing_else_is_said_to_depend():
    (line,) = mistakes("--addons.prior.kind", "allign", "--addons.prior.window", "64")
    assert line.startswith("addons.prior.kind: 'allign' is not valid")


def test_a_file_s_fields_count_unless_the_command_line_takes_their_effect(tmp_path: Path):
    file = tmp_path / "own.yaml"
    file.write_text("addons: {prior: {window: 64}}\n")
    assert mistakes("--config", file)[0].startswith("addons.prior.window: 64 has no effect")
    file.write_text("addons: {prior: {kind: align, window: 64}}\noptim: {name: adamw, betas: [0.5, 0.9]}\n")
    assert config("--config", file).addons.prior.window == 64
    assert config("--config", file, "--addons.prior.kind", "none", "--optim", "sgd").addons.prior.kind == "none"


def test_a_stored_run_goes_on_with_a_field_that_it_does_not_use(tmp_path: Path):
    prior = config("--addons.prior.kind", "align", "--addons.prior.window", "64").addons.prior
    unused = prior.model_copy(update={"kind": "none"})
    cfg = config("--no-baseline", "--out", tmp_path)
    cfg = cfg.model_copy(update={"addons": cfg.addons.model_copy(update={"prior": unused})})
    (tmp_path / "config.yaml").write_text(cfg.dump())
    command = ("--no-baseline", "--addons.prior.window", "64", "--out", tmp_path)
    for argv in (("--out", tmp_path), command):
        assert config("--resume", *argv).addons.prior == unused
    assert config("--config", tmp_path / "config.yaml", "--out", tmp_path / "again").addons.prior == unused


@pytest.mark.parametrize("name", RECIPES)
def test_no_recipe_says_what_has_no_effect(name: str):
    for algorithm in ALGORITHMS:
        fields = recipe_of(Arguments({"algorithm": algorithm}, recipe=name))[1]
        cfg, problems = validated(fields)
        assert problems == [] == unused_problems(cfg, dotted(fields)), algorithm


def marked(model: type[Config], algorithm: str) -> Iterator[tuple[type[Config], UsedWith]]:
    for name, info in model.model_fields.items():
        yield from ((model, mark) for mark in info.metadata if isinstance(mark, UsedWith))
        inner: Any = section_model(model, name, algorithm)
        if isinstance(inner, type) and issubclass(inner, Config):
            yield from marked(inner, algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_mark_names_a_field_of_its_section_and_values_that_it_can_have(algorithm: str):
    found = list(marked(RunConfig, algorithm))
    assert len(found) > 10
    for model, mark in found:
        assert mark.field in model.model_fields
        for value in (*mark.values, *mark.unless):
            model.__pydantic_validator__.validate_assignment(model.model_construct(), mark.field, value)
