"""What every configuration class and every user-facing error is built from, and the exit codes of a process."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from semisonic.text import printable


class Config(BaseModel):
    """Base of every configuration class: frozen, typed, unknown keys refused, fields documented in place.

    The string below a field is its documentation, which `config.fields` reads in the source for --help alone: pydantic
    would do so for every class when it is made, which takes a fifth of the time that the engine's import does.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )


class Effect(StrEnum):
    """What another value of a field does to a run that goes on with it.

    `Annotated[int, Effect.FREE]` marks a field, or a section with all in it; what has no mark changes results.
    """

    RESULTS = "results"
    """It makes another run: it may not change."""
    FREE = "free"
    """It changes speed, reports or places, and metrics by rounding at most: it may change."""
    CONTENT = "content"
    """It names a file that goes into the results: another path to the same content may be given."""


@dataclass(frozen=True)
class UsedWith:
    """Marks a field that has an effect only where another one of its section has one of certain values.

    `Annotated[int, UsedWith("kind", ("align",))]`. A field may have several marks, all of which must hold.
    """

    field: str
    values: tuple[Any, ...] = ()
    """Without any: whatever is neither 0 nor none."""
    unless: tuple[Any, ...] = ()
    """Values with which it has none, where these are fewer."""

    def holds(self, value: Any) -> bool:
        """Whether the marked field has an effect where the other one has this value."""
        if self.unless:
            return value not in self.unless
        return value in self.values if self.values else bool(value)


def expanded(path: str | Path) -> Path:
    """A path as the user means it: `~` and `~NAME` at its beginning are home folders. Nothing else is replaced: `$` may
    stand in a name. Raises ValueError where there is no such home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError("a path without ~, for there is no such user or home folder") from error


UserPath = Annotated[Path, AfterValidator(expanded)]
"""Every path of a configuration is one."""


def given_path(name: str, path: str | Path) -> Path:
    """A path that a call in Python gave as `name`. Raises `UserError`."""
    try:
        return expanded(path)
    except ValueError as error:
        raise UserError(f"{name}: {str(path)!r} is not valid; expected {error}") from error


LARGEST_RATE = 1e20
"""Of a learning rate: whatever diverges, does so below."""
HEAVIEST = 1e6
"""Of a class or an image in the loss on labels: losses are sums in float32."""


class ExitCode(IntEnum):
    """How a process of this project ends. Job scripts decide by these numbers, which status.json holds as well."""

    OK = 0
    """Done, or stopped by `max_hours` with a checkpoint."""
    ERROR = 1
    """Anything unforeseen; of a comparison: a run failed; of an inspection: a training would refuse the images."""
    USER = 2
    """A mistake in what the user asked for. The same command would fail again."""
    DIVERGED = 3
    """A loss or a weight was not finite. The same command would fail again."""
    LOST = 4
    """A rank was lost or hung, a loader stopped, or ranks that must be equal were not; --resume continues."""
    LEFT_OUT = 5
    """Of a prediction, and where a project takes images or labels in: done, but for some that could not be used, which
    are listed."""
    STOPPED = 75
    """Stopped by a signal or its launcher's death, with a checkpoint or before anything was written. The number is
    EX_TEMPFAIL of sysexits.h."""
    INTERRUPTED = 130
    """Ctrl-C, of a training the second one, as shells say it: 128 and the number of SIGINT."""


class UserError(Exception):
    """A mistake in what the user asked for: one line per mistake, shown without a traceback.

    Messages hold names of files and classes, and what is in files: they become `printable`.
    """

    everywhere = False
    """Whether every rank shows it, and not rank 0 for all of them."""
    exit_code = ExitCode.USER
    """What the process ends with; kinds of errors that job scripts must tell apart have codes of their own."""

    def __init__(self, messages: str | Iterable[str]):
        self.messages = [printable(message) for message in ([messages] if isinstance(messages, str) else messages)]
        super().__init__("\n".join(self.messages))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.messages,)


class Stopped(UserError):
    """A run that a signal has stopped, with a checkpoint, or before anything was written."""

    exit_code = ExitCode.STOPPED


class Interrupted(Stopped):
    """A run that a Ctrl-C has stopped before anything was written."""


def exit_code(error: BaseException) -> ExitCode:
    """What an error ends the process with."""
    if isinstance(error, UserError):
        return error.exit_code
    return ExitCode.INTERRUPTED if isinstance(error, KeyboardInterrupt) else ExitCode.ERROR
