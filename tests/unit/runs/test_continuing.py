"""What may change when a run goes on, what is refused by name, and runs that become longer."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from semisonic import cli
from semisonic.config.run_config import RunConfig
from semisonic.models.networks import ModelConfig, build
from semisonic.models.randomness import Dropout
from semisonic.runs.continuing import check_same, checksum, contents, drawn_anew, lengthen, steps_done
from semisonic.runs.run_folder import as_begun
from semisonic.schema import UserError
from tests.support.addons import registered
from tests.support.command_line import config, mistakes
from tests.support.runs import QUICK, tensors
from tests.support.throw_away import Once

CONSTANT = ["--optim.schedule", "constant", "--no-baseline"]


def begun(folder: Path, *fields: object, step: int | None = None) -> RunConfig:
    """The configuration of a run whose folder says that it was begun, with a checkpoint of a step where one is named."""
    cfg = config(*CONSTANT, *fields, "--out", folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(cfg.dump({"content": contents(cfg)}))
    if step is not None:
        (folder / "checkpoints" / f"step-{step}").mkdir(parents=True)
        (folder / "checkpoints" / "latest").write_text(f"step-{step}\n")
    return cfg


def refused(cfg: RunConfig, folder: Path, **how: bool) -> list[str]:
    with pytest.raises(UserError) as caught:
        check_same(cfg, folder, **how)
    return caught.value.messages


def changed(cfg: RunConfig, **fields: Any) -> RunConfig:
    """The configuration with other values of dotted fields, __ in place of dots."""
    content = json.loads(cfg.model_dump_json())
    for name, value in fields.items():
        *sections, leaf = name.split("__")
        inner = content
        for section in sections:
            inner = inner[section]
        inner[leaf] = value
    return RunConfig.model_validate(content)


def test_a_recipe_that_is_named_on_resume_counts(tmp_path: Path):
    """As a part of the whole command; `--resume --out RUN` alone has the run's fields."""
    folder = tmp_path / "run"
    begun(folder, "--seed", "3")
    resume = ("--resume", "--out", folder)
    assert config(*resume).seed == 3
    check_same(config(*resume, *CONSTANT, "--seed", "3", "--recipe", "digits"), folder)
    assert [line.partition(":")[0] for line in refused(config(*resume, "--recipe", "digits"), folder)] == [
        "optim.schedule", "seed",
    ]  # fmt: skip
    lines = refused(config(*resume, "--seed", "3", "--recipe", "cifar10", "--data", "digits"), folder)
    assert f"model.name: 'wrn-28-2', but {folder} has 'small'; use another --out (and --init)" in lines


@pytest.mark.parametrize("resume", [[], ["--resume"]], ids=["new", "resumed"])
def test_a_recipe_beside_a_run_s_own_configuration_is_a_mistake(tmp_path: Path, resume: list[str]):
    begun(tmp_path)
    file = tmp_path / "config.yaml"
    named = ["--config", file, "--out", tmp_path if resume else tmp_path / "new", "--recipe", "cifar10"]
    assert mistakes(*resume, *named) == [
        f"--recipe cifar10: has no effect, for {file} has all fields; give one of the two"
    ]
    # Of another algorithm, the file says nothing.
    assert config("--config", file, "--recipe", "cifar10", "--algorithm", "flexmatch").algorithm.strong == "usb"


def test_what_changes_no_results_may_change(tmp_path: Path):
    cfg = begun(tmp_path)
    check_same(cfg, tmp_path)
    free = changed(cfg, threads=2, device="cpu", compile="off", eval__batch=7, data__root="/elsewhere", data__workers=3,
                   health__progress=60, batch__fit=False, log__every=3, checkpoint__keep=9, replay="off")  # fmt: skip
    check_same(free, tmp_path)


