"""A saved configuration means what the version that wrote it did; a user's own file is in today's language."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from semisonic.config import migrations
from semisonic.config.dump import SCHEMA
from semisonic.config.migrations import (
    ENTRIES_OF_0,
    added_since,
    is_saved,
    migrated,
    migrated_section,
    present_tensors,
    read_saved,
)
from semisonic.config.run_config import RunConfig
from semisonic.inference.evaluate import configuration_of
from semisonic.models.networks import ModelConfig
from semisonic.runs.continuing import check_same
from semisonic.schema import UserError
from tests.fixtures.older_runs import NAMES, STORED
from tests.support.command_line import config, mistakes


def saved(**changes: Any) -> dict[str, Any]:
    """What a run with the defaults of the digits writes, with changes of entries at the top."""
    return yaml.safe_load(config().dump()) | {"schema": SCHEMA} | changes


def without(content: dict[str, Any], field: str) -> dict[str, Any]:
    section, _, leaf = field.partition(".")
    return content | {section: {name: value for name, value in content[section].items() if name != leaf}}


@pytest.fixture
def a_version_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if `ema.start_up` and `model.dropout` had come with the next schema, whose runs did otherwise than the default."""
    monkeypatch.setattr(migrations, "SCHEMA", SCHEMA + 1)
    later = {"ema.start_up": "mean_teacher", "model.dropout": 0.25, "algorithm.warm_up": False, "eval.batch": 256}
    monkeypatch.setattr(migrations, "ADDED", {**migrations.ADDED, SCHEMA: later, 0: {"ema.start_up": "tf"}})


@pytest.mark.usefixtures("a_version_on")
def test_an_absent_field_is_what_its_version_did(tmp_path: Path):
    content = without(without(saved(out=str(tmp_path)), "ema.start_up"), "model.dropout")
    found = migrated(content)
    assert found.fields["ema"]["start_up"] == "mean_teacher" and found.fields["model"]["dropout"] == 0.25
    assert found.filled == {"ema.start_up": "mean_teacher", "model.dropout": 0.25} and found.schema == SCHEMA
    (line,) = found.notes
    assert line.endswith("going on as it was: ema.start_up=mean_teacher, model.dropout=0.25") and "\n" not in line
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    assert configuration_of(tmp_path).model.dropout == 0.25
    cfg = config("--resume", "--out", tmp_path)
    assert cfg.ema.start_up == "mean_teacher"
    check_same(cfg, tmp_path)
    with pytest.raises(UserError, match=r"model.dropout: 0.0, but .* has 0.25"):
        check_same(config("--resume", "--out", tmp_path, "--model.dropout", "0"), tmp_path)


@pytest.mark.usefixtures("a_version_on")
def test_what_is_there_stays_and_what_is_no_field_is_not_made():
    assert migrated(saved()).filled == {}  # it has both fields, and its algorithm no warm_up
    assert migrated(without(saved(), "eval.batch")).notes == []  # as today
    flexmatch = yaml.safe_load(config("--algorithm", "flexmatch").dump()) | {"schema": SCHEMA}
    assert migrated(without(flexmatch, "algorithm.warm_up")).filled == {"algorithm.warm_up": False}


def test_a_margin_that_image_files_never_had_is_none():
    for name, pad in {"folder": None, "digits": 3}.items():
        saved = migrated({"schema": 1, "data": {"name": name, "pad": 3, "labels": 40}})
        assert saved.fields["data"]["pad"] == pad and saved.fields["data"]["labels"] == 40


@pytest.mark.usefixtures("a_version_on")
def test_an_older_schema_s_line_beats_a_later_one_s():
    assert added_since(0)["ema.start_up"] == "tf" and added_since(0)["model.dropout"] == 0.25
    assert added_since(SCHEMA)["ema.start_up"] == "mean_teacher" and added_since(SCHEMA + 1) == {}


@pytest.mark.usefixtures("a_version_on")
def test_a_section_of_a_checkpoint_likewise():
    assert migrated_section("model", ModelConfig, {"name": "small"}, SCHEMA) == {"name": "small", "dropout": 0.25}
    given = {"name": "small", "dropout": 0.5}
    assert migrated_section("model", ModelConfig, given, SCHEMA) == given
    assert migrated_section("model", ModelConfig, {"name": "small"}, SCHEMA + 1) == {"name": "small"}


