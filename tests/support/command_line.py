"""Configurations from command lines."""

import pytest

from semisonic.config.command_line import resolve
from semisonic.schema import UserError


def config(*argv: object):
    return resolve([str(part) for part in argv])[1]


def mistakes(*argv: object) -> list[str]:
    with pytest.raises(UserError) as caught:
        config(*argv)
    return caught.value.messages
