"""What a study is: a question, and the settings that answer it, one factor at a time around a method's recipe.

A study is declared, not programmed. Every setting is an entry of a comparison (`ALGORITHM:FIELD=VALUE:...`); a factor
says what its baseline has and what its others have in place of that. Factors may share a baseline, which is trained
once. A study-only algorithm is a plug-in that the study names: it is registered in the study's runs and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Network = Literal["ema", "raw"]


@dataclass(frozen=True)
class Setting:
    """One way to train, and which of its networks is evaluated: their average at the end, or the trained one itself."""

    entry: str
    network: Network = "ema"


def raw(entry: str) -> Setting:
    """The trained network of a setting, which every run evaluates beside its average: no further run."""
    return Setting(entry, "raw")


@dataclass(frozen=True)
class Factor:
    """One thing that is changed, by itself, from what a method's recipe has."""

    name: str
    """What is changed, as a noun: "decay of the average"."""
    method: str
    """Of which method, as people write it: "FixMatch"; empty where methods are what is changed."""
    baseline: Setting | str
    value: str
    """What the baseline has."""
    others: Mapping[str, Setting | str]
    """What the others have in its place -> the setting."""
    few: tuple[str, ...] | None = None
    """Those of the others that are trained where time allows few; None: none of them, and no baseline."""
    note: str = ""
    """What a reader must know; a sentence or two under the factor's table."""

    @property
    def title(self) -> str:
        """FixMatch, decay of the average"""
        return f"{self.method}, {self.name}" if self.method else self.name.capitalize()

    @property
    def settings(self) -> dict[str, Setting]:
        """What a setting has -> the setting; the baseline first."""
        return {self.value: setting(self.baseline)} | {name: setting(other) for name, other in self.others.items()}


def setting(given: Setting | str) -> Setting:
    """A setting from its entry."""
    return Setting(given) if isinstance(given, str) else given


@dataclass(frozen=True)
class Study:
    """A question and the factors that answer it."""

    name: str
    question: str
    summary: str
    """What it is about, in the list of studies."""
    factors: tuple[Factor, ...]
    notes: tuple[str, ...] = ()
    """Sentences on the page about all of it."""
    even: str | None = None
    """An entry whose run's image passes all runs have: the steps of the others are cut to them."""
    plugin: Path | None = None
    """A file with study-only algorithms."""
    fields: tuple[str, ...] = ()
    """Of every run, before those of the command line."""

    def reduced(self) -> "Study":
        """The same with the few settings alone, or without a factor where it has none."""
        factors = tuple(
            replace(factor, others={name: other for name, other in factor.others.items() if name in factor.few})
            for factor in self.factors
            if factor.few is not None
        )
        return replace(self, factors=factors)

    def with_entries(self, entries: Mapping[str, str]) -> "Study":
        """The same with other entries in place of these, where the mapping names one."""

        def changed(given: Setting | str) -> Setting:
            own = setting(given)
            return replace(own, entry=entries.get(own.entry, own.entry))

        factors = tuple(
            replace(
                factor, baseline=changed(factor.baseline),
                others={name: changed(other) for name, other in factor.others.items()},
            )
            for factor in self.factors
        )  # fmt: skip
        return replace(self, factors=factors)

    def compared(self) -> list[Factor]:
        """The factors with something beside their baseline; in a reduced study some have none."""
        return [factor for factor in self.factors if factor.others]

    def settings(self) -> list[Setting]:
        """All that are trained or evaluated, each once, in order."""
        return list(dict.fromkeys(own for factor in self.factors for own in factor.settings.values()))

    def entries(self) -> list[str]:
        """All that are trained, each once, in order."""
        return list(dict.fromkeys(own.entry for own in self.settings()))


@dataclass(frozen=True)
class Preset:
    """What a study has in runs on certain data, unless the command line says otherwise."""

    fields: tuple[str, ...] = ()
    labels: str | None = None
    """In all; None: the recipe's."""
    seeds: str = "0,1,2"
    few: bool = False
    """Whether the few settings alone are trained."""
    rate: float | None = None
    """Image passes that a run makes in a second, with one run on each of two cores of an AMD EPYC; None: not known."""


COMMON = ("--steps", "400", "--precision", "fp32", "--device", "cpu", "--log.trackers", "none")
PRESETS: dict[str, Preset] = {
    "digits": Preset((*COMMON, "--eval.every", "20"), "40", "0,1,2,3,4", rate=19_000),
    "fashion-mnist": Preset(
        (*COMMON, "--batch.labeled", "32", "--batch.unlabeled_ratio", "7", "--eval.every", "100"),
        "40", "0,1,2", few=True, rate=5900,
    ),
}  # fmt: skip
"""By name of the data; others have the fields of the command line alone. Rates: benchmarks/results/compare-*.csv."""


def preset_of(data: str) -> Preset:
    return PRESETS.get(data, Preset())