@pytest.mark.usefixtures("a_version_on")
def test_a_file_of_the_user_s_own_is_in_today_s_language(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("model: small\nema: {decay: 0.5}\n")
    assert config("--config", file).model.dropout == 0.0 and config("--config", file).ema.start_up == "tf"  # a recipe's
    assert not is_saved({"seed": 1, "data": {}}) and is_saved({"schema": 1})
    assert is_saved(dict.fromkeys(ENTRIES_OF_0)) and not is_saved(dict.fromkeys(ENTRIES_OF_0 - {"auxiliary"}))


def test_an_augmentation_whose_name_means_another_thing_now_is_called_otherwise():
    algorithm = {"name": "mpl", "weak": "weak", "strong": " randaugment(2,16)"}
    content = {"schema": 3, "algorithm": algorithm, "addons": {"auxiliary": {"rotation_view": "randaugment(1,2)"}}}
    found = migrated(content)
    assert {name: found.fields["algorithm"][name] for name in algorithm} == algorithm | {
        "strong": "randaugment-signed(2,16)"
    }
    assert found.fields["addons"]["auxiliary"]["rotation_view"] == "randaugment-signed(1,2)"
    assert algorithm["strong"] == " randaugment(2,16)"  # what was given stays as it is
    assert "going on as it was: algorithm.strong=randaugment-signed(2,16), " in found.notes[0]
    assert migrated(found.fields | {"schema": 3}).fields == found.fields
    assert migrated(content | {"schema": 4}).fields["algorithm"] == algorithm


@pytest.mark.parametrize("schema", [0, 1])
def test_a_default_that_changed_is_not_the_run_s(schema: int):
    content = saved(schema=schema)
    content["ema"]["start_up"] = "none"
    content = without(content, "model.norm_start_up")
    found = migrated(content)
    assert found.fields["ema"]["start_up"] == "none" and found.fields["model"]["norm_start_up"] == 0
    assert found.unlike_today["ema.start_up"] == ("none", "tf") and "ema.start_up" not in found.filled
    assert found.unlike_today["model.norm_start_up"] == (0.0, ModelConfig().norm_start_up)
    assert found.notes[0].endswith("model.norm_start_up=0.0, precision=fp32, ema.start_up=none")
    content["ema"]["start_up"] = "mean_teacher"  # as it was asked for
    assert "ema.start_up" not in migrated(content).unlike_today
    content["ema"]["start_up"] = "none"
    assert migrated(content | {"schema": SCHEMA}).unlike_today == {}


def test_a_written_configuration_is_read_back_and_states_its_schema(tmp_path: Path):
    (tmp_path / "config.yaml").write_text(config("--optim.lr", "0.25").dump())
    found = read_saved(tmp_path)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["schema"] == SCHEMA == found.schema
    assert found.notes == [] and RunConfig.model_validate(found.fields) == config("--optim.lr", "0.25")
    assert config("--config", tmp_path / "config.yaml") == config("--optim.lr", "0.25")
    assert added_since(SCHEMA) == {}


@pytest.mark.parametrize("schema", [SCHEMA + 1, -1, "new", True, None, 1.5])
def test_a_newer_schema_is_refused(tmp_path: Path, schema: Any):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(saved(schema=schema)))
    with pytest.raises(UserError, match=rf"config.yaml: schema .* which reads 0 to {SCHEMA}$"):
        read_saved(tmp_path)
    assert any("config.yaml: schema" in line for line in mistakes("--config", tmp_path / "config.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_what_version_0_1_0_wrote(name: str):
    """The table's lines on its runs, and nothing of what was renamed is left under its old name."""
    found = read_saved(STORED / name)
    assert found.schema == 0 and found.records == {}
    cfg = RunConfig.model_validate(found.fields)
    assert "auxiliary" not in found.fields and "ctaugment_lag" not in found.fields["data"]
    written = (cfg.addons.auxiliary.rotation, cfg.addons.ctaugment.lag)
    assert written == ((0.5, 4) if name == "remixmatch" else (0.0, 32))


def test_tensors_of_version_0_1_0():
    one = torch.zeros(1)
    model = present_tensors({"augment.rates": one, "network.augment.x": one, "auxiliary_rotation.bias": one}, 0)
    assert list(model) == ["addons.ctaugment.rates", "network.augment.x", "addons.auxiliary.rotation.bias"]
    state = {"network/auxiliary_rotation.bias/exp_avg": one, "network/network.head.bias/step": one}
    assert list(present_tensors(state, 0, optimizer=True)) == [
        "network/addons.auxiliary.rotation.bias/exp_avg", "network/network.head.bias/step",
    ]  # fmt: skip
    assert list(present_tensors({"augment.rates": one}, SCHEMA)) == ["augment.rates"]