def test_everything_else_is_refused_by_name_and_with_what_to_do(tmp_path: Path):
    cfg = begun(tmp_path)
    other = changed(cfg, seed=4, optim__lr=0.5, algorithm__threshold=0.5, addons__auxiliary__rotation=1, steps=700)
    lines = refused(other, tmp_path)
    assert [line.split(":")[0] for line in lines] == [
        "addons.auxiliary.rotation", "algorithm.threshold", "optim.lr", "seed", "steps",
    ]  # fmt: skip
    assert lines[2] == f"optim.lr: 0.5, but {tmp_path} has 0.1; use another --out (and --init)"
    (line,) = refused(config(*CONSTANT, "--algorithm", "supervised"), tmp_path)
    assert line.startswith(f"algorithm.name: 'supervised', but {tmp_path} has 'fixmatch'")


def test_a_field_that_is_none_here_is_refused(tmp_path: Path):
    cfg = begun(tmp_path)
    saved = yaml.safe_load((tmp_path / "config.yaml").read_text())
    saved["addons"]["lens"] = {"power": 2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(saved))
    (line,) = refused(cfg, tmp_path)
    assert line.startswith(f"addons.lens.power: is a field of {tmp_path}, but none here")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    return file


def test_a_file_counts_by_its_content(tmp_path: Path, weights: Path):
    fields = ["--data.normalize", "imagenet", "--model", "resnet18", "--model.weights"]
    cfg, run = begun(tmp_path / "run", *fields, weights), tmp_path / "run"
    assert contents(cfg) == {"model.weights": checksum(weights)}
    moved, other = tmp_path / "moved.pth", tmp_path / "other.pth"
    moved.write_bytes(b"one")
    other.write_bytes(b"two")
    check_same(changed(cfg, model__weights=str(moved)), run)
    (line,) = refused(changed(cfg, model__weights=str(other)), run)
    assert line.startswith(f"model.weights: {run} was begun with {weights}; {other} holds something else")
    (line,) = refused(changed(cfg, model__weights=str(tmp_path / "none.pth")), run)
    assert "none.pth is not there" in line
    (line,) = refused(changed(cfg, model__weights=None), run)
    assert line.startswith("model.weights: None, but ")
    weights.write_bytes(b"two")  # before the first checkpoint, it is read again
    assert "has changed since" in refused(cfg, run)[0]
    (run / "checkpoints" / "step-3").mkdir(parents=True)
    check_same(cfg, run)
    weights.unlink()
    check_same(cfg, run)


def test_a_file_that_is_read_each_time_must_stay_as_it_was(tmp_path: Path):
    split = tmp_path / "split.txt"
    split.write_text("1\n2\n")
    cfg, run = begun(tmp_path / "run", "--data.split", split, step=3), tmp_path / "run"
    check_same(cfg, run)
    split.write_text("1\n3\n")
    assert refused(cfg, run)[0].startswith("data.split: ")


def test_without_checksums_a_path_is_a_path(tmp_path: Path, weights: Path):
    """As older versions wrote it."""
    cfg = begun(tmp_path, "--data.normalize", "imagenet", "--model", "resnet18", "--model.weights", weights)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    check_same(cfg, tmp_path)
    moved = tmp_path / "moved.pth"
    moved.write_bytes(b"one")
    assert refused(changed(cfg, model__weights=str(moved)), tmp_path)[0].startswith("model.weights: ")


# Runs that become longer.


def test_more_steps_where_nothing_depends_on_their_number(tmp_path: Path):
    cfg = begun(tmp_path, "--steps", 30, step=20)
    assert steps_done(tmp_path) == 20
    check_same(changed(cfg, steps=40), tmp_path, longer=True)
    check_same(changed(cfg, steps=20), tmp_path, longer=True)
    (line,) = refused(changed(cfg, steps=10), tmp_path, longer=True, extend=True)
    assert line == f"steps: 10, but {tmp_path} has done 20 already; give at least as many"


def test_more_steps_where_something_depends_on_their_number(tmp_path: Path):
    fields = ["--algorithm", "mean-teacher", "--algorithm.ramp", 0.5, "--optim.schedule", "cosine"]
    cfg = begun(tmp_path, "--steps", 30, *fields, step=20)
    (line,) = refused(changed(cfg, steps=40), tmp_path, longer=True)
    assert "planned for 30, on which it depends by optim.schedule=cosine, algorithm.ramp=0.5; --extend plans" in line
    check_same(changed(cfg, steps=40), tmp_path, longer=True, extend=True)


