"""Old names of fields and values go on working, wherever they may stand."""

import json
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import yaml

import semisonic
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.checkpoint.format import Checkpoint
from semisonic.compare.report import discover
from semisonic.config import renamed
from semisonic.config.command_line import parse_arguments, resolve
from semisonic.config.fields import walk_fields
from semisonic.config.migrations import migrated
from semisonic.config.renamed import RENAMED, Renames, choices_of, rename
from semisonic.config.run_config import RunConfig
from semisonic.inference.evaluate import configuration_of
from semisonic.models.networks import ModelConfig, build
from semisonic.runs.continuing import check_same
from semisonic.runs.run_folder import saved_micro
from semisonic.schema import Config, UserError


class Paint(Config):
    color: str = "red"
    finish: Literal["gray", "plain"] | None = None
    widths: tuple[int, int] = (1, 2)


class House(Config):
    paint: Paint = Paint()
    meters: int = 3


TABLE = Renames(
    fields={"paint.hue": "paint.color", "yards": "meters", "paint.sheen": "paint.gloss"},
    values={"paint.finish": {"dim": "gray", "dull": "matt"}, "paint.tint": {"x": "y"}},
)
HOUSE = TABLE.among(choices_of(House))


def test_choices_are_fields_with_the_values_that_they_offer():
    assert choices_of(House) == {
        "paint.color": set(), "paint.finish": {"gray", "plain"}, "paint.widths": set(), "meters": set(),
    }  # fmt: skip


def test_only_what_exists_under_its_new_name_is_renamed():
    assert Renames({"paint.hue": "paint.color", "yards": "meters"}, {"paint.finish": {"dim": "gray"}}) == HOUSE
    still = {"paint.color": set(), "paint.hue": set(), "paint.finish": {"dim", "gray"}}
    assert TABLE.among(still) == Renames({}, {})


@pytest.mark.parametrize("dotted", [False, True])
def test_fields_and_values_get_their_present_names(dotted: bool):
    def given(fields: dict[str, Any]) -> dict[str, Any]:
        nested: dict[str, Any] = {}
        for name, value in fields.items():
            section, _, leaf = name.rpartition(".")
            (nested.setdefault(section, {}) if section else nested)[leaf] = value
        return fields if dotted else nested

    old = given({"paint.hue": "blue", "paint.finish": "dim", "yards": 4})
    before = json.dumps(old)
    found = rename(old, HOUSE, dotted)
    assert found.fields == given({"paint.color": "blue", "paint.finish": "gray", "meters": 4})
    assert found.notes == [
        "paint.hue is now called paint.color", "yards is now called meters",
        "paint.finish: dim is now called gray",
    ]  # fmt: skip
    assert found.problems == [] and json.dumps(old) == before
    assert rename(found.fields, HOUSE, dotted) == (found.fields, [], [])
    both = rename(given({"yards": 4, "meters": 5}), HOUSE, dotted)
    assert both.fields == given({"meters": 5}) and both.notes == []
    assert both.problems == ["yards and meters are the old and the new name of one field; give meters alone"]


@pytest.mark.parametrize("strange", [{"paint": 3}, {"paint": None}, {"paint": ["hue"]}, {"paint": {"finish": [1]}}])
def test_what_is_no_section_of_fields_stays_as_it_is(strange: dict[str, Any]):
    assert rename(strange, HOUSE) == (strange, [], [])


