"""Two ways through the same days: the project's loop, which trains on people's labels alone, and naive acceptance,
which takes every auto-label for the truth."""

import csv
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import semisonic
from daily_project import Simulated, flat
from daily_reviewer import Reviewer, unlabeled
from daily_stream import Day, Source, write_day
from semisonic.daily.store import State, Store
from semisonic.inference.classifier import Classifier

LOOKS, FARTHEST, RANDOM, SUSPICIOUS = 40, 10, 15, 15
"""Of a person on a day: in all, and by queue. On day 1, typical images take the place of farthest and random ones."""
ASKED = 20
"""Farthest images that are counted, of which a person looks at the first."""
AUDIT = 100
"""Looks of the auditor on a day, on top, which no network is trained on."""
STEPS = 200
TEST = 3000
"""Test images, at most."""


@dataclass
class DayResult:
    """Shares of right labels and predictions, from 0 to 1."""

    day: int
    handed_out: float
    """Of the day's labels, as they were given on it."""
    test: float
    """Of the day's network."""
    new_class: float | None = None
    """Of the auto-labels of the new class' images; None where there are none."""
    farthest: int | None = None
    """How many of the farthest images are of the new class."""
    audit: dict[str, Any] = field(default_factory=dict)
    """What the report tells of the labels that are handed out (`value`, `low`, `high`, `n`), and the `truth`."""
    auto: dict[str, Any] = field(default_factory=dict)
    """The same of the network's labels, before a person put any right."""
    suspicious: int | None = None
    """How many of the suspicious images that were looked at had a wrong label."""


@dataclass
class Outcome:
    """Of one way, on one seed."""

    days: list[DayResult]
    at_the_end: float
    """Share of right labels of all days' images, labeled by the last network; people's labels kept."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def fields(steps: int) -> dict[str, Any]:
    """Of the trainings of both ways, beside a project's defaults."""
    return {"steps": steps, "eval": {"every": steps}, "checkpoint": {"every": steps}}


def naive(source: Source, days: list[Day], new_class: int, folder: Path, seed: int, steps: int = STEPS) -> Outcome:
    """40 random looks a day; all other labels are the network's, and train the next one."""
    from semisonic.daily.defaults import under

    generator = np.random.default_rng(seed)
    label: dict[int, int] = {}
    results = []
    for day in days:
        write_day(source, day, folder / f"day-{day.number}")
        for row in generator.choice(day.rows, LOOKS, replace=False).tolist():
            label[row] = int(source.truth[row])
        table = folder / f"day-{day.number}.csv"
        with table.open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(("path", "label"))
            for earlier in days[: day.number]:
                for row in earlier.rows.tolist():
                    name = source.classes[label[row]] if row in label else ""
                    lines.writerow((f"day-{earlier.number}/{row:05}.png", name))
        made = under(fields(steps), source.size)
        data = {**made.pop("data"), "name": "folder", "csv": str(table), "size": source.size, "test": "none"}
        out = folder / f"run-{day.number}"
        result = semisonic.train(data=data | {"duplicates": "warn"}, out=str(out), seed=seed, quiet=True, **made)
        guess = _numbers(result.classifier, source, source.pixels[day.rows])
        own = guess.copy()
        for place, row in enumerate(day.rows.tolist()):
            own[place] = label.setdefault(row, int(guess[place]))
        truth = source.truth[day.rows]
        new = (truth == new_class) & (own == guess)
        results.append(DayResult(
            day.number, float((own == truth).mean()), _tested(result.classifier, source),
            float((guess[new] == new_class).mean()) if new.any() else None,
        ))  # fmt: skip
    rows = np.concatenate([day.rows for day in days])
    return Outcome(results, float(np.mean([label[row] == source.truth[row] for row in rows.tolist()])))


def _numbers(classifier: Classifier, source: Source, pixels: np.ndarray) -> np.ndarray:
    """Predictions as numbers of the source's classes."""
    number = np.array([source.classes.index(name) for name in classifier.classes])
    return number[classifier.predict(pixels[..., None], batch=256)]


def _tested(classifier: Classifier, source: Source) -> float:
    return float((_numbers(classifier, source, source.test_pixels[:TEST]) == source.test_truth[:TEST]).mean())


