"""The audit of a run's labels: which images are drawn, and what people's looks at them tell.

An audit is of the labels that one run gave to the images of a day that no person had decided by then. It is drawn
before anyone sees which labels are suspicious; a second draw adds to it. What a person labeled before a training says
nothing of that network, and audits of different runs are never added up.

An image that a person cannot tell (unsure) is left out of the figures; one that is of no class (rejected) has a wrong
label.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from semisonic.curation import audit
from semisonic.curation.audit import Audit, ClassPrecision, Strata
from semisonic.curation.intervals import Estimate
from semisonic.daily.audit_result import AuditResult
from semisonic.daily.audit_words import days_text, sentences, warning_light
from semisonic.daily.store import LOOKED, PERSON, AuditRow, AuditRows, Current, Scores, State, Store
from semisonic.daily.store.packing import pack_ids, unpack_ids
from semisonic.daily.store.queues import AUDIT
from semisonic.schema import UserError
from semisonic.text import name_of

if TYPE_CHECKING:
    from semisonic.daily.project import Project

HALF_WIDTH = 0.02
"""To which the report says how many more looks lead."""
SEEN = ("page:suspicious", "page:given", "page:free", "page:sweep", "page:accept")
"""Where a look comes from that may have followed the network's scores."""
DOUBTFUL = 2
"""Strata, of five, whose labels are called doubtful; the others are the sure ones."""


# Drawing.


def draw(
    project: "Project", store: Store, run: str, n: int | None = None, days: str | Sequence[int] = "newest"
) -> int | None:
    """Draws n images (default: as many as the project's settings say) for the audit of a run's labels, and puts those
    that nobody has looked at into the queue `audit`, in place of those that wait for another run's. Returns the
    audit's number; None where there is nothing to draw.

    days: "newest" of those with labels of the run, "all", or their numbers. Raises `UserError` where the run's labels
    are not the current ones, and where people have seen the network's scores before a first draw.
    """
    n = project.settings.audit if n is None else n
    if n < 1:
        return None
    with store.transaction():
        scores, current = store.scores(), store.current()
        if scores.run != run:
            newest = f"those of {name_of(scores.run)} are current" if scores.run else "no run has labeled images yet"
            raise UserError(f"audit: the labels of {name_of(run)} cannot be drawn from; {newest}")
        numbers = [newest_day(current, scores.image)] if days == "newest" else _days(store, days)
        of = days_text(numbers)
        earlier = [one for one in store.audits(run) if one.details["of"] == of]
        images = unpack_ids(earlier[0].details["images"]) if earlier else _population(store, current, run, numbers)
        if not len(images):
            return None
        place = places(scores, images)
        if place is None:
            raise UserError(made_anew(run))
        cut = audit.strata(scores.certainty[place])
        taken = [store.audit_rows(one.id).image for one in earlier]
        if not all(is_same(one, cut) for one in earlier):
            raise UserError(made_anew(run))
        rows = np.searchsorted(images, np.concatenate(taken)) if taken else None
        if rows is not None and len(rows) >= len(images):
            return None
        seed = earlier[0].seed if earlier else numbers[-1]
        drawn = audit.draw(cut, n, seed, rows)
        details = {
            "of": of, "days": numbers, "sizes": cut.sizes_S.tolist(), "means": cut.means_S.tolist(),
            "confidence": float(scores.confidence[place].mean()), "images": pack_ids(images),
        }  # fmt: skip
        found = place[drawn.rows]
        columns = (images[drawn.rows], drawn.stratum, scores.class_id[found], scores.certainty[found])
        number = store.new_audit(
            run, numbers[-1], drawn.method, seed, len(images), details, zip(*(c.tolist() for c in columns), strict=True)
        )
        if number == store.audits(run)[0].id:
            store.empty_queue(AUDIT)  # what waits there was drawn for another run, of which it says no more
        open_ones = np.isin(images[drawn.rows], current.image[np.isin(current.state, list(LOOKED))], invert=True)
        store.put_queue(AUDIT, images[drawn.rows][open_ones].tolist(), store.day)
    return number


