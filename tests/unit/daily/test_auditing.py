from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from semisonic.curation import audit
from semisonic.daily.accepting import backed
from semisonic.daily.auditing import draw, estimate, figures, looks_of
from semisonic.daily.store import ANY, Change, ScoreBatch, State
from semisonic.schema import UserError
from tests.support.audits import RUN, give_scores, labeled_store, look
from tests.support.daily import WHO, new_image

PROJECT = SimpleNamespace(settings=SimpleNamespace(audit=100))


def test_an_audit_is_drawn_of_labels_that_no_person_has_given(tmp_path: Path):
    store = labeled_store(tmp_path, labeled=40)
    number = draw(PROJECT, store, RUN)
    (row,) = store.audits(RUN)
    rows = store.audit_rows(number)
    assert (row.id, row.method, row.population, row.details["of"]) == (number, "stratified", 260, "day 1")
    assert len(rows) == 100 and rows.image.min() > 40
    assert sorted(store.queue("audit")) == rows.image.tolist() and store.queue("audit").tolist() != rows.image.tolist()
    assert (rows.class_id == np.where(rows.image > 270, 2, 1)).all()
    assert estimate(store) is None and estimate(store, "day-009") is None


def test_what_waits_in_the_audit_of_another_run_is_free_again(tmp_path: Path):
    store = labeled_store(tmp_path)
    draw(PROJECT, store, RUN)
    look(store, store.queue("audit")[:30])
    give_scores(store, 300, 30, "day-002")
    number = draw(PROJECT, store, "day-002")
    assert sorted(store.queue("audit")) == store.audit_rows(number).image.tolist()
    draw(PROJECT, store, "day-002", n=20)
    assert len(store.queue("audit")) == 120, "what is added to an audit stands behind it"


def test_an_audit_of_labels_that_were_made_anew_backs_nothing(tmp_path: Path):
    store = labeled_store(tmp_path)
    draw(PROJECT, store, RUN)
    look(store, store.queue("audit"))
    assert estimate(store).handed_out is not None
    scores = store.scores()
    columns = (scores.class_id, scores.runner_up, scores.confidence, scores.certainty**2, scores.suspicion)
    store.take_over(RUN, [ScoreBatch(scores.image, *columns, scores.distance)], WHO)
    assert estimate(store).handed_out is None
    with pytest.raises(UserError, match="day-001 was made anew since its audit was drawn"):
        backed(PROJECT, store, SimpleNamespace(command="accept", at_least=0.5, draw=False))


def test_the_result_is_told_in_sentences(tmp_path: Path):
    store = labeled_store(tmp_path, labeled=40)
    number = draw(PROJECT, store, RUN)
    look(store, store.queue("audit"))
    result = estimate(store)
    wrong = int((store.audit_rows(number).class_id == 2).sum())
    assert result.labels.n == result.looked == result.blind == result.drawn == 100
    assert result.labels.low < 230 / 260 < result.labels.high
    assert result.handed_out.population == 300 and result.by_people == 140
    assert result.handed_out.value > result.labels.value
    assert result.pairs == [(2, 1, wrong)] and result.names[2] == "dog"
    assert result.classes[0].n == 100 - wrong and result.classes[2].value is None
    assert result.sure.value > 0.98 and result.doubtful.value < 0.85
    assert result.words.startswith("Of the 300 labels of day 1, ")
    assert "estimated from 100 images that were drawn at random and checked by a person on " in result.words
    assert "140 of them are people's own; of the 260 that the network gave, " in result.words
    assert result.words.endswith("The network's own mean confidence, 74.3 %, is not a measurement.")
    assert "less sure than it is right" in result.warning
    assert figures(result)["looks"] == 100


def test_unsure_looks_are_left_out_and_rejected_images_have_a_wrong_label(tmp_path: Path):
    store = labeled_store(tmp_path, wrong=0)
    draw(PROJECT, store, RUN)
    queue = store.queue("audit")
    look(store, queue[:4], answer="unsure")
    look(store, queue[4:10], answer="rejected")
    look(store, queue[10:])
    result = estimate(store)
    assert (result.unsure, result.labels.n, result.looked) == (4, 96, 100)
    assert looks_of(store, RUN)[0].audit().right_S.sum() == 90
    assert "4 that a person could not tell are left out." in result.words
    assert result.handed_out.population == 290, "what is of no class, or unsure, has no label"
    assert result.handed_out.value == pytest.approx(result.labels.value * 296 / 290, abs=0.005)
    store = labeled_store(tmp_path / "all", images=20)
    draw(PROJECT, store, RUN)
    look(store, store.queue("audit"), answer="rejected")
    assert estimate(store).handed_out is None and estimate(store).labels.high == 0


def test_fewer_than_100_images_are_drawn_simply_and_that_is_said(tmp_path: Path):
    store = labeled_store(tmp_path)
    draw(PROJECT, store, RUN, n=60)
    look(store, store.queue("audit")[:50])
    result = estimate(store)
    assert result.labels.method == "simple" and result.labels.n == 50
    assert "Of the 60 images drawn, 10 are not checked yet." in result.words
    assert "With fewer than 100 images the draw is simply random, the interval Clopper and Pearson's." in result.words