class Loop(Simulated):
    """The project's own commands, and a reviewer who reads the truth."""

    def __init__(self, source: Source, days: list[Day], new_class: int, folder: Path, seed: int, steps: int = STEPS):
        super().__init__(source, folder)
        self.days, self.new_class, self.seed, self.steps = days, new_class, seed, steps
        self.generator = np.random.default_rng(seed)
        self.reviewer = Reviewer("reviewer", self.truth)
        self.auditor = Reviewer("auditor", self.truth)

    def run(self) -> Outcome:
        known = [name for number, name in enumerate(self.source.classes) if number != self.new_class]
        self.command(
            "init", "--classes", ",".join(known), "--data.size", str(self.source.size), "--seed", str(self.seed),
            *(f"--{name}={value}" for name, value in flat(fields(self.steps)).items()),
        )  # fmt: skip
        results = [self.one_day(day) for day in self.days]
        with self.store() as store:
            return Outcome(results, self.right(store, store.current().image))

    def one_day(self, day: Day) -> DayResult:
        images = self.folder / "images" / f"day-{day.number}"
        write_day(self.source, day, images)
        self.command("add", str(images))
        farthest = self.before_training(day)
        self.command("train")
        self.command("label")
        with self.store() as store:
            found = self.after_training(store, day)
            found.farthest = farthest
        return found

    def before_training(self, day: Day) -> int | None:
        """Typical images on the first day, then the farthest ones and random ones."""
        first = day.number == 1
        self.command("choose", str(FARTHEST + RANDOM if first else ASKED))
        with self.store() as store:
            self.learn_rows(store)
            queue = store.queue("farthest")
            self.reviewer.look(store, queue[: FARTHEST + RANDOM if first else FARTHEST], "page:farthest", False)
            store.leave_queue("farthest", queue)
            if first:
                return None
            open_images = unlabeled(store, self.of_day(store, day))
            self.reviewer.look(store, self.generator.choice(open_images, RANDOM, replace=False), "page:free", False)
        return sum(self.truth(int(image)) == self.source.classes[self.new_class] for image in queue[:ASKED])

    def after_training(self, store: Store, day: Day) -> DayResult:
        """15 looks at suspicious labels; then the audit, whose looks are taken back once the report is written."""
        classifier = semisonic.load(self.project().runs / self.project().run_name(day.number))
        new_class = self.new_class_right(store, day)
        images, wrong = self.of_day(store, day), self.reviewer.wrong
        auto = self.right(store, unlabeled(store, images))
        self.reviewer.look(store, store.queue("suspicious")[:SUSPICIOUS], "page:suspicious", True)
        found = DayResult(day.number, self.right(store, images), _tested(classifier, self.source), new_class)
        found.suspicious = self.reviewer.wrong - wrong
        audited = unlabeled(store, store.queue("audit"))
        self.auditor.look(store, audited, "page:audit", False)
        self.command("report")
        found.audit = self.told(day, "handed_out") | {"truth": self.right(store, images)}
        found.auto = self.told(day, "auto_labels") | {"truth": auto}
        store.undo(self.auditor.events, self.auditor.name)
        store.put_queue("audit", [], day.number)
        return found

    def told(self, day: Day, of: str) -> dict[str, Any]:
        """What the day's report says of the accuracy of these labels."""
        report = json.loads((self.folder / "project" / "report" / f"day-{day.number:03}.json").read_text())
        return {name: report["accuracy"][of][name] for name in ("value", "low", "high", "n")}

    def new_class_right(self, store: Store, day: Day) -> float | None:
        now, number = store.current(), {row.id: row.name for row in store.classes()}
        name = self.source.classes[self.new_class]
        of_network = np.isin(now.image, self.of_day(store, day)) & np.isin(now.state, (State.AUTO, State.ACCEPTED))
        pairs = zip(now.image[of_network].tolist(), now.class_id[of_network].tolist(), strict=True)
        right = [number[class_id] == name for image, class_id in pairs if self.truth(image) == name]
        return float(np.mean(right)) if right else None

    def of_day(self, store: Store, day: Day) -> np.ndarray:
        now = store.current()
        return now.image[now.day == day.number]