@pytest.fixture
def earlier_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields that exist now, as if they had been called otherwise."""
    table = Renames(
        fields={
            "model.drop": "model.dropout", "optim.rate": "optim.lr", "stages": "steps", "data.fetch": "data.download",
            "batch.parts": "batch.micro", "algorithm.least": "algorithm.threshold",
        },
        values={"ema.start_up": {"tensorflow": "tf"}},
    )  # fmt: skip
    monkeypatch.setattr(renamed, "RENAMED", table)
    renamed._renames_of.cache_clear()
    renamed._announce.cache_clear()
    yield
    monkeypatch.undo()
    renamed._renames_of.cache_clear()
    renamed._announce.cache_clear()


@pytest.mark.usefixtures("earlier_names")
def test_the_command_line_takes_old_names_and_tells_once(capfd: pytest.CaptureFixture, monkeypatch):
    argv = [
        "--optim.rate=0.25",
        "--stages",
        "7",
        "--data.fetch",
        "--ema.start-up",
        "tensorflow",
        "--algorithm.least",
        "0.5",
    ]
    for _ in range(2):
        cfg = resolve(argv)[1]
        assert (cfg.optim.lr, cfg.steps, cfg.data.download, cfg.ema.start_up) == (0.25, 7, True, "tf")
        assert cfg.algorithm.threshold == 0.5
    shown = capfd.readouterr()
    assert shown.out == "" and sorted(shown.err.splitlines()) == [
        "algorithm.least is now called algorithm.threshold", "data.fetch is now called data.download",
        "ema.start_up: tensorflow is now called tf", "optim.rate is now called optim.lr", "stages is now called steps",
    ]  # fmt: skip
    assert parse_arguments(["--no-data.fetch"])[0].fields == {"data.download": "false"}
    renamed._announce.cache_clear()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert resolve(argv)[1].steps == 7 and capfd.readouterr().err == ""


@pytest.mark.usefixtures("earlier_names")
def test_a_file_takes_old_names_and_the_command_line_beats_it(tmp_path: Path, capfd: pytest.CaptureFixture):
    file = tmp_path / "c.yaml"
    file.write_text("stages: 7\noptim: {rate: 0.5}\nema: {start_up: tensorflow}\n")
    cfg = resolve(["--config", str(file), "--steps", "9"])[1]
    assert (cfg.steps, cfg.optim.lr, cfg.ema.start_up) == (9, 0.5, "tf")
    assert len(capfd.readouterr().err.splitlines()) == 3


@pytest.mark.usefixtures("earlier_names")
def test_both_names_at_once_are_a_mistake_beside_the_others(tmp_path: Path):
    with pytest.raises(UserError) as caught:
        resolve(["--optim.rate", "1", "--optim.lr", "1", "--precision", "fp8"])
    first, second = caught.value.messages
    assert first.startswith("optim.rate and optim.lr are ") and second.startswith("precision: ")
    file = tmp_path / "c.yaml"
    file.write_text("{stages: 7, steps: 7}")
    with pytest.raises(UserError, match=r"--config .*c.yaml: stages and steps are the old and the new name"):
        resolve(["--config", str(file)])


@pytest.mark.usefixtures("earlier_names")
def test_a_saved_run_is_read_under_its_old_names_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture):
    cfg = resolve(["--optim.lr", "0.5", "--batch.micro", "2", "--out", str(tmp_path)])[1]
    saved = yaml.safe_load(cfg.dump())
    saved["optim"]["rate"] = saved["optim"].pop("lr")
    saved["batch"]["parts"] = saved["batch"].pop("micro")
    saved["ema"]["start_up"] = "tensorflow"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(saved))
    assert saved_micro(tmp_path) == 2 and configuration_of(tmp_path) == cfg
    check_same(cfg, tmp_path)
    other = cfg.model_copy(update={"optim": cfg.optim.model_copy(update={"lr": 1.0})})
    with pytest.raises(UserError, match=r"^optim.lr: 1.0, but .* has 0.5"):
        check_same(other, tmp_path)
    assert resolve(["--resume", "--out", str(tmp_path)])[1] == cfg
    finished = tmp_path / "out" / "runs" / "fixmatch-40-seed0"
    finished.mkdir(parents=True)
    (finished / "config.yaml").write_text("{stages: 7}")
    assert discover(tmp_path / "out")[0].cfg["steps"] == 7
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("earlier_names")
def test_a_checkpoint_is_loaded_under_old_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    network = build(ModelConfig(name="small", dropout=0.25), 2, 16)
    about = {"model": {"name": "small", "drop": 0.25}, "classes": ["a", "b"], "image_size": 16}
    about |= {"mean": [0.5] * 3, "std": [0.5] * 3, "preprocess": {"view": "whole", "border": 0}}
    weights = {f"ema.{name}": value for name, value in network.state_dict().items()}
    monkeypatch.setattr(
        "semisonic.checkpoint.format.load_checkpoint", lambda path: Checkpoint(weights, {}, about, "data: {}\n")
    )
    assert semisonic.load(tmp_path).network.head.rate == 0.25
    assert about["model"] == {"name": "small", "drop": 0.25}


# The table of this project.


def other_value(field: str) -> Any:
    """A value of a field that is not its default."""
    for algorithm in ALGORITHMS:
        for name, info, annotation in walk_fields(RunConfig, algorithm):
            if name == field and isinstance(info.default, bool):
                return not info.default
            if name == field and get_args(annotation) and info.default in get_args(annotation):
                return next(value for value in get_args(annotation) if value != info.default)
            if name == field:
                return info.default * 2
    raise AssertionError(f"no field {field}")


def owner(field: str) -> str:
    """An algorithm that has the field."""
    section, _, leaf = field.partition(".")
    return next(name for name, kind in ALGORITHMS.items() if section != "algorithm" or leaf in kind.Config.model_fields)


def known(field: str) -> bool:
    return any(field == name for algorithm in ALGORITHMS for name, *_ in walk_fields(RunConfig, algorithm))


def look_up(cfg: Any, field: str) -> Any:
    for part in field.split("."):
        cfg = getattr(cfg, part)
    return cfg


@pytest.mark.parametrize(("old", "new"), RENAMED.fields.items())
def test_every_old_field_works_or_is_still_the_name(old: str, new: str, tmp_path: Path, capfd: pytest.CaptureFixture):
    assert known(old) != known(new)
    renamed._announce.cache_clear()
    present = new if known(new) else old
    value, algorithm = other_value(present), owner(present)
    cfg = resolve(["--algorithm", algorithm, f"--{old.replace('_', '-')}", str(value), "--out", str(tmp_path)])[1]
    assert look_up(cfg, present) == value
    assert (f"{old} is now called {new}\n" == capfd.readouterr().err) == known(new)
    section, _, leaf = old.partition(".")
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(
            {
                "algorithm": {"name": algorithm},
                section: {"name": algorithm, leaf: value} if section == "algorithm" else {leaf: value},
            }
        )
    )
    assert look_up(resolve(["--config", str(tmp_path / "config.yaml")])[1], present) == value
    saved = yaml.safe_load(cfg.dump())
    saved[section][leaf] = saved[section].pop(present.partition(".")[2])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(saved))
    check_same(cfg, tmp_path)
    assert configuration_of(tmp_path) == cfg


@pytest.mark.parametrize(
    "algorithm", [name for name, kind in ALGORITHMS.items() if "statistics" in kind.Config.model_fields]
)
def test_every_old_value_works_or_is_still_the_name(algorithm: str):
    ((old, new),) = RENAMED.values["algorithm.statistics"].items()
    choices = choices_of(ALGORITHMS[algorithm].Config)["statistics"]
    assert len(choices & {old, new}) == 1
    cfg = resolve(["--algorithm", algorithm, "--algorithm.statistics", old])[1]
    assert cfg.algorithm.statistics in choices - {"all"}
    saved = yaml.safe_load(cfg.dump())
    saved["algorithm"]["statistics"] = old
    assert RunConfig.model_validate(migrated(saved).fields) == cfg


def test_no_field_or_value_is_british_that_the_table_leaves_out():
    """What the table does not name must be American already."""
    # In two pieces each, so that nothing that goes through all texts for their spelling changes them.
    pieces = "label-led normal-is optim-is util-is initial-is synchron-is gr-ey cent-re col-our fav-our behavi-our neighb-our"
    pieces += " equal-is summar-is anal-ys catalog-ue model-led random-is general-is penal-is lic-ence"
    british = [piece.replace("-", "") for piece in pieces.split()]
    names = {name for algorithm in ALGORITHMS for name, *_ in walk_fields(RunConfig, algorithm)}
    assert {name for name in names if any(part in name for part in british)} <= RENAMED.fields.keys()
    for algorithm in ALGORITHMS.values():
        for name, values in {**choices_of(RunConfig), **choices_of(algorithm.Config, "algorithm.")}.items():
            odd = {value for value in values if any(part in str(value) for part in british)}
            assert odd <= RENAMED.values.get(name, {}).keys(), name