def test_a_second_draw_adds_to_the_first_and_takes_no_image_twice(tmp_path: Path):
    store = labeled_store(tmp_path)
    draw(PROJECT, store, RUN)
    look(store, store.queue("audit"))
    suspicious = np.setdiff1d(np.arange(280, 301), looks_of(store, RUN)[0].rows.image)
    look(store, suspicious, source="page:suspicious")
    draw(PROJECT, store, RUN, n=150)
    first, second = looks_of(store, RUN)
    assert not np.intersect1d(first.rows.image, second.rows.image).size and len(second.rows) == 150
    before = np.isin(second.rows.image, suspicious)
    assert before.any() and second.answered[before].all(), "what was looked at before its draw counts"
    assert not np.intersect1d(store.queue("audit"), suspicious).size
    look(store, store.queue("audit"))
    result = estimate(store)
    assert result.labels.n == 250 and result.labels.low <= 0.9 <= result.labels.high
    assert f"{before.sum()} were checked where the network's guess was shown." in result.words
    assert draw(PROJECT, store, RUN, n=100) is not None and draw(PROJECT, store, RUN, n=100) is None
    look(store, store.queue("audit"))
    assert estimate(store).labels.value == estimate(store).labels.low == 0.9
    assert estimate(store).handed_out.low == 1.0


def test_an_audit_is_refused_once_people_have_seen_what_is_suspicious(tmp_path: Path):
    store = labeled_store(tmp_path)
    store.record([Change(298, State.GIVEN, 1, ANY)], WHO, "page:free")  # by who saw no label of the network
    look(store, np.array([300, 299]), source="page:suspicious")
    with pytest.raises(UserError, match=r"audit: 2 labels of day 1 were looked at since day-001 gave them"):
        draw(PROJECT, store, RUN)
    assert not store.audits(RUN) and not len(store.queue("audit"))
    assert draw(PROJECT, store, RUN, n=0) is None, "a project without audits goes on"


def test_labels_of_another_run_are_not_drawn_from(tmp_path: Path):
    store = labeled_store(tmp_path)
    with pytest.raises(UserError, match=r"the labels of day-002 cannot be drawn from; those of day-001 are current"):
        draw(PROJECT, store, "day-002")
    with pytest.raises(UserError, match="days: no images came on day 7"):
        draw(PROJECT, store, RUN, days=[7])


def test_audits_of_days_add_up_for_one_run_and_never_for_two(tmp_path: Path):
    store = labeled_store(tmp_path, images=200, wrong=20)
    draw(PROJECT, store, RUN)
    look(store, store.queue("audit"))
    store.open_day()
    store.add_images([new_image(tmp_path / "images", f"{i}.png") for i in range(201, 351)], WHO)
    give_scores(store, 350, 35, RUN)
    draw(PROJECT, store, RUN)
    look(store, store.queue("audit"))
    result = estimate(store, RUN)
    assert (result.of, result.labels.n, result.labels.population) == ("days 1 to 2", 200, 350)
    assert result.handed_out is None, "the first day's scores were made anew"
    give_scores(store, 350, 35, "day-002")
    assert estimate(store) is None
    assert estimate(store, RUN).labels == result.labels


def test_labels_that_were_made_anew_without_some_images_say_nothing_of_what_is_handed_out(tmp_path: Path):
    store = labeled_store(tmp_path, images=150, wrong=15)
    draw(PROJECT, store, RUN, n=100)
    look(store, store.queue("audit"))
    before = estimate(store)
    give_scores(store, 149, 15)
    after = estimate(store)
    assert after.labels == before.labels and before.handed_out is not None and after.handed_out is None
    with pytest.raises(UserError, match="audit: day-001 was made anew since its audit was drawn"):
        draw(PROJECT, store, RUN, n=10)
    with pytest.raises(UserError, match="audit: day-001 was made anew since its audit was drawn"):
        backed(PROJECT, store, SimpleNamespace(command="accept", at_least=0.5))


def test_labels_of_a_class_that_was_retired_are_not_drawn(tmp_path: Path):
    store = labeled_store(tmp_path, images=60, wrong=20)
    store.retire_class("dog", WHO)
    row = store.audit_rows(draw(PROJECT, store, RUN))
    assert store.audits(RUN)[0].population == len(row) == 40 and row.image.max() == 40


def test_a_label_that_was_corrected_since_counts_as_corrected(tmp_path: Path):
    store = labeled_store(tmp_path, wrong=0)
    draw(PROJECT, store, RUN)
    queue = store.queue("audit")
    look(store, queue, answer="dog")
    assert estimate(store).labels.value < 0.05
    look(store, queue, source="page:free", answer="cat")
    assert estimate(store).labels.value > 0.95


def test_the_estimate_of_what_is_handed_out_holds_after_a_review(tmp_path: Path):
    """The truth: all labels right but for the dogs that nobody has looked at."""
    inside = 0
    for seed in range(4):
        store = labeled_store(tmp_path / str(seed), images=200, wrong=30, run=f"day-{seed + 1:03d}")
        draw(PROJECT, store, store.run)
        look(store, store.queue("audit"))
        left = np.setdiff1d(np.arange(181, 201), looks_of(store, store.run)[0].rows.image)
        look(store, left, source="page:suspicious")
        result = estimate(store)
        current = store.current()
        wrong = (current.state == State.AUTO) & (current.class_id == 2)
        inside += result.handed_out.low <= 1 - wrong.sum() / 200 <= result.handed_out.high
        assert result.handed_out.half_width < audit.simple(90, 100).half_width
    assert inside >= 3
