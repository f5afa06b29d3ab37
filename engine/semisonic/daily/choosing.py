"""`daily PROJECT choose`: the images that people are to label before the day's training, in the queue `farthest`.

On the first day, without a network, typical and diverse ones; later those of the day that lie farthest from all earlier
days, where a class that is new shows. Chosen again, the queue is filled anew: the same images, but for what was labeled
since.
"""

from argparse import Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from semisonic.curation import choice
from semisonic.daily.facts import CHOSEN, shown_folder
from semisonic.daily.features import INIT, PIXELS, features_for, newest_run, space_of
from semisonic.daily.labeling.scores import earlier_sample
from semisonic.daily.passes.arrays import Features
from semisonic.daily.passes.job import locked_session
from semisonic.daily.store import LOOKED, PERSON, State, Store
from semisonic.daily.store.queues import FARTHEST, title_of
from semisonic.schema import ExitCode, UserError
from semisonic.text import name_of

if TYPE_CHECKING:
    from semisonic.daily.project import Project

TYPICAL, RANDOM, LEAST_SURE = "typical", "random", "least-sure"
SAID = {
    TYPICAL: "typical and diverse ones",
    FARTHEST: "those farthest from all earlier days",
    RANDOM: "random ones",
    LEAST_SURE: "the least sure of each group",
}


@dataclass(frozen=True, eq=False)
class Plan:
    """What is chosen from, the same on all ranks."""

    how: str
    space: str | None
    """Of the features; None: none are needed."""
    images: np.ndarray
    """int64 [N]: those that no person has decided, of the newest day or, for typical and least sure, of all."""
    others: np.ndarray
    """Those that they are compared with: labeled by people (typical), or of earlier days (farthest)."""


def run(project: "Project", args: Namespace) -> ExitCode:
    """Chooses, on all ranks. args: count, how, seed. Raises `UserError`, before any work, and `Stopped`."""
    with locked_session(project, "choose") as own:
        plan = own.ranks.from_main(lambda: planned(project, args.how))
        features = None if plan.space is None else features_for(project, plan.space, own)
        own.ranks.from_main(lambda: _fill(project, plan, features, args))
    return ExitCode.OK


def planned(project: "Project", how: str | None) -> Plan:
    """Raises `UserError` where a way cannot be gone."""
    with project.store() as store:
        current, labels_of = store.current(), store.run
        newest, state = current.day == store.day, current.state
    run_name = newest_run(project)
    if how is None:
        how = FARTHEST if run_name is not None and (~newest).any() and newest.any() else TYPICAL
    free = ~np.isin(state, list(LOOKED))
    earlier = ~newest & (state != State.REJECTED)
    problem = ""
    if how == FARTHEST and not earlier.any():
        problem = "there are no images of an earlier day that others could lie far from; choose --how typical"
    elif how == LEAST_SURE and labels_of is None:
        problem = "no run has labeled the images yet, so none is less sure than others; choose --how typical"
    elif not (free & newest if how in (FARTHEST, RANDOM) else free).any():
        problem = "people have decided all images that there are to choose from; `add` new ones"
    if problem:
        raise UserError(f"choose: {problem}")
    images = current.image[free & newest if how in (FARTHEST, RANDOM) else free]
    others = current.image[np.isin(state, list(PERSON)) if how == TYPICAL else earlier]
    space = None if how == RANDOM else labels_of if how == LEAST_SURE else space_of(project)
    return Plan(how, space, images, others if how in (TYPICAL, FARTHEST) else others[:0])


def choose(store: Store, plan: Plan, features: Features | None, count: int, seed: int) -> np.ndarray:
    """The images chosen, the most useful first: int64, at most `count`. Those without features are none of them."""
    images, others = plan.images, plan.others
    if features is None:
        return np.random.default_rng(seed).permutation(images)[:count]
    images, others = (ids[features.places(ids) >= 0] for ids in (images, others))
    if not len(images):
        raise UserError("choose: no image that could be chosen can be read; `check` names those that are gone")
    if plan.how == TYPICAL:
        both = np.concatenate([images, others])
        labeled = np.arange(len(both)) >= len(images)
        half = features.rows[features.places(both)]  # as they are kept: of a million images twice as much is gigabytes
        return both[choice.typical(half, count, labeled, seed)]
    if plan.how == FARTHEST:
        if not len(others):
            raise UserError("choose: no image of an earlier day can be read; choose --how typical")
        some = earlier_sample(others, seed)
        return images[choice.farthest(features.of(images), features.of(some), count, seed)]
    scores = store.scores()
    images = np.intersect1d(images, scores.image)
    if not len(images):
        raise UserError(
            f"choose: {name_of(plan.space or '')} has labeled none of the images that there are to choose from"
        )
    surest_last = -scores.suspicion[np.searchsorted(scores.image, images)]
    return images[choice.least_sure_per_cluster(features.of(images), surest_last, count, seed=seed)]


def _fill(project: "Project", plan: Plan, features: Features | None, args: Namespace) -> None:
    with project.store() as store:
        chosen = choose(store, plan, features, args.count, args.seed)
        with store.transaction():
            store.empty_queue(FARTHEST)
            store.put_queue(FARTHEST, chosen.tolist(), store.day)
            store.connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (CHOSEN, str(store.day)))
            title = title_of(FARTHEST, store.day)
    fewer = f" (there are no {args.count:,})" if len(chosen) < args.count else ""
    by = {None: "", PIXELS: ", by their pixels", INIT: ", by the features of the project's first network"}
    space = by.get(plan.space, f", by the features of {name_of(plan.space)}")
    print(f"Chosen: {len(chosen):,}{fewer} of {len(plan.images):,} images, {SAID[plan.how]}{space}.")
    print(f"They wait in the queue {title}; label them: semisonic daily {shown_folder(project.folder)} page")