def test_a_growing_magnitude_depends_on_the_number_of_steps(tmp_path: Path):
    """Where a view of it is in use: others of such a spec are not."""
    cfg = begun(tmp_path / "run", "--steps", 30, "--algorithm.strong", "randaugment(2,1..9)", step=20)
    (line,) = refused(changed(cfg, steps=40), tmp_path / "run", longer=True)
    assert "planned for 30, on which it depends by algorithm.strong=randaugment(2,1..9); --extend plans" in line
    unused = begun(tmp_path / "unused", "--steps", 30, step=20)
    unused = changed(unused, addons__auxiliary__view="randaugment(2,1..9)")
    (tmp_path / "unused" / "config.yaml").write_text(unused.dump())
    check_same(changed(unused, steps=40), tmp_path / "unused", longer=True)
    used = begun(tmp_path / "used", "--steps", 30, "--addons.auxiliary.rotation", 0.5,
                 "--addons.auxiliary.rotation-view", "randaugment(2,9..1)", step=20)  # fmt: skip
    (line,) = refused(changed(used, steps=40), tmp_path / "used", longer=True)
    assert "by addons.auxiliary.rotation_view=randaugment(2,9..1)" in line


def test_what_a_longer_run_notes(tmp_path: Path):
    cfg = begun(tmp_path, "--steps", 30, "--optim.schedule", "cosine", step=20)
    assert lengthen(cfg, extend=True) == []
    for steps in (40, 50):
        (tmp_path / "summary.json").write_text(f"{steps}")
        (line,) = lengthen(changed(cfg, steps=steps), extend=True)
        assert "from step 20 on, optim.schedule follows the new plan" in line
    (tmp_path / "summary.json").write_text("again")
    lengthen(changed(cfg, steps=40), extend=True)
    lengthen(changed(cfg, steps=50), extend=True)
    saved = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert saved["steps"] == 50 and saved["extended"][:2] == [
        {"from": 20, "steps": [30, 40]}, {"from": 20, "steps": [40, 50]},
    ]  # fmt: skip
    kept = {path.name: path.read_text() for path in tmp_path.glob("summary*")}
    assert kept == {"summary.30-steps.json": "40", "summary.40-steps.json": "50", "summary.50-steps.json": "again"}
    check_same(changed(cfg, steps=50), tmp_path)


SHORT = [*QUICK, "--log.trackers", "none", "--eval.every", "3", "--log.every", "1", "--checkpoint.every", "100"]


@pytest.mark.slow
def test_a_longer_run_is_what_it_would_have_been(tmp_path: Path, capfd: pytest.CaptureFixture):
    """With a constant rate: to the last bit. The finished run is unfinished and finishes again, its baseline too."""
    fields = [*SHORT, "--optim.schedule", "constant"]
    assert cli.main([*fields, "--steps", "6", "--no-baseline", "--out", str(tmp_path / "whole")]) == 0
    run = tmp_path / "run"
    assert cli.main([*fields, "--steps", "3", "--baseline", "--out", str(run)]) == 0
    assert cli.main(["--resume", "--out", str(run), "--steps", "6"]) == 0
    assert "goes on to 6 steps in place of 3" in capfd.readouterr().out
    assert tensors(run, 6) == tensors(tmp_path / "whole", 6)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["step"] == summary["baseline"]["step"] == 6 and "extended" not in summary
    assert json.loads((run / "summary.3-steps.json").read_text())["step"] == 3
    assert json.loads((run / "status.json").read_text())["steps"] == 6
    assert cli.main(["--resume", "--out", str(run)]) == 0 and "is finished" in capfd.readouterr().out
    assert cli.main(["--resume", "--out", str(run), "--steps", "5"]) == 2


