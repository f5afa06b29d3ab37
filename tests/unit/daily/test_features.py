"""Features of a project's images: made once, extended by what is new, and by the network that they say."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from semisonic.daily import features, pixels
from semisonic.daily.features import INIT, PIXELS, embed, features_for, newest_run, open_features, space_of
from semisonic.daily.passes.makers import Embedder
from semisonic.daily.project import Project
from semisonic.daily.store import ANY, Change, State
from semisonic.inference.classifier import load_classifier
from semisonic.inference.outputs import Wanted
from semisonic.inference.predict import predict
from semisonic.schema import UserError
from tests.support.image_folders import write_images
from tests.support.labeled_images import add_images, make_project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Project:
    """A copy, whose images lie where they were."""
    shutil.copytree(made / "project", tmp_path / "project")
    return Project.open(tmp_path / "project")


def count_embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    own = Embedder.outputs

    def outputs(self, found, check):
        counted.append(len(found.rows))
        return own(self, found, check)

    monkeypatch.setattr(Embedder, "outputs", outputs)
    return counted


def test_new_images_alone_go_through_the_network(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    counted = count_embedded(monkeypatch)
    assert newest_run(project) == "day-001" == space_of(project) and open_features(project, "day-001") is None
    first = embed(project, "day-001")
    assert counted == [12] and first.ids.tolist() == list(range(1, 13))
    write_images(tmp_path / "tuesday", [f"{number}.png" for number in range(4)])
    paths = sorted((tmp_path / "tuesday").iterdir())
    add_images(project, paths)
    (tmp_path / "tuesday" / "3.png").unlink()
    with project.store() as store:
        store.record([Change(13, State.REJECTED, None, ANY)], "me", "command")
    second = embed(project, "day-001")
    assert counted == [12, 2] and second.ids.tolist() == [*range(1, 13), 14, 15]
    assert np.array_equal(second.rows[:12], first.rows)
    assert capsys.readouterr().err == f"left out: {paths[3]}: No such file or directory\n"
    network = load_classifier(project.runs / "day-001")
    whole = np.stack([one.features for one in predict(network, paths[1:3], wanted=Wanted(features=True))])  # type: ignore[misc]
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    assert np.allclose(second.of(np.array([14, 15])), whole, atol=1e-3)
    paths[1].unlink()  # what is there needs no file
    assert len(embed(project, "day-001").ids) == 14 and not list(project.features.glob("*.parts"))


def test_features_of_another_network_are_made_anew(project: Project, monkeypatch: pytest.MonkeyPatch, made: Path):
    project.settings.fields["init"] = str(project.runs / "day-001")
    first = features_for(project, INIT)
    assert np.array_equal(first.rows, embed(project, "day-001").rows)
    other = sorted((project.runs / "day-001" / "snapshots").iterdir())[0]
    project.settings.fields["init"] = str(other)
    counted = count_embedded(monkeypatch)
    monkeypatch.setattr(features, "_complete", lambda *_: None)  # a step at work looks at the network
    second = features_for(project, INIT)
    assert counted == [12] and not np.array_equal(first.rows, second.rows)


def test_on_the_first_day_pixels_have_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_images(tmp_path / "camera", [f"{number}.png" for number in range(6)])
    project = Project.create(tmp_path / "project", ("a", "b"), 16)
    add_images(project, sorted((tmp_path / "camera").iterdir()))
    assert newest_run(project) is None and space_of(project) == PIXELS
    found = features_for(project, PIXELS)
    assert found.rows.shape == (6, 6) and np.allclose(np.linalg.norm(found.of(found.ids), axis=1), 1, atol=1e-3)
    write_images(tmp_path / "more", [f"{number}.png" for number in range(3)])
    add_images(project, sorted((tmp_path / "more").iterdir()))
    again = features_for(project, PIXELS)
    assert np.array_equal(again.rows[:6], found.rows) and len(again.ids) == 9  # by the same components
    write_images(tmp_path / "many", [f"{number}.png" for number in range(12)])
    add_images(project, sorted((tmp_path / "many").iterdir()))
    assert features_for(project, PIXELS).rows.shape == (21, 21)  # those of few images do not fit many
    monkeypatch.setattr(pixels, "FITTED", 5)
    assert len(pixels.sample(np.arange(9))) == 5


def test_without_images_that_can_be_used_there_is_one_line(tmp_path: Path):
    project = Project.create(tmp_path / "project", ("a", "b"), 16)
    for _ in range(2):
        with pytest.raises(UserError, match="project: has no images that can be used; `add` some"):
            features_for(project, PIXELS)
        write_images(tmp_path / "camera", "a.png")
        add_images(project, [tmp_path / "camera" / "a.png"])
        (tmp_path / "camera" / "a.png").unlink()
    write_images(tmp_path / "camera", "a.png")
    alone = features_for(project, PIXELS)
    assert alone.ids.tolist() == [1] and alone.rows.tolist() == [[0]]


def test_a_run_that_is_not_there_or_not_finished_has_no_features(project: Project):
    with pytest.raises(UserError, match="day-009: is not finished"):
        embed(project, "day-009")
    (project.runs / "day-001" / "summary.json").unlink()
    assert newest_run(project) is None
