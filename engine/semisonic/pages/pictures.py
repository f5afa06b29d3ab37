"""Pictures inside of a page, as the address of an image: such a page is one file."""

import base64
from typing import NamedTuple

TYPES = {"png": "image/png", "svg": "image/svg+xml", "webp": "image/webp"}


class Picture(NamedTuple):
    """An image of a page: `<img alt="{{ picture.alt }}" src="{{ picture.uri }}">`."""

    alt: str
    """What stands in its place for those who cannot see it."""
    uri: str


def data_uri(content: bytes, kind: str) -> str:
    """The content of a picture's file as the address of an image. kind: png, svg or webp."""
    return f"data:{TYPES[kind]};base64,{base64.b64encode(content).decode()}"
