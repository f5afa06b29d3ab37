"""What can be added to any algorithm with one network: views, losses, state, heads, and changes of what it learns from.

An add-on is one file. A run has those that its configuration asks for, in the order of their registry; each section
`addons.NAME` of the configuration is an add-on's own. `addons/composition.py` joins them to the algorithm, and refuses
what does not go together.

Shape suffixes: B labeled batch, U unlabeled batch, C classes, D features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from semisonic import schema
from semisonic.algorithms.ramps import shares_of_the_run
from semisonic.contract import Batch, Guess, Info, Seen, StepOutput, Views

LABELED = ("labeled_logits", "labeled_weights")
LOGITS = (*LABELED, "guessed_logits", "trained_logits")
CHANGES = (*LOGITS, "mask", "targets")
"""Methods of an add-on that change what an algorithm learns from. `Algorithm.open_to` lists those that it calls; the
shorter lists are what kinds of algorithms have in common."""


@dataclass(frozen=True)
class Base:
    """What an add-on is to join: the algorithm as configured, with the views of the add-ons before it."""

    kind: Any
    """The algorithm's class."""
    cfg: Any
    """Its configuration."""
    views: Views

    @property
    def name(self) -> str:
        return str(self.cfg.name)


class Term(NamedTuple):
    """What an add-on contributes to a step."""

    loss: Tensor | None = None
    """Scalar, weighted, to be added to the algorithm's; a mean over the rank's share, as there."""
    metrics: dict[str, Tensor] = {}
    """As in `StepOutput`; logged beside the algorithm's."""
    observed: dict[str, Tensor] = {}
    """As in `StepOutput`; for this add-on's `update` alone."""


class AddOn(nn.Module):
    """Base of all add-ons. Every method but `active` may stay as it is: the add-on then does nothing of that kind.

    As an algorithm does, it reads state in `term` and the changes, and writes it in `update` alone; whatever it must
    remember is a registered buffer, whatever it learns a registered parameter.
    """

    Config: ClassVar[type[schema.Config]]
    reads: ClassVar[tuple[str, ...]] = ()
    """Which of `StepOutput.seen` it cannot do without."""
    own_head: ClassVar[str | None] = None
    """Name of an own `nn.Linear` [D -> C] that is averaged by the EMA, evaluated and exported in the main head's place.
    All other heads are left behind when a network is used."""
    former_fields: ClassVar[Mapping[str, str]] = {}
    """Fields of its configuration that older versions had elsewhere: their dotted name -> the field's."""
    former_tensors: ClassVar[Mapping[str, str]] = {}
    """Likewise the beginnings of names in older checkpoints -> that in the add-on's own state."""

    def __init__(self, cfg: Any, base: Base):
        super().__init__()
        self.cfg, self.base = cfg, base

    # From the configuration alone.

    @classmethod
    def active(cls, cfg: Any, base: Base) -> bool:
        """Whether a run with this configuration has the add-on."""
        raise NotImplementedError

    @classmethod
    def views(cls, cfg: Any, base: Base) -> Views:
        """Views, draws and streams of its own; names that the algorithm does not use."""
        return Views()

    @classmethod
    def problems(cls, cfg: Any, base: Base) -> list[str]:
        """What speaks against it beside this algorithm, one line each naming its field."""
        return []

    @classmethod
    def note(cls, cfg: Any, base: Base) -> str | None:
        """A line to tell when a run starts, with or without the add-on."""
        return None

    @classmethod
    def takes_micro_batches(cls, cfg: Any) -> bool:
        """False where a loss of its own couples all samples of the batch."""
        return True

    @classmethod
    def takes_growing_batches(cls, cfg: Any) -> bool:
        """False where state or a loss of its own depends on how many unlabeled images a step has."""
        return True

    @classmethod
    def depends_on_steps(cls, cfg: Any) -> list[str]:
        """Fields by which, as configured, a step depends on the number of steps of the whole run."""
        return shares_of_the_run(cfg, "ramp")

    @classmethod
    def beside_baseline(cls, cfg: Any) -> schema.Config:
        """Its configuration in the supervised baseline of a run: by default without it."""
        return cls.Config()

    # State.

    def setup(self, algorithm: Any, info: Info) -> None:
        """Registers buffers and heads; `algorithm.network.feature_dim` is the width D."""

    def update(self, observed: dict[str, Tensor]) -> None:
        """Commits state from what `term` observed, gathered over all ranks and micro-batches."""

    def tables(self) -> Any:
        """What the draws of adaptive views follow (see `data/loading/feedback.py`), or None."""
        return None

    def labeled_tables(self) -> dict[str, dict[str, Tensor]]:
        """What it knows of every labeled image: name of a table -> column -> [labeled set]. Written into
        labels/NAME.parquet of the run."""
        return {}

    # In a step, in one graph with the algorithm's loss.

    def term(self, algorithm: Any, batch: Batch, output: StepOutput) -> Term:
        """Its own loss, metrics and observations, given those of the algorithm and what that has seen."""
        return Term()

    def labeled_logits(self, logits_BC: Tensor, seen: Seen) -> Tensor:
        """What is trained on labels in place of these logits."""
        return logits_BC

    def guessed_logits(self, logits_UC: Tensor, seen: Seen) -> Tensor:
        """What labels are guessed from in place of these logits."""
        return logits_UC

    def trained_logits(self, logits_UC: Tensor, seen: Seen) -> Tensor:
        """What is trained on guessed labels in place of these logits; `seen.features` may go through another head."""
        return logits_UC

    def labeled_weights(self, weights_B: Tensor, label_B: Tensor) -> Tensor:
        """How much each labeled sample counts; to begin with 1."""
        return weights_B

    def mask(self, guess: Guess) -> Tensor:
        """How much each guess counts [U]."""
        return guess.mask

    def targets(self, guess: Guess) -> Tensor:
        """Labels int64 [U] or probabilities [U, C] in place of the guess's."""
        return guess.targets

    # In use, beside the algorithm.

    def prediction_offset(self) -> Tensor | None:
        """What is added to the evaluated logits [C], and folded into the bias of the exported head."""
        return None


def changes(kind: type[AddOn]) -> tuple[str, ...]:
    """Which of `CHANGES` an add-on makes: the methods that it has of its own."""
    return tuple(name for name in CHANGES if getattr(kind, name) is not getattr(AddOn, name))