def newest_day(current: Current, images: np.ndarray) -> int:
    """Of images that a run has labeled; 0: there are none. Others may have come since it began."""
    return int(current.day[np.isin(current.image, images)].max(initial=0))


def _days(store: Store, days: str | Sequence[int]) -> list[int]:
    found = sorted(store.day_of_images())
    if isinstance(days, str):
        return found
    if missing := sorted(set(days) - set(found)):
        raise UserError(f"days: no images came on day {missing[0]}; give newest, all, or some of {found}")
    return sorted(days)


def _population(store: Store, current: Current, run: str, days: Sequence[int]) -> np.ndarray:
    """The images of these days that the run has labeled and no person has decided. Raises `UserError` where people have
    decided some since then that they may have chosen by the network's scores: what is left would look too good."""
    scores = store.scores()
    labeled = np.isin(current.image, scores.image[scores.class_id >= 0])  # not of a class that was retired since
    labeled &= np.isin(current.day, days)
    decided = np.isin(current.state, list(LOOKED))
    marks = ", ".join("?" * len(SEEN))
    seen = store.connection.execute(
        "SELECT DISTINCT image FROM event WHERE kind = 'label' AND image IS NOT NULL AND id > "
        f"(SELECT min(id) FROM event WHERE kind = 'auto' AND run = ?) AND source IN ({marks}) AND state != ?",
        (run, *SEEN, int(State.GIVEN)),  # given: no label of the network was shown
    ).fetchall()
    looked = np.isin(current.image[labeled & decided], np.array([image for (image,) in seen], np.int64)).sum()
    if looked:
        raise UserError(
            f"audit: {looked:,} labels of {days_text(days)} were looked at since {name_of(run)} gave them, before an "
            "audit was drawn: what is left would look too good; train and label again, which draws it first"
        )
    return current.image[labeled & ~decided]


def is_same(drawn: AuditRow, cut: Strata) -> bool:
    """Whether the scores are those that an audit was drawn by."""
    return drawn.details["sizes"] == cut.sizes_S.tolist() and np.allclose(drawn.details["means"], cut.means_S)


def made_anew(run: str) -> str:
    return f"audit: {name_of(run)} was made anew since its audit was drawn; nothing can be added to it"


def places(scores: Scores, images: np.ndarray) -> np.ndarray | None:
    """Where images stand among the scores; None where one has none any more. A run that labels again, as when images of
    another day have come, leaves out those that were rejected since."""
    found = np.searchsorted(scores.image, images)
    there = found < len(scores.image)
    return found if there.all() and np.array_equal(scores.image[found], images) else None


# Estimating.


@dataclass(frozen=True, eq=False)
class Looked:
    """The images of an audit that was drawn, and what people say of them by now."""

    row: AuditRow
    rows: AuditRows
    state: np.ndarray
    person_class: np.ndarray

    @property
    def answered(self) -> np.ndarray:
        """bool: those that say whether a label is right. Of a class that is no more, no label is right or wrong."""
        return np.isin(self.state, [*PERSON, State.REJECTED]) & (self.rows.class_id >= 0)

    @property
    def right(self) -> np.ndarray:
        return np.isin(self.state, list(PERSON)) & (self.person_class == self.rows.class_id)

    def audit(self) -> Audit:
        details, use = self.row.details, self.answered
        return audit.counted(
            self.row.run, details["of"], self.row.method, np.array(details["sizes"]), np.array(details["means"]),
            self.rows.stratum[use], self.right[use],
        )  # fmt: skip


