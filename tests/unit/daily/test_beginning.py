"""What a project begins with: classes, and fields that a training would take, checked before anything is made."""

from pathlib import Path

import pytest

from semisonic import cli
from semisonic.daily.beginning import DECIDED, classes_from, kept_fields
from semisonic.schema import UserError


def test_given_fields_are_kept_with_their_types():
    tokens = [
        "--data.size",
        "96",
        "--model",
        "small",
        "--steps",
        "200",
        "--optim.lr",
        "0.01",
        "--algorithm.threshold",
        "0.9",
        "--no-compile",
    ]
    size, fields, problems = kept_fields(tokens, ["a", "b"])
    assert (size, problems, fields["steps"], fields["compile"]) == (96, [], 200, "off")
    assert fields["model"] == {"name": "small"} and fields["optim"]["lr"] == 0.01
    assert fields["algorithm"] == {"name": "fixmatch", "threshold": 0.9, "weight": 1.0}
    assert fields["batch"] == {"labeled": 32, "unlabeled_ratio": 3}  # what is not given is a project's default


def test_all_mistakes_are_told_together():
    tokens = ["--stepz", "3", "--steps", "many", "--out", "x", "--data.csv", "y", "--resume", "--recipe", "digits"]
    _, _, problems = kept_fields(tokens, ["a", "a"])
    text = "\n".join(problems)
    for told in ("stepz: ", "steps: 'many'", "--out: a training lies in", "--data.csv: images are taken in by add", "--data.size: is",
                 "--resume: is for", "--recipe: is for", "data.classes: a more than once"):  # fmt: skip
        assert told in text, (told, problems)


@pytest.mark.parametrize("field", sorted(DECIDED))
def test_what_the_project_decides_is_refused(field: str):
    _, _, problems = kept_fields(["--data.size", "32", f"--{field}=1"], ["a", "b"])
    assert any(line.startswith(f"--{field}: {DECIDED[field]}") for line in problems)


def test_classes_of_a_folder(tmp_path: Path):
    for name in ("b", "a c", ".hidden", "<script>"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    assert classes_from(tmp_path) == ["<script>", "a c", "b"]
    with pytest.raises(UserError, match="has no sub-folders"):
        classes_from(tmp_path / "b")
    with pytest.raises(UserError, match="No such file"):
        classes_from(tmp_path / "none")


def test_a_mistake_makes_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert cli.daily([str(tmp_path / "p"), "init", "--classes", "a,b", "--who", "ann"]) == 2
    assert "--data.size: is missing" in capsys.readouterr().err and not any(tmp_path.iterdir())
