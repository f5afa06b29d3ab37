"""What to do next, in plain sentences from a run's figures. Each rule is a function that finds something, or nothing.

A limit below is where a rule speaks; none of them changes a run.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from semisonic.algorithms.registry import is_pretext
from semisonic.run_page.classes import ClassRow, Matrix
from semisonic.run_page.cost import speed_of
from semisonic.run_page.facts import IMAGES, Facts
from semisonic.run_page.use import Margins
from semisonic.schema import ExitCode
from semisonic.text import name_of, printable
from semisonic.training.intervals import accuracy_interval

LOST, LEAST = 0.2, 5
"""A class is lost with at most this share of its images right, of at least so many images."""
COVERED, PRECISE = 0.5, 0.85
"""Less coverage, or less precision, of the pseudo-labels at the end is told."""
BEHIND = 1.0
"""Points by which the averaged network is worse than the raw one, beyond what chance explains on few images."""
RISING, FALLEN = 1.0, 2.0
"""Points of accuracy: gained over the last quarter of a run, and lost since its best evaluation; likewise."""
LEARNED, POOR = 0.99, 90.0
"""Share of the labeled images right, and percent of the evaluated ones: more of the former with less of the latter."""
WAITING = 0.2
"""Share of the steps' time that waits for images."""
NAMED = 5
"""Classes that a sentence names."""


@dataclass(frozen=True)
class Advice:
    text: str
    command: str = ""
    """That does it; "" where none does."""


@dataclass(frozen=True)
class Given:
    """What the rules look at."""

    facts: Facts
    rows: Sequence[ClassRow]
    matrix: Matrix | None
    margins: Margins | None

    @property
    def run(self) -> str:
        """The run's folder as an argument of a command."""
        return printable(shlex.quote(str(self.facts.folder)))

    @property
    def resume(self) -> str:
        """The command that continues the run."""
        command = "pretrain" if is_pretext(self.facts.cfg.algorithm.name) else "train"
        return f"semisonic {command} --resume --out {self.run}"

    @property
    def images(self) -> str:
        return IMAGES.get(self.facts.which or "", "images")

    def top1(self, raw: bool = False) -> float | None:
        """Percent at the last evaluation."""
        value = self.facts.last(f"{self.facts.which}{'_raw' if raw else ''}/top1")
        return float(value) if isinstance(value, int | float) else None

    def slack(self, top1: float, points: float) -> float:
        """So many points, or what chance explains on few images at such an accuracy, where that is more."""
        if self.matrix is None or not self.matrix.count:
            return points
        low, high = accuracy_interval(round(top1 * self.matrix.count / 100), self.matrix.count)
        return max(points, (high - low) / 2)


def advice_of(given: Given) -> list[Advice]:
    """All that the rules find, what stands in the way of a result first; then what can be done with the run."""
    return [found for rule in RULES if (found := rule(given)) is not None] + uses(given)


def unfinished(given: Given) -> Advice | None:
    facts, reason = given.facts, given.facts.status.get("reason")
    if facts.summary is not None or facts.standing in ("unknown", "finished"):
        return None
    where = f"at step {facts.step:,} of {facts.cfg.steps:,}"
    said = f" ({name_of(reason)})" if reason else ""
    if facts.standing == "running":
        return Advice(f"The run is still going on, {where}{said}. This page is as of now.")
    if facts.status.get("exit_code") == ExitCode.DIVERGED:
        return Advice(
            f"The run diverged {where}{said}, and would again. Begin another one with a smaller learning rate "
            f"(--optim.lr is {facts.cfg.optim.lr:g})."
        )
    how = {
        "failed": f"The run failed {where}{said}. Once the reason is gone, it",
        "unfinished": f"The run was killed {where}{said}, or another computer works on it. It",
    }.get(facts.standing, f"The run was stopped {where}{said}. It")
    saved = (facts.state or {}).get("step")
    place = "from step 0" if saved is None else f"after step {saved:,}, its newest checkpoint"
    return Advice(f"{how} goes on {place}, with this command.", given.resume)


def lost_classes(given: Given) -> Advice | None:
    """Classes of which next to nothing is right, or that get no pseudo-labels."""
    lost = [row.name for row in given.rows if row.recall is not None and row.recall <= LOST
            and (row.images is None or row.images >= LEAST)]  # fmt: skip
    collapsed = given.facts.last("train/collapsed_classes") if given.facts.last("train/collapsed") else None
    collapsed = [name_of(name) for name in collapsed] if isinstance(collapsed, list) else []
    if lost:
        some = _named(lost)
        return Advice(
            f"{_count(len(lost), 'class is', 'classes are')} lost: of {some} at most {100 * LOST:.0f} % of the images "
            "are right. Look at their labeled images first. Then label more of them."
        )
    if collapsed:
        return Advice(
            f"{_named(collapsed)} {'gets' if len(collapsed) == 1 else 'get'} hardly any pseudo-label. More labels of "
            "such classes help. So does a method with a threshold for each class, such as FlexMatch or FreeMatch."
        )
    return None