def looks_of(store: Store, run: str, current: Current | None = None) -> list[Looked]:
    """All audits of a run. A drawn image that a person had decided before, as in a second draw, counts as looked at."""
    now = store.current() if current is None else current
    found = []
    for row in store.audits(run):
        rows = store.audit_rows(row.id)
        place = np.searchsorted(now.image, rows.image)
        before = (rows.event == 0) & np.isin(now.state[place], list(LOOKED))
        state = np.where(before, now.state[place], rows.state)
        own = np.where(before & np.isin(now.state[place], list(PERSON)), now.class_id[place], rows.person_class)
        found.append(Looked(row, rows, state, own))
    return found


def estimate(store: Store, run: str | None = None) -> AuditResult | None:
    """What the audits of a run (default: the one whose labels are current) tell so far; None where none of its drawn
    images is looked at."""
    run = store.run if run is None else run
    if run is None:
        return None
    current = store.current()
    found = looks_of(store, run, current)
    if not sum(int(one.answered.sum()) for one in found):
        return None
    whole = audit.add_up([one.audit() for one in found])
    of = days_text(sorted({day for one in found for day in one.row.details["days"]}))
    labels, confidence = whole.estimate(), _confidence(found)
    handed_out, by_people = _handed_out(store, run, found, current)
    people, first, last = _who_and_when(store, found)
    names = {row.id: row.name for row in store.classes()}
    state = np.concatenate([one.state for one in found])
    result = AuditResult(
        run=run, of=of, labels=labels, handed_out=handed_out, by_people=by_people,
        sure=_part(whole, found, sure=True), doubtful=_part(whole, found, sure=False),
        confidence=confidence, warning=warning_light(confidence, labels),
        drawn=len(state), looked=int(np.isin(state, list(LOOKED)).sum()), unsure=int((state == State.UNSURE).sum()),
        blind=int(sum(one.rows.blind.sum() for one in found)), people=people, first=first, last=last,
        more=audit.more_for(whole, HALF_WIDTH), classes=_classes(found, list(names)), names=names, pairs=_pairs(found),
    )  # fmt: skip
    return replace(result, words=sentences(result))


def _first_of_each(found: Sequence[Looked]) -> dict[str, Looked]:
    """One audit for each set of labels that was drawn from, in the order in which `add_up` has their strata."""
    each: dict[str, Looked] = {}
    for one in found:
        each.setdefault(one.row.details["of"], one)
    return each


def _confidence(found: Sequence[Looked]) -> float:
    each = _first_of_each(found).values()
    weights = [one.row.population for one in each]
    return float(np.average([one.row.details["confidence"] for one in each], weights=weights))


def _part(whole: Audit, found: Sequence[Looked], sure: bool) -> Estimate | None:
    """Of the doubtful or the sure strata; None where there are too few looks, or no such strata."""
    index = np.concatenate([np.arange(len(one.row.details["sizes"])) for one in _first_of_each(found).values()])
    chosen = (index >= DOUBTFUL) == sure
    if not chosen.any() or whole.looked_S[chosen].sum() < audit.TOO_FEW:
        return None
    columns = (whole.sizes_S, whole.means_S, whole.right_S, whole.looked_S)
    return audit.estimate(*(column[chosen] for column in columns))


def _classes(found: Sequence[Looked], classes: list[int]) -> list[ClassPrecision]:
    each = _first_of_each(found)
    sizes = [np.array(one.row.details["sizes"]) for one in each.values()]
    offset = dict(zip(each, np.cumsum([0, *map(len, sizes)]).tolist(), strict=False))
    label = np.concatenate([one.rows.class_id[one.answered] for one in found])
    right = np.concatenate([one.right[one.answered] for one in found])
    stratum = np.concatenate([one.rows.stratum[one.answered] + offset[one.row.details["of"]] for one in found])
    return audit.per_class(label, right, stratum, np.concatenate(sizes), classes)


