"""Which study a command line means."""

import pytest

from semisonic.schema import UserError
from semisonic.studies.command import SUMMARIES, main


def test_the_studies_are_listed(capsys):
    assert main([]) == main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in SUMMARIES)


def test_a_name_that_is_none_gets_a_hint():
    with pytest.raises(UserError, match="lables: no such study; did you mean labels"):
        main(["lables"])
