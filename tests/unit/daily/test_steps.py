"""What comes next in every situation of a project."""

from dataclasses import replace

import pytest

from semisonic.daily.steps import Facts, next_step

EMPTY = Facts("p", classes=3)
ADDED = replace(EMPTY, images=600, undecided=600)
CHOSEN = replace(ADDED, chosen=True, queues={"farthest": 40})
LABELED = replace(CHOSEN, queues={}, labels=40, labeled_classes=3, new_labels=40)
STOPPED = replace(LABELED, run="day-001", run_day=1)
TRAINED = replace(STOPPED, finished=True, new_labels=0)
AUTO = replace(TRAINED, labeled_run="day-001", queues={"audit": 100, "suspicious": 15, "given": 5, "free": 400})
LOOKED = replace(AUTO, queues={"free": 400}, new_labels=120, run_reported=True)
REPORTED = replace(LOOKED, reported=True)
WAITING = replace(AUTO, run_reported=True, reported=True)
SECOND_DAY = replace(REPORTED, day=2, images=1200, chosen=False, run_reported=False, reported=False)

SITUATIONS = {
    "nothing is there": (EMPTY, (), "Add the first images: semisonic daily p add FOLDER"),
    "images without labels": (ADDED, ("choose", "40"), "40 images to be labeled first, typical and diverse"),
    "fewer images than are chosen": (replace(ADDED, images=7, undecided=7), ("choose", "7"), "7 images"),
    "many classes": (replace(ADDED, classes=100), ("choose", "200"), "200 images"),
    "labels came with all classes": (replace(ADDED, labels=9, labeled_classes=3), ("train",), "on 9 images that people have labeled"),
    "labels came without a class": (replace(ADDED, labels=9, labeled_classes=2), ("choose", "40"), "40 images"),
    "images wait to be labeled": (CHOSEN, (), "Label 40 images in the queue first images, about 2 minutes: semisonic daily p page"),
    "one image waits": (replace(CHOSEN, queues={"farthest": 1}), (), "Label 1 image in the queue first images, about 1 minute:"),
    "all were of one class": (replace(LABELED, labeled_classes=1), (), "Label images of 1 more class, without"),
    "all were rejected": (replace(LABELED, labels=0, labeled_classes=0), (), "Label images of 2 more classes"),
    "a class has no label": (replace(LABELED, labeled_classes=2), ("train",), "day 1, on 40 images"),
    "labeled": (LABELED, ("train",), "day 1, on 40 images that people have labeled"),
    "at work": (replace(STOPPED, at_work="train, process 7,"), (), "Wait: train, process 7, is at work"),
    "the training was stopped": (STOPPED, ("train",), "day-001 was stopped, and goes on"),
    "trained": (TRAINED, ("label",), "day-001 is trained, and labels"),
    "auto-labels are new": (AUTO, ("report",), "that of day 1"),
    "queues wait": (WAITING, (), "Check 100 images in the queue audit, then 15 images in the queue suspicious, then 5"),
    "the audit is done": (replace(WAITING, queues={"suspicious": 15}, reported=False), (), "Check 15 images in the queue suspicious, about 1"),
    "all was looked at": (LOOKED, ("report",), "that of day 1"),
    "reported": (REPORTED, (), "Day 1 is done; add the next images: semisonic daily p add FOLDER, or train again with 120"),
    "reported without a look": (replace(REPORTED, new_labels=0), (), "add the next images: semisonic daily p add FOLDER"),
    "classes were merged": (replace(REPORTED, queues={"second-look": 7}), (), "Look again at 7 images in the queue second look"),
    "trained again": (replace(TRAINED, run="day-001-2", labeled_run="day-001"), ("label",), "day-001-2 is trained, and"),
    "a second day": (SECOND_DAY, ("choose", "10"), "the 10 images farthest from all earlier days"),
    "no images are to be chosen": (replace(SECOND_DAY, looks=0), ("train",), "day 2, on 40"),
    "the first day's training was stopped for good": (replace(SECOND_DAY, finished=False, labeled_run=None), ("choose", "10"), "farthest"),
    "its farthest": (replace(SECOND_DAY, chosen=True, queues={"farthest": 10}), (), "Label 10 images in the queue farthest"),
    "labeled, second day": (replace(SECOND_DAY, chosen=True, queues={"audit": 3}), ("train",), "day 2, on 40"),
    "people have labeled all": (replace(ADDED, undecided=0, labels=600, labeled_classes=2), ("train",), "on 600 images"),
    "people have labeled all, second day": (replace(SECOND_DAY, undecided=0), ("train",), "day 2, on 40"),
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_every_situation_has_one_step(name: str):
    facts, do, said = SITUATIONS[name]
    step = next_step(facts)
    assert step.do == do and said in step.say and "\n" not in step.say


def test_images_and_minutes_go_by_the_pace():
    step = next_step(replace(WAITING, seconds=6.0))
    assert (step.images, step.minutes) == (120, 12) and "about 12 minutes" in step.say
