"""Pictures inside of pages."""

import base64

import pytest

from semisonic.pages.pictures import TYPES, data_uri


@pytest.mark.parametrize("kind", TYPES)
def test_a_picture_is_an_address(kind: str):
    head, _, content = data_uri(b"<&\xff", kind).partition(",")
    assert head == f"data:{TYPES[kind]};base64" and base64.b64decode(content) == b"<&\xff"
