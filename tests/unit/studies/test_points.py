"""What errors over numbers of labels say."""

from pathlib import Path

from semisonic.compare.rows import Run
from semisonic.studies.points import Point, answer, points_of, record, sentences

ERRORS = {
    ("random", 10): (50, 52, 48), ("random", 20): (30, 31, 29), ("random", 40): (12, 12.5, 11.5),
    ("typical", 10): (20, 28, 12), ("typical", 20): (12.8, 11, 10.2), ("typical", 40): (10.5, 10.4, 10.6),
}  # fmt: skip


def points(way: str) -> list[Point]:
    return [
        Point("fixmatch", name, labels, dict(enumerate(errors)))
        for (name, labels), errors in ERRORS.items()
        if name == way
    ]


def test_the_smallest_number_is_within_so_many_points_of_the_best():
    random, typical = answer(points("random"), 1), answer(points("typical"), 1)
    assert (random.smallest.labels, random.best.labels) == (40, 40)
    assert (typical.smallest.labels, typical.best.labels) == (20, 40)
    assert answer(points("typical"), 20).smallest.labels == 10


def test_what_the_intervals_do_not_show_is_said():
    found = answer(points("typical"), 1)
    assert found.surely is not None and found.surely.labels == 40  # 20 labels differ by +2.3 to -0.4
    assert answer(points("random"), 20).surely == answer(points("random"), 20).smallest
    said = sentences([*points("random"), *points("typical")], 1, 10)
    assert said[0] == (
        "fixmatch, random images: no fewer than 40 labels come within 1 point of the best, 12.00 ± 1.24 % error."
    )
    assert said[1].startswith(
        "fixmatch, typical images: 20 labels (2 a class) come within 1 point of the best, 11.33 ± "
    )
    assert said[1].endswith("; over so few seeds the intervals are wider than that.")


def test_ways_are_compared_at_the_same_number_of_labels():
    """10 typical images are better than 10 random ones, and 40 random ones better than they: they stand for no 40."""
    said = sentences([*points("random"), *points("typical")], 1, 10)
    assert said[2:] == [
        "fixmatch, 10 labels: a typical choice has a lower error than a random choice, by 30.00 ± 14.90 points.",
        "fixmatch, 20 labels: a typical choice has a lower error than a random choice, by 18.67 ± 3.49 points.",
        "fixmatch, 40 labels: a typical choice has a lower error than a random choice, by 1.50 ± 1.49 points.",
    ]
    stored = record([*points("random"), *points("typical")], 1, 10, said)["points"]
    assert [point["against_random"] for point in stored[:3]] == [None] * 3
    assert (stored[3]["against_random"], stored[3]["choose"], stored[3]["labels"]) == (-30, "typical", 10)
    assert sentences(points("typical"), 1, 10)[1:] == []


def test_differences_are_those_of_the_same_seeds():
    one, other = Point("a", "random", 10, {0: 5.0, 1: 9.0}), Point("a", "random", 20, {1: 4.0, 2: 1.0})
    found = one.behind(other)
    assert found is not None and (found.mean, found.count) == (5.0, 1)
    assert one.behind(Point("a", "random", 20, {7: 1.0})) is None


def test_runs_of_other_comparisons_are_no_points():
    about = {"labels": "40", "seed": 0, "folder": Path("x"), "cfg": {}, "summary": {"test_top1": 90.0}}
    runs = [Run(entry=entry, **about) for entry in ("fixmatch", "fixmatch:data.labels_from=typical", "uda:weight=2")]
    assert points_of(runs) == [Point("fixmatch", "typical", 40, {0: 10.0})]
    assert points_of([Run(**{**about, "labels": "all"}, entry="fixmatch:data.labels_from=random")]) == []
