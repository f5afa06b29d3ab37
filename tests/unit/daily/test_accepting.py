import json
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from semisonic.daily import accepting
from semisonic.daily.auditing import draw
from semisonic.daily.store import State, Store
from semisonic.schema import UserError
from tests.support.audits import RUN, labeled_store, look
from tests.support.daily import WHO


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return labeled_store(tmp_path, images=400, wrong=60)


@pytest.fixture
def project(store: Store, tmp_path: Path) -> SimpleNamespace:
    settings = SimpleNamespace(audit=100)
    return SimpleNamespace(store=lambda: Store.open(store.path), folder=tmp_path, settings=settings)


def accept(project: SimpleNamespace, at_least: float, draw: bool = False) -> None:
    assert accepting.run(project, Namespace(command="accept", at_least=at_least, draw=draw, who=WHO)) == 0


def test_the_part_that_the_audit_backs_is_accepted_with_its_figures(project, store, capsys):
    draw(project, store, RUN, n=250)
    look(store, store.queue("audit"))
    accept(project, 0.95)
    current = store.current()
    accepted = current.image[current.state == State.ACCEPTED]
    assert len(accepted) > 30 and accepted.max() <= 350
    details = json.loads(store.connection.execute("SELECT details FROM event WHERE kind = 'accept'").fetchone()[0])
    assert details["low"] >= 0.95 and details["of"] == "day 1" and details["looks"] > 90
    out = capsys.readouterr().out
    assert f"Accepted: {len(accepted)} labels of day-001, the surest of day 1." in out and "never trained on" in out
    assert f"certainty is at least {details['threshold']:.3f}" in out


def test_where_people_have_decided_all_there_is_nothing_to_accept(project, store, capsys):
    draw(project, store, RUN, n=250)
    look(store, store.queue("audit"))
    current = store.current()
    look(store, current.image[current.state == State.AUTO])
    accept(project, 0.95)
    assert capsys.readouterr().out.startswith("Nothing to accept: people have decided all ")
    assert store.connection.execute("SELECT count(*) FROM event WHERE kind = 'accept'").fetchone() == (0,)


def test_an_audit_that_is_too_small_is_refused_with_the_number_of_looks_that_would_do(project, store):
    draw(project, store, RUN, n=100)
    look(store, store.queue("audit"))
    with pytest.raises(
        UserError, match=r"accept: no part of the 400 labels .* right to 98.0 % .* about \d+ further looks"
    ):
        accept(project, 0.98)
    assert not len(store.queue("audit"))
    with pytest.raises(UserError, match=r"(\d+) images wait in the queue audit now: look at them, and accept again"):
        accept(project, 0.98, draw=True)
    waiting = len(store.queue("audit"))
    assert 20 < waiting < 300
    with pytest.raises(UserError, match=f"further looks would do; {waiting} images wait"):
        accept(project, 0.98, draw=True)
    look(store, store.queue("audit"))
    accept(project, 0.98)


def test_labels_that_are_not_that_good_are_refused(project, store):
    draw(project, store, RUN, n=400)
    look(store, store.queue("audit"), answer="owl")
    with pytest.raises(UserError, match=r"of the surest fifth 0.0 % are right .* label more images and train again"):
        accept(project, 0.98)


def test_nothing_backs_labels_before_people_look_at_the_audit(project, store):
    draw(project, store, RUN, n=100)
    with pytest.raises(UserError, match=r"nobody has looked at the audit of day-001 yet.* 100 images wait"):
        accept(project, 0.98)
    assert not store.connection.execute("SELECT count(*) FROM event WHERE kind = 'accept'").fetchone()[0]