def confused(given: Given) -> Advice | None:
    if given.matrix is None or not given.matrix.pairs:
        return None
    worst, wrong = given.matrix.pairs[0], given.matrix.wrong
    if worst.count < max(3, wrong / 5):
        return None
    return Advice(
        f"{worst.count:,} of the {wrong:,} mistakes are images of {worst.true} that are taken for {worst.predicted}. "
        "More labels of these two classes are likely to help."
    )


def behind(given: Given) -> Advice | None:
    """An averaged network that has not come as far as the raw one."""
    averaged, raw = given.top1(), given.top1(raw=True)
    if averaged is None or raw is None:
        return None
    if raw - averaged <= given.slack(averaged, BEHIND):
        return None
    return Advice(
        f"The averaged network has not arrived: it is {raw - averaged:.1f} points behind the raw one. Train for more "
        f"steps, or average over fewer of them (--ema.decay is {given.facts.cfg.ema.decay:g})."
    )


def course(given: Given) -> Advice | None:
    """An accuracy that still rises at the end, or that has fallen since its best."""
    facts = given.facts
    points = facts.series(f"{facts.which}/top1") if facts.which else []
    if len(points) < 4 or facts.summary is None:
        return None
    last, best = points[-1][1], max(points, key=lambda point: point[1])
    before = [value for step, value in points if step <= 0.75 * points[-1][0]]
    if best[1] - last > given.slack(last, FALLEN):
        held = "" if facts.split is not None and len(facts.split.held_out) else " (--data.held-out)"
        return Advice(
            f"The accuracy on the {given.images} was {best[1]:.2f} % at step {best[0]:,} and has fallen to "
            f"{last:.2f} % since. Test images must not choose a checkpoint: held-out labels may{held}."
        )
    if before and last - max(before) > given.slack(last, RISING):
        return Advice(
            f"The accuracy still rose in the last quarter of the run, by {last - max(before):.1f} points. A longer run "
            "is likely to be better. This command plans the rest of the run anew.",
            f"semisonic train --resume --extend --out {given.run} --steps {2 * facts.cfg.steps}",
        )
    return None


def coverage(given: Given) -> Advice | None:
    share = given.facts.last("train/coverage")
    if not isinstance(share, int | float) or share >= COVERED:
        return None
    lower = ", or lower --algorithm.threshold" if "threshold" in type(given.facts.cfg.algorithm).model_fields else ""
    return Advice(
        f"Only {100 * share:.0f} % of the unlabeled images have a pseudo-label that counts at the end: the rest of the "
        f"pool teaches nothing. Train for more steps{lower}."
    )


def precision(given: Given) -> Advice | None:
    right = given.facts.last("train/pseudo_label_precision")
    if not isinstance(right, int | float) or right >= PRECISE:
        return None
    return Advice(
        f"Only {100 * right:.0f} % of the pseudo-labels that count are right: the network learns from its own "
        "mistakes. More labels are likely to help, above all of the classes with the largest error."
    )


def by_heart(given: Given) -> Advice | None:
    learned, top1 = given.facts.last("train/labeled_accuracy"), given.top1()
    if not isinstance(learned, int | float) or learned < LEARNED or top1 is None or top1 >= POOR:
        return None
    return Advice(
        f"The labeled images are learned by heart: {100 * learned:.0f} % of them are right in training, and "
        f"{top1:.1f} % of the {given.images}. Longer training on the same labels will not close this gap."
    )


def doubtful(given: Given) -> Advice | None:
    if given.margins is None or not given.margins.below:
        return None
    count = given.margins.below
    return Advice(
        f"{_count(count, 'label has', 'labels have')} a margin below 0: the network was pulled to another class over "
        "the run. Look at them on this page. Some may be wrong."
    )


def waiting(given: Given) -> Advice | None:
    _, wait = speed_of(given.facts)
    if wait is None or wait <= WAITING:
        return None
    return Advice(f"Steps wait for images {100 * wait:.0f} % of their time. More CPU threads (--threads) help, and on "
                  "a GPU smaller image files.")  # fmt: skip


def unmeasured(given: Given) -> Advice | None:
    """A run that says nothing of its quality."""
    facts = given.facts
    if facts.which == "test" or facts.state is None or facts.cfg.data.test != "none":
        return None
    what = "It was measured on held-out images alone, which also choose its checkpoint: that flatters it."
    return Advice(
        f"The run has no test images. {what if facts.which else 'Nothing says how good it is.'} A folder of labeled "
        "images, one folder a class, tells.", f"semisonic evaluate {given.run} FOLDER",
    )  # fmt: skip


RULES: tuple[Callable[[Given], Advice | None], ...] = (
    unfinished, unmeasured, lost_classes, behind, course, coverage, precision, by_heart, confused, doubtful, waiting,
)  # fmt: skip


def uses(given: Given) -> list[Advice]:
    """Commands for what a run's network is good for."""
    facts = given.facts
    if facts.state is None:
        return []
    if is_pretext(facts.cfg.algorithm.name):
        network = shlex.quote(facts.cfg.model.name)
        return [Advice("Its features are a start for any other run.",
                       f"semisonic train --init {given.run} --model {network}")]  # fmt: skip
    line = partial("semisonic {} {}{}".format)
    return [
        Advice("Predict images of your own.", line("predict", given.run, " IMAGES")),
        Advice("Export the network.", line("export", given.run, "")),
    ]


def _count(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
