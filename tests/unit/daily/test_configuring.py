"""What a project's run is configured by: the command line over project.yaml over the recipe."""

from pathlib import Path

import pytest

from semisonic.daily.configuring import begun, parse
from semisonic.daily.project import Project
from semisonic.schema import UserError
from tests.support.daily_runs import CLASSES, FIELDS, SIDE, WHO, train_options


def project_with(folder: Path, **fields: object) -> Project:
    return Project.create(folder / "project", CLASSES, SIDE, FIELDS | fields, WHO)


def test_the_command_line_is_over_project_yaml_and_that_over_the_recipe(tmp_path: Path):
    project = project_with(tmp_path, optim={"lr": 0.5}, checkpoint={"every": 7})
    cfg = begun(project, parse(train_options("--steps", "9", "--optim.momentum", "0.5")), CLASSES, "day-001", None)
    assert (cfg.steps, cfg.optim.lr, cfg.optim.momentum, cfg.model.name) == (9, 0.5, 0.5, "small")
    assert cfg.checkpoint.every == 7 and cfg.checkpoint.snapshots == 10 and cfg.algorithm.weight == 10  # of the recipe
    assert cfg.data.labels is None and cfg.data.absent_classes == "warn" and cfg.data.size == SIDE
    assert cfg.data.root == project.folder and cfg.run_folder == project.runs / "day-001" and not cfg.baseline


def test_mistakes_beside_the_fields_are_told_with_theirs(tmp_path: Path):
    project = project_with(tmp_path)
    with pytest.raises(UserError) as caught:
        begun(project, parse(train_options("--steps", "0", "--init", "x")), CLASSES, "r", tmp_path, ["labels: none"])
    assert [line.partition(":")[0] for line in caught.value.messages] == ["labels", "--init", "steps", "init"]
    with pytest.raises(UserError, match="labels: none"):
        begun(project, parse(train_options()), CLASSES, "r", None, ["labels: none"])
