"""What is made of each image: the label, and who agrees with it; the same as predictions of the same checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch

from semisonic.daily.passes.images import CHANGED, ROOT, Known
from semisonic.daily.passes.job import _write, left_out_of
from semisonic.daily.passes.makers import VIEWS, Embedder, Labeler, Maker
from semisonic.daily.passes.networks import Networks, find_networks, load_networks
from semisonic.daily.passes.work import Work, begin
from semisonic.inference.decoding import examined_here, predicted
from semisonic.inference.outputs import Wanted
from semisonic.inference.predict import predict
from semisonic.inference.reading import Reading
from semisonic.inference.sources import FileSources, Names
from semisonic.schema import UserError
from tests.support.image_folders import write_images
from tests.support.labeled_images import save_run, untrained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    save_run(folder / "run", folder / "data", snapshot_count=2)
    return folder / "run"


@pytest.fixture(scope="module")
def networks(run: Path) -> Networks:
    return load_networks(find_networks(run), torch.device("cpu"))


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    write_images(tmp_path / "new", [f"{number}.png" for number in range(5)])
    return sorted((tmp_path / "new").iterdir())


def known(paths: list[Path]) -> Known:
    sources = FileSources(ROOT, Names(map(str, paths)))
    keys = examined_here(Reading(), sources, range(len(paths))).keys
    assert keys is not None
    return Known(sources, keys)


def done(maker: Maker, work: Work) -> dict[str, np.ndarray]:
    """What the only part of some work holds once it is done."""
    found = examined_here(Reading(), maker.images.sources, range(len(work.images)))
    _write(work, 0, *predicted(maker, found, lambda count: None))
    return {name: work.read(0, name)[0] for name in ("images", "top", "p", "views", "run", "features")}


def test_a_label_is_that_of_predict_and_views_and_snapshots_tell_its_probability(
    networks: Networks, paths: list[Path], tmp_path: Path
):
    work = begin(tmp_path / "w", {}, np.array([11, 12, 13, 17, 19]))
    found = done(Labeler(networks.main, known(paths), networks.snapshots, batch=3), work)
    assert found["images"].tolist() == work.images.tolist() and found["top"].shape == (5, 3)

    def predictions(network, views: int = 0) -> list[dict[str, float]]:
        return [dict(one.top) for one in predict(network, paths, 3, Wanted(views=views))]  # type: ignore[arg-type]

    plain = list(predict(networks.main, paths, 3, Wanted(features=True)))  # type: ignore[arg-type]
    labels = [networks.main.classes[number] for number in found["top"][:, 0]]
    assert labels == [one.label for one in plain]
    assert found["p"].tolist() == [[value for _, value in one.top] for one in plain]
    views = [own[label] for own, label in zip(predictions(networks.main, VIEWS), labels, strict=True)]
    assert found["views"] == pytest.approx(views, abs=1e-6)
    several = [predictions(network) for network in networks.snapshots]
    assert len(several) == 2
    run = [np.mean([own[number][label] for own in several]) for number, label in enumerate(labels)]
    assert found["run"] == pytest.approx(run, abs=1e-6) and not np.allclose(found["run"], found["p"][:, 0])
    features = np.stack([one.features for one in plain])  # type: ignore[misc]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    assert found["features"].dtype == np.float16
    assert np.allclose(found["features"], features, atol=1e-3)


def test_a_run_of_one_network_takes_its_own_probability_and_a_temperature_calibrates(
    networks: Networks, paths: list[Path], tmp_path: Path
):
    labeler = Labeler(networks.main, known(paths), (), networks.snapshots, temperature=2.0)
    found = done(labeler, work := begin(tmp_path / "w", {}, np.arange(5)))
    assert np.array_equal(found["run"], found["p"][:, 0])
    folds, calibrated = work.read(0, "folds", "calibrated")
    again = done(Labeler(networks.main, known(paths), networks.snapshots), begin(tmp_path / "v", {}, np.arange(5)))
    assert np.array_equal(folds, again["run"])
    softer = found["p"] ** 0.5
    assert calibrated == pytest.approx(softer[:, 0] / softer.sum(1), abs=1e-6)


def test_images_that_are_gone_or_changed_are_left_out_by_number(networks: Networks, paths: list[Path], tmp_path: Path):
    images = known(paths)
    paths[1].write_bytes(paths[0].read_bytes())
    paths[3].unlink()
    work = begin(tmp_path / "w", {}, np.array([2, 4, 6, 8, 10]))
    found = done(Labeler(networks.main, images), work)
    assert found["images"].tolist() == [2, 6, 10] and len(found["views"]) == 3
    assert left_out_of(work) == [(4, CHANGED), (8, "No such file or directory")]


def test_a_part_of_images_that_are_all_gone_is_done_too(networks: Networks, paths: list[Path], tmp_path: Path):
    images = known(paths[:1])
    paths[0].unlink()
    work = begin(tmp_path / "w", {}, np.array([2]))
    maker = Embedder(networks.main, images)
    _write(work, 0, *predicted(maker, examined_here(Reading(), images.sources, range(1)), lambda count: None))
    assert work.done(0) and work.read(0, "images")[0].tolist() == [] and len(left_out_of(work)) == 1


def test_the_networks_of_a_run_are_its_snapshots_or_else_the_checkpoints_that_it_kept(run: Path, tmp_path: Path):
    places = find_networks(run, [run])
    assert [path.name for path in places.snapshots] == ["step-1", "step-2"] and places.folds == (places.main,)
    trainer = untrained(tmp_path / "run", tmp_path / "data")
    for step in (1, 2):
        trainer.training_step.number = step
        trainer.save()
        trainer.checkpoint_writer.settle()
        with pytest.raises(UserError, match="run: is not finished; `train` continues it"):
            find_networks(tmp_path / "run")
        (tmp_path / "run" / "summary.json").write_text("{}")
        found = find_networks(tmp_path / "run")
        assert found.main.name == f"step-{step}" and len(found.snapshots) == (0, 2)[step - 1]
        (tmp_path / "run" / "summary.json").unlink()
