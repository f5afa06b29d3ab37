"""The table of exit codes."""

from _extension.exit_codes import exit_codes
from semisonic.schema import ExitCode


def test_every_code_has_a_meaning():
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in exit_codes().splitlines()[2:]]
    assert [(int(code), name.strip("`")) for code, name, _ in rows] == [(code.value, code.name) for code in ExitCode]
    assert all(len(meaning) > 3 for *_, meaning in rows)