@pytest.mark.slow
def test_a_run_is_extended_only_where_that_was_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture):
    run = tmp_path / "run"
    assert cli.main([*SHORT, "--steps", "3", "--no-baseline", "--out", str(run)]) == 0
    before = (run / "config.yaml").read_text()
    assert cli.main(["--resume", "--out", str(run), "--steps", "6"]) == 2
    assert "--extend plans the rest anew" in capfd.readouterr().err and (run / "summary.json").exists()
    assert (run / "config.yaml").read_text() == before
    for _ in range(2):  # the same command again finds it finished
        assert cli.main(["--resume", "--extend", "--out", str(run), "--steps", "6"]) == 0
    summary = json.loads((run / "summary.json").read_text())
    assert summary["step"] == 6 and summary["extended"] == [{"from": 3, "steps": [3, 6]}]
    rates = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if '"lr"' in line]
    assert [line["step"] for line in rates] == [1, 2, 3, 4, 5, 6]
    assert rates[3]["lr"] > rates[2]["lr"]  # the cosine of 6 steps, from the fourth on


def test_extend_belongs_to_resume(capfd: pytest.CaptureFixture):
    assert cli.main(["--extend", "--steps", "9"]) == 2
    assert "--extend: plans the rest of a run anew; give --resume" in capfd.readouterr().err


def test_the_weights_of_a_run_are_what_is_compared(run: Path, tmp_path: Path):
    assert checksum(run) == checksum(run / "checkpoints" / "step-30") != checksum(run / "checkpoints" / "step-20")
    assert checksum(tmp_path / "missing") is None


def test_an_add_on_that_came_later_strands_no_run(tmp_path: Path):
    """Registered by a plug-in, or built in by a later version: a run without it goes on without it."""
    cfg = begun(tmp_path)
    with registered(later=Once):
        check_same(config(*CONSTANT, "--out", tmp_path), tmp_path)
        asked = config(*CONSTANT, "--addons.later.weight", "1", "--out", tmp_path)
        assert refused(asked, tmp_path) == [
            f"addons.later: is not part of the run in {tmp_path}; use another --out (and --init)"
        ]
    check_same(cfg, tmp_path)


def test_a_longer_run_of_an_earlier_version_goes_on_again_by_the_same_command(tmp_path: Path):
    cfg = begun(tmp_path)
    content = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del content["schema"], content["addons"]["aum"], content["content"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**content, "auxiliary": {}}))
    for _ in range(2):
        longer = as_begun(config(*CONSTANT, "--steps", str(cfg.steps + 5), "--out", tmp_path))
        assert longer.addons.aum.record == "off"
        check_same(longer, tmp_path, longer=True)
        lengthen(longer, extend=False)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["steps"] == cfg.steps + 5


def test_an_evaluation_that_a_method_reads_makes_a_longer_run_another(tmp_path: Path):
    fields = ["--algorithm", "policy-mixmatch", "--algorithm.policy", "percentile-held-out", "--algorithm.ramp", "0",
              "--data.held-out", "10", "--steps", "50"]  # fmt: skip
    cfg = begun(tmp_path, *fields, "--eval.every", "20")
    assert "eval.every=20" in refused(changed(cfg, steps=90), tmp_path, longer=True)[0]
    cfg = begun(tmp_path, *fields, "--eval.every", "25")
    check_same(changed(cfg, steps=90), tmp_path, longer=True)


def test_a_run_of_an_earlier_version_says_that_its_layers_draw_anew():
    drawing, plain = (build(ModelConfig(name="small", dropout=rate), 2, 16) for rate in (0.5, 0.0))
    (line,) = drawn_anew(drawing, {"schema": 1, "step": 20})
    assert line.startswith("Begun by an earlier version: from step 21 on its dropout") and "\n" not in line
    assert len(drawn_anew(drawing, {"step": 20})) == 1  # version 0.1.0 wrote no schema
    assert drawn_anew(drawing, {"schema": 2, "step": 20}) == drawn_anew(plain, {"step": 20}) == []
    assert drawn_anew(Dropout(0.0), {"step": 0}) == []
