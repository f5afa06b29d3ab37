"""A refusal of the file system says what to do."""

import errno
from pathlib import Path

import pytest

from semisonic.daily.writing import written
from semisonic.schema import UserError


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "free space"), (errno.EDQUOT, "free space"), (errno.EROFS, "put this right")]
)
def test_it_is_one_line(number: int, remedy: str):
    with pytest.raises(UserError) as caught, written(Path("x.csv")):
        raise OSError(number, "No")
    assert caught.value.messages == [f"x.csv could not be written: No; {remedy}, then try again"]
