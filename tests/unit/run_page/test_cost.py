"""What a run has cost, from its summary or, before there is one, from its readings."""

import pytest

from semisonic.run_page.cost import cost_of, duration, speed_of


def test_phases_add_up_to_the_run(planted):
    cost = cost_of(planted("--batch.labeled", "8", "--batch.unlabeled-ratio", "2"))
    phases = {phase.name: phase.seconds for phase in cost.phases}
    assert phases == {"start: imports": 1.5, "steps, about": 24.0, "evaluations, checkpoints and the rest, about": 51.0}
    assert ("training and evaluation", "1:15 minutes") in cost.figures and cost.versions == "torch 2"


def test_a_run_without_a_summary_has_its_readings(planted):
    facts = planted(summary=None)
    assert speed_of(facts) == (100.0, pytest.approx(0.01))
    assert ("images a second", "100") in cost_of(facts).figures
    assert cost_of(planted(summary=None, lines=[], state=None)).figures == []


@pytest.mark.parametrize(
    "seconds, text", [(8.46, "8.5 s"), (123, "2:03 minutes"), (605, "10:05 minutes"), (3723, "1:02:03 hours")]
)
def test_durations(seconds: float, text: str):
    assert duration(seconds) == text
