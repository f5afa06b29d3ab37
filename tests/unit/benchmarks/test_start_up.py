"""A start is measured phase by phase, and beside another checkout's."""

from pathlib import Path

import pytest

import start_up
from measure import Mistake
from tests.support.processes import ROOT


def test_what_cannot_be_measured_is_named(tmp_path: Path):
    with pytest.raises(Mistake) as found:
        start_up.parse(["--against", str(tmp_path), "--rounds", "0", "--threads", "0"])
    assert [line.split(":")[0] for line in found.value.lines] == ["--rounds 0", "--threads 0", f"--against {tmp_path}"]


def test_ratios_are_those_of_whole_processes_round_by_round():
    args = start_up.parse(["--rounds", "2"])

    def reading(seconds: float) -> dict:
        return {"imports": (seconds / 2, 1.0), start_up.REST: (seconds / 2, 1.0), start_up.WHOLE: (seconds, 2.0)}

    readings = {start_up.HERE: [reading(2), reading(4)], start_up.AGAINST: [reading(6), reading(6)]}
    found = start_up.result(args, readings)
    assert found["ratios"]["against, seconds"]["rounds"] == [3, 1.5]
    assert found["ratios"]["against, cpu seconds"]["median"] == 1
    assert found["seconds"]["imports, seconds"]["this"]["rounds"] == [1, 2]
    assert found["seconds"]["picture, seconds"]["this"]["median"] == 0


@pytest.mark.slow
def test_a_run_that_fails_says_why(tmp_path: Path):
    with pytest.raises(Mistake, match=r"error: model\.name: no network nowhere"):
        start_up.started(ROOT, [*start_up.DIGITS, "--model", "nowhere"], 1, tmp_path, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("against", [[], ["against"]])
def test_every_checkout_starts_and_every_phase_is_there(against: list[str]):
    other = ["--against", str(ROOT)] if against else []
    found = start_up.run(start_up.parse([*other, "--rounds", "1"]))
    assert found["ratios"].keys() == {
        f"{name}, {what}" for name in ("this, trial taken", *against) for what in ("seconds", "cpu seconds")
    }
    for phase in (*start_up.PHASES, start_up.WHOLE):
        for name, own in found["seconds"][f"{phase}, seconds"].items():
            assert own["median"] > 0 or (phase, name) == ("trial step", "this"), (phase, name)
