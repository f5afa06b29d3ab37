"""The declared studies: every setting is possible, changes what its factor says, and their number has an end."""

from pathlib import Path

import pytest

from semisonic.studies.catalog import CATALOG
from semisonic.studies.command import SUMMARIES
from semisonic.studies.declaration import PRESETS, Study, setting
from semisonic.studies.running import ask, parser
from tests.support.registries import restored

FASHION = "fashion-mnist"
MOST = {"ema": 13, "interleave": 8, "mixup": 9, "policies": 13, "mpl": 7, "history": 6}
"""Settings on the digits, which hours of two cores allow."""
MOST_ON_FASHION = 20
"""The same of all studies."""


def resolved(study: Study, tmp_path: Path, *options: str):
    argv = ["--out", str(tmp_path / "out"), *options]
    with restored():
        return ask(study, *parser(study).parse_known_args(argv), argv)


@pytest.mark.parametrize("name", CATALOG)
def test_every_setting_is_possible_and_another_run(name: str, tmp_path: Path):
    study = CATALOG[name]
    asked = resolved(study, tmp_path, "--seeds", "0")
    own = {"out", "seed"}
    configurations = [(job.cfg.model_dump_json(exclude=own), job.entry.name) for job in asked.jobs]
    assert len({text for text, _ in configurations}) == len(configurations) <= MOST[name]
    assert all(job.cfg.data.labels == 40 and job.cfg.precision == "fp32" for job in asked.jobs)
    assert {job.cfg.steps for job in asked.jobs if "steps=" not in job.entry.name} == {400}
    assert not (tmp_path / "out").exists()


def test_few_settings_are_trained_on_fashion_mnist():
    few = [study.reduced() for study in CATALOG.values()]
    assert PRESETS[FASHION].few and not PRESETS["digits"].few
    assert 0 < sum(len(study.entries()) for study in few) <= MOST_ON_FASHION


@pytest.mark.parametrize("name", CATALOG)
def test_factors_are_told_apart(name: str):
    study = CATALOG[name]
    titles = [factor.title for factor in study.factors]
    assert len(set(titles)) == len(titles)
    for factor in study.factors:
        assert len(factor.settings) == 1 + len(factor.others) and len(set(factor.settings.values())) > len(
            factor.others
        )
        assert factor.few is None or set(factor.few) <= factor.others.keys()
        assert setting(factor.baseline) not in map(setting, factor.others.values())
    assert study.even is None or study.even in study.entries()
    assert SUMMARIES[name] == study.summary and study.question.endswith("?")


def test_history_has_the_image_passes_of_fixmatch(tmp_path: Path):
    steps = {job.entry.algorithm: job.cfg.steps for job in resolved(CATALOG["history"], tmp_path).jobs if not job.seed}
    # 32 + 224 images: 1,440 passes of FixMatch, 1,888 of MixMatch and 3,680 of ReMixMatch a step.
    assert steps == {"fixmatch": 400, "flexmatch": 400, "freematch": 400, "softmatch": 400,
                     "mixmatch": 400 * 1440 // 1888, "remixmatch": 400 * 1440 // 3680}  # fmt: skip
