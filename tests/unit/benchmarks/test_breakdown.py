"""The parts of a step add up to the step."""

import breakdown


def test_the_parts_of_a_step_add_up():
    ms = {"bare": 10.0, "step": 14.0, "end_to_end": 15.0}
    assert sum(breakdown.engine_parts(ms).values()) == ms["end_to_end"]
    assert "data" not in breakdown.engine_parts({"bare": 1.0, "step": 2.0})