def _pairs(found: Sequence[Looked]) -> list[tuple[int, int, int]]:
    pairs: Counter[tuple[int, int]] = Counter()
    for one in found:
        wrong = one.answered & ~one.right & (one.person_class >= 0)
        pairs.update(zip(one.rows.class_id[wrong].tolist(), one.person_class[wrong].tolist(), strict=True))
    return [(*pair, count) for pair, count in pairs.most_common()]


def _who_and_when(store: Store, found: Sequence[Looked]) -> tuple[tuple[str, ...], date | None, date | None]:
    events = [int(event) for one in found for event in one.rows.event[one.answered] if event]
    if not events:
        return (), None, None
    rows = store.connection.execute(
        "SELECT DISTINCT who, substr(at, 1, 10) FROM event WHERE id IN (SELECT value FROM json_each(?))", (str(events),)
    ).fetchall()
    days = sorted(date.fromisoformat(at) for _, at in rows)
    return tuple(sorted({who for who, _ in rows})), days[0], days[-1]


def _handed_out(store: Store, run: str, found: Sequence[Looked], current: Current) -> tuple[Estimate | None, int]:
    """The accuracy of all labels of the audited days as they are now, and how many of them are people's.

    Images that people decided outside of the audit are taken out of its strata. None where another run's labels are
    current, or its scores were made anew.
    """
    days = sorted({day for one in found for day in one.row.details["days"]})
    people = np.isin(current.state, list(PERSON)) & np.isin(current.day, days)
    scores = store.scores()
    audits = []
    for of in _first_of_each(found):
        own = [one for one in found if one.row.details["of"] == of]
        left = _after_review(own, scores, current) if scores.run == run else None
        if left is None:
            return None, int(people.sum())
        audits.append(left)
    whole = audit.add_up(audits)
    if not whole.n:
        return None, int(people.sum())
    blind = [one.answered & one.rows.blind for one in found]
    drawn = np.concatenate([one.rows.image[use] for one, use in zip(found, blind, strict=True)])
    rejected = sum(int((one.state[use] == State.REJECTED).sum()) for one, use in zip(found, blind, strict=True))
    reviewed = (people & ~np.isin(current.image, drawn)).sum()
    if whole.sizes_S.sum() + reviewed == rejected:
        return None, 0  # there are no labels
    return audit.handed_out(whole, reviewed, rejected=rejected), int(people.sum())


def _after_review(own: Sequence[Looked], scores: Scores, current: Current) -> Audit | None:
    """The audit of one set of labels without what people decided elsewhere; None where its scores were made anew."""
    details = own[0].row.details
    images = unpack_ids(details["images"])
    place = places(scores, images)
    if place is None:
        return None
    certainty = scores.certainty[place]
    cut = audit.strata(certainty)
    if not is_same(own[0].row, cut):
        return None
    drawn = np.concatenate([one.rows.image[one.answered & one.rows.blind] for one in own])
    right = np.concatenate([one.right[one.answered & one.rows.blind] for one in own])
    audited = np.isin(images, drawn)
    elsewhere = np.isin(images, current.image[np.isin(current.state, list(LOOKED))]) & ~audited
    stratum = audit.apart_from_review(cut.stratum_N, scores.suspicion[place], audited, elsewhere)
    count = int(stratum.max()) + 1
    means = np.bincount(stratum, certainty, count) / np.bincount(stratum, minlength=count)
    sizes = np.bincount(stratum[~elsewhere], minlength=count)
    simple = all(one.row.method == "simple" for one in own)
    return audit.counted(
        own[0].row.run,
        details["of"],
        "simple" if simple else "stratified",
        sizes,
        means,
        stratum[np.searchsorted(images, drawn)],
        right,
    )


def figures(result: AuditResult) -> dict[str, Any]:
    """An audit's outcome for JSON, such as the details of what is accepted by it."""
    found = result.labels
    return {
        "of": result.of, "run": result.run, "right": found.value, "low": found.low, "high": found.high,
        "looks": found.n, "labels": found.population, "method": found.method,
    }  # fmt: skip
