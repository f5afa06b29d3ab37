"""What every configuration class and every user-facing error is built from."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Base of every configuration class: frozen, typed, unknown keys refused, fields documented in place."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )


class UserError(Exception):
    """A mistake in what the user asked for: one line per mistake, shown without a traceback, exit code 2."""

    everywhere = False
    """Whether every rank shows it, and not rank 0 for all of them."""

    def __init__(self, messages: str | Iterable[str]):
        self.messages = [messages] if isinstance(messages, str) else list(messages)
        super().__init__("\n".join(self.messages))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.messages,)
