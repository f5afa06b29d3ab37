"""A report of a third day, made up: every section has something to say."""

import random
from typing import Any

from semisonic.daily.report.model import (
    Accuracy,
    ClassFacts,
    Confusion,
    Day,
    Estimate,
    Event,
    Far,
    Given,
    Named,
    Part,
    Queue,
    Report,
    Reviewer,
    Shown,
    Step,
)

EVIL = """"><img src=x onerror='a()'><script>alert(1)</script>"""
NAMES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def estimate(
    value: float, half: float = 0.03, n: int = 200, population: int = 12_340, method: str = "stratified"
) -> Estimate:
    return Estimate(
        value=value, low=max(0.0, value - half), high=min(1.0, value + half), n=n, population=population, method=method
    )  # fmt: skip


def shown(image: int, label: str | None = "bag", by: str | None = "auto", score: float | None = 0.41) -> Shown:
    return Shown(image=image, name=f"camera/{image:05}.png", label=label, by=by, side=28, score=score)


SAID = (
    "Of the 12,340 labels of day 3, 96.8 % are right (95 % interval 95.2 to 98.4), estimated from 200 images that were drawn at "
    "random and checked by a person on 28 November. 160 of them are people's own; of the 12,180 that the network gave, 96.6 % "
    "were right (95 % interval 94.9 to 98.3). Sure labels 99.6 %, doubtful ones 61 %. Of the 210 images drawn, 6 are not checked "
    "yet. The network's own mean confidence, 98.9 %, is not a measurement."
)
WARNING = "The network is surer than it is right: its mean confidence is 98.9 %, and people found 94.9 to 98.3 % of its labels right."


def accuracy(**changes: Any) -> Accuracy:
    fields: dict[str, Any] = {
        "run": "day-003", "of": "day 3", "labels": 12_340, "by_people": 160, "by_network": 12_180, "drawn": 210, "waiting": 6,
        "confidence": 0.989,
    }  # fmt: skip
    audited: dict[str, Any] = {
        "said": SAID, "handed_out": estimate(0.968, 0.016), "auto_labels": estimate(0.966, 0.017, population=12_180),
        "warning": WARNING, "sure": estimate(0.996, 0.004, 60, 6_000, "simple"), "doubtful": estimate(0.61, 0.12, 60, 600, "simple"),
        "parts": [
            Part(size=600 * k * k, certainty=0.5 + 0.1 * k, right=20 + 4 * k, accuracy=estimate(0.6 + 0.079 * k, 0.08, 40, 600 * k * k, "simple"))
            for k in range(1, 6)
        ],
        "unsure": 3, "blind": 203, "checked_by": ["ann"], "checked_on": ["2026-11-28", "2026-11-28"], "more_for_two_points": 340,
    }  # fmt: skip
    return Accuracy(**{**fields, **audited, **changes})


def unaudited(**changes: Any) -> Accuracy:
    """Where nobody has looked at an image of the audit."""
    fields = {
        "run": "day-003",
        "of": "day 3",
        "labels": 12_340,
        "by_people": 160,
        "by_network": 12_180,
        "drawn": 210,
        "waiting": 210,
    }
    return Accuracy(**{**fields, "confidence": 0.989, **changes})


def report(names: tuple[str, ...] = NAMES, **changes: Any) -> Report:
    draw = random.Random(0)
    far = [
        [
            shown(
                10 * group + k, names[8] if k % 3 else None, ("ann", "auto")[k % 2] if k % 3 else None, 0.5 - 0.01 * k
            )
            for k in range(5)
        ]
        for group in range(3)
    ]
    fields: dict[str, Any] = {
        "version": 1, "project": "wardrobe", "day": 3, "event": 5_210, "at": "2026-11-28T14:03:11.512+00:00",
        "images": 12_340, "images_in_all": 36_900, "states": {"auto": 12_100, "reviewed": 100, "given": 60}, "accuracy": accuracy(),
        "queues": [
            Queue(name="farthest", title="farthest", looks=10, compared=0, errors=0, undecided=1, waiting=0),
            Queue(name="audit", title="audit", looks=203, compared=200, errors=11, undecided=3, waiting=6),
            Queue(name="suspicious", title="suspicious labels of the network", looks=40, compared=40, errors=27, undecided=0, waiting=12),
        ],
        "classes": [
            ClassFacts(
                id=k, name=name, status="active", by_people=30 + k, by_network=3_000 + 100 * k, looked=8 + 3 * k, right=7 + 3 * k,
                precision=None if k == 0 else estimate(0.55 + 0.045 * k, 0.15, 8 + 3 * k, 3_000, "simple"), today=draw.randint(900, 1500),
                yesterday=0 if k == 8 else draw.randint(900, 1500),
            )
            for k, name in enumerate(names)
        ],
        "confusions": [
            Confusion(said=names[6], meant=names[0], count=14, share=0.37, examples=[shown(k) for k in range(4)]),
            Confusion(said=names[4], meant=names[2], count=9, share=0.24, examples=[shown(k + 4) for k in range(4)]),
            Confusion(said=names[7], meant=names[9], count=3, share=0.08, examples=[shown(99)]),
        ],
        "corrections": 38,
        "far": Far(ranked_by="the features of day-003", looked=10, labels=[Named(name=names[8], count=8), Named(name="unsure", count=2)], typical=0.08, groups=far),
        "given": Given(run="day-003", ranked=260, waiting=9, images=[shown(k, names[k], "ann", float(k + 1)) for k in range(8)]),
        "reviewers": [
            Reviewer(name="ann", looks=190, in_all=420, per_minute=22.0, itself=estimate(0.95, 0.06, 20, 20, "simple"), others=None),
            Reviewer(name="bo", looks=63, in_all=80, per_minute=None, itself=None, others=estimate(0.8, 0.2, 10, 10, "simple")),
        ],
        "steps": [
            Step(what="audit", images=6, minutes=0.3, gain=0.0166), Step(what="suspicious", images=12, minutes=0.5, gain=None),
            Step(what="second-look", images=4, minutes=0.2, gain=None), Step(what="add", images=0, minutes=None, gain=None),
        ],
        "pace": 22.0, "pace_known": True,
        "course": [
            Day(number=1, images=12_000, by_people=40, looks=140, errors=31, run="day-001", accuracy=estimate(0.71, 0.09, 100)),
            Day(number=2, images=12_560, by_people=180, looks=220, errors=48, run="day-002", accuracy=estimate(0.88, 0.05, 150)),
            Day(number=3, images=12_340, by_people=420, looks=253, errors=38, run="day-003", accuracy=estimate(0.966, 0.017)),
        ],
        "changes": [
            Event(at="2026-11-28T09:12:00.000+00:00", who="ann", text="added the class bag", today=True),
            Event(at="2026-11-26T09:12:00.000+00:00", who="ann", text="the camera was moved", today=False),
        ],
    }  # fmt: skip
    return Report(**{**fields, **changes})
