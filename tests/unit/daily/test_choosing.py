from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from semisonic.daily import choosing, facts
from semisonic.daily.passes.arrays import Features
from semisonic.daily.store import Store
from semisonic.schema import UserError
from tests.support.audits import give_scores, look
from tests.support.curation import blobs
from tests.support.daily import WHO, new_image

COUNT = 60


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Images 1 to 60 of day 1."""
    store = Store.create(tmp_path / "labels.db", ("cat", "dog", "owl"), WHO)
    store.add_images([new_image(tmp_path / "images", f"{i}.png") for i in range(1, COUNT + 1)], WHO)
    return store


@pytest.fixture
def project(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A project whose features are those of groups of images, without files or networks."""
    features, group = blobs(6, 20)
    ids = np.arange(1, len(group) + 1)
    own = SimpleNamespace(ranks=SimpleNamespace(from_main=lambda action: action()))
    monkeypatch.setattr(choosing, "features_for", lambda *_: Features(ids, features.astype(np.float16)))
    monkeypatch.setattr(choosing, "space_of", lambda project: project.run or "pixels")
    monkeypatch.setattr(choosing, "newest_run", lambda project: project.run)
    monkeypatch.setattr(choosing, "locked_session", lambda *_: _Held(own))
    return SimpleNamespace(store=lambda: Store.open(store.path), folder=tmp_path, run=None, group=group)


class _Held(SimpleNamespace):
    def __init__(self, value: SimpleNamespace):
        self.value = value

    def __enter__(self) -> SimpleNamespace:
        return self.value

    def __exit__(self, *_: object) -> None:
        pass


def choose(project: SimpleNamespace, count: int, how: str | None = None, seed: int = 0) -> list[int]:
    assert choosing.run(project, Namespace(count=count, how=how, seed=seed)) == 0
    return project.store().queue("farthest").tolist()


def group_of(project: SimpleNamespace, images: list[int]) -> list[int]:
    return sorted(project.group[np.array(images) - 1].tolist())


def next_day(store: Store, folder: Path) -> None:
    store.open_day()
    store.add_images([new_image(folder / "images", f"{i}.png") for i in range(COUNT + 1, 121)], WHO)


def test_on_the_first_day_typical_and_diverse_images_are_chosen(project, capsys):
    chosen = choose(project, 6)
    assert group_of(project, chosen) == [0, 1, 2, 3, 4, 5]
    out = capsys.readouterr().out
    assert "Chosen: 6 of 60 images, typical and diverse ones, by their pixels." in out
    assert "label them: semisonic daily" in out and "page" in out


def test_chosen_again_the_queue_holds_what_is_still_to_be_labeled(project, store):
    first = choose(project, 6)
    assert choose(project, 6) == first
    look(store, np.array(first[:4]), source="page:farthest")
    again = choose(project, 2)
    assert len(again) == 2 and not set(again) & set(first[:4])
    assert not set(group_of(project, again)) & set(group_of(project, first[:4])), "groups without a label come first"


def test_what_was_chosen_is_not_chosen_again_when_it_was_labeled_elsewhere(project, store):
    assert not facts.was_chosen(store)
    look(store, np.array(choose(project, 6)), source="import")
    assert facts.was_chosen(store)
    store.open_day()
    assert not facts.was_chosen(store)


def test_later_the_farthest_from_earlier_days_are_chosen(project, store, tmp_path, capsys):
    late = np.flatnonzero(project.group == 5) + 1
    early = [int(image) for image in late if image <= COUNT]
    look(store, np.array(early), answer="rejected")  # group 5 comes on day 2
    next_day(store, tmp_path)
    project.run = "day-001"
    chosen = choose(project, 5)
    assert min(chosen) > COUNT and group_of(project, chosen) == [5] * 5
    assert "those farthest from all earlier days, by the features of day-001" in capsys.readouterr().out


def test_random_and_least_sure_images(project, store, tmp_path, capsys):
    next_day(store, tmp_path)
    drawn = choose(project, 10, "random", seed=3)
    assert min(drawn) > COUNT and drawn == choose(project, 10, "random", seed=3) != choose(
        project, 10, "random", seed=4
    )
    give_scores(store, 120, 10)
    chosen = choose(project, 6, "least-sure")
    assert group_of(project, chosen) == [0, 1, 2, 3, 4, 5] and chosen[0] == 120
    give_scores(store, 10, 1)
    look(store, np.arange(1, 11))
    with pytest.raises(UserError, match="choose: day-001 has labeled none of the images that there are to choose from"):
        choose(project, 6, "least-sure")
    assert len(choose(project, 500, "random")) == 60
    assert "Chosen: 60 (there are no 500) of 60 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("how", "message"),
    [("farthest", "no images of an earlier day"), ("least-sure", "no run has labeled the images yet")],
)
def test_ways_that_cannot_be_gone_yet_are_refused(project, how, message):
    with pytest.raises(UserError, match=f"choose: .*{message}.*--how typical"):
        choose(project, 5, how)


def test_there_is_nothing_to_choose_where_people_have_decided_all(project, store):
    look(store, np.arange(1, COUNT + 1))
    with pytest.raises(UserError, match="people have decided all images"):
        choose(project, 5)
