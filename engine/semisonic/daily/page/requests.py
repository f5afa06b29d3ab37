"""What a browser may ask for: the forms of its requests, checked before anything is done."""

import json
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

MOST_BYTES = 2**20
"""Of one request."""
MOST = 1000
"""Changes of one request, and images of one page."""
LONGEST_WHO = 100


class Refused(Exception):
    """A request that is not carried out: why, in one line."""

    def __init__(self, status: HTTPStatus, line: str) -> None:
        super().__init__(line)
        self.status = status


def wrong(line: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, line)


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


Id = Annotated[int, Field(ge=1, lt=2**62)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Who = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_WHO)]
Text = Annotated[str, StringConstraints(max_length=200)]


class Answer(_Form):
    """Of which class an image is, or why it is of none."""

    class_id: Id | None = Field(None, alias="class")
    state: Literal["rejected", "unsure"] | None = None


class Shown(_Form):
    """An image as it was shown, and its newest event then."""

    image: Id
    item: Key
    seen: Id | None = None


class Labeled(Shown):
    key: Key
    answer: Answer


class LabelRequest(_Form):
    who: Who
    queue: Key
    changes: list[Labeled] = Field(min_length=1, max_length=MOST)


class AcceptRequest(_Form):
    who: Who
    queue: Key
    key: Key
    images: list[Shown] = Field(min_length=1, max_length=MOST)


class UndoRequest(_Form):
    who: Who
    key: Key | None = None
    event: Id | None = None
    events: list[Id] | None = Field(None, min_length=1, max_length=MOST)
    count: Annotated[int, Field(ge=1, le=MOST)] | None = None


class ClassRequest(_Form):
    who: Who
    name: Text
    key: Key | None = None
    """Names the request; a name makes it one already."""


class _Query(BaseModel):
    """Of an address, whose values are all text."""

    model_config = ConfigDict(frozen=True)

    who: Who


class StateQuery(_Query):
    pass


class ImagesQuery(_Query):
    queue: Key
    size: Annotated[int, Field(ge=1, le=MOST)] = 60
    after: Annotated[str, StringConstraints(max_length=200)] | None = None
    class_id: Id | None = Field(None, alias="class")
    pair: Annotated[str, StringConstraints(pattern=r"^\d{1,18},\d{1,18}$")] | None = None
    low: Annotated[float, Field(ge=0, le=1)] | None = None
    high: Annotated[float, Field(ge=0, le=1)] | None = None
    day: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    text: Text | None = None
    sort: Literal["suspicious", "sure", "newest", "oldest"] | None = None


class NeighborsQuery(_Query):
    image: Id
    count: Annotated[int, Field(ge=1, le=200)] = 50


def read_json(body: bytes) -> dict[str, Any]:
    """Raises `Refused` for what is no JSON object of numbers and text."""
    try:
        value = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise wrong("the request is no JSON") from None
    if not isinstance(value, dict):
        raise wrong("the request is no JSON object")
    return value


def _no_number(text: str) -> float:
    raise ValueError(text)


def read(form: Any, given: Any) -> Any:
    """The request as its form. Raises `Refused`, with the first mistake."""
    try:
        found = TypeAdapter(form).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the request"
        raise wrong(f"{where}: {first['msg']}") from None
    if not found.who.isprintable() or not found.who.strip():
        raise wrong("who: the name of who is reviewing must be text that can be seen")
    return found
