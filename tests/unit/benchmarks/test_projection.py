"""The projection: its fit, its formula by hand, and the limits that it names."""

import pytest

import projection
from tests.support.benchmarks import scaling_result


def test_the_fit_finds_a_line_through_times_of_every_size():
    line = projection.fit_all_reduce([{"bytes": 2.0**k, "seconds": 1e-4 + 1.5 * 2.0**k / 1e9} for k in range(9, 27)], 4)
    assert line.constant == pytest.approx(1e-4) and 1e-9 / line.slope == pytest.approx(1.0)
    assert line.error < 1e-9 and line(0) == line.constant


def test_a_fit_is_never_negative():
    falling = projection.fit([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])
    steep = projection.fit([1.0, 2.0, 3.0], [1.0, 4.0, 9.0])
    assert falling.slope == 0 and falling.constant > 0
    assert steep.constant == 0 and steep.slope > 0
    for bad in (([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 1.0])):
        with pytest.raises(ValueError, match="fit: needs"):
            projection.fit(*bad)


INPUTS = projection.Inputs(
    projection.Fit(0.002, 1e-4, 0.0), data=1e-6, images=512, labeled=64, gradient_bytes=8_000_000, gradient_calls=2,
    forward_calls=25, backward_calls=25, channels=1000,
)  # fmt: skip

NETWORK = projection.Network(8, latency_us=20, bandwidth_gb=400, node_latency_us=10, node_bandwidth_gb=50)


def test_the_formula_by_hand():
    parts = projection.step_parts(INPUTS, 64, 8, NETWORK, projection.Hidden(gradients=0.25))
    latency, ring, speed = 50e-6, 2 * 63 / 64, 50e9  # 64 GPUs are 8 nodes: three doublings
    assert parts["compute"] == pytest.approx(0.0028) and parts["data"] == pytest.approx(8e-6)
    assert parts["gradients"] == pytest.approx(0.75 * (2 * latency + ring * 8e6 / speed))
    assert parts["BatchNorm"] == pytest.approx(50 * latency + ring * (64 * 8000 / 2 + 8000) / speed)
    alone = projection.step_parts(INPUTS, 1, 512, NETWORK)
    assert alone["gradients"] == alone["BatchNorm"] == 0 and alone["compute"] == pytest.approx(0.0532)


def test_weight_gradients_hide_messages_backward_up_to_their_own_time():
    plain = projection.step_parts(INPUTS, 64, 8, NETWORK)["BatchNorm"]
    backward = 25 * 50e-6 + 2 * 63 / 64 * 8000 / 50e9
    cover = 8e-4 / 3  # a third of the work on 8 images
    for images, seconds in ((8, cover), (800, backward)):
        for covered in (0.0, 0.96):
            hidden = projection.Hidden(covered=covered)
            parts = projection.step_parts(INPUTS, 64, images, NETWORK, hidden)
            assert parts["BatchNorm"] == pytest.approx(plain - covered * seconds)
            assert projection.hidden_seconds(INPUTS, 64, images, NETWORK, hidden) == pytest.approx(covered * seconds)
    one = projection.Hidden(covered=1.0)
    assert projection.step_parts(INPUTS, 1, 8, NETWORK, one)["BatchNorm"] == 0
    row = projection.project(INPUTS, NETWORK, one)[0]
    assert row["hidden"] > 0 and row["seconds"] == pytest.approx(sum(row["parts"].values()))


def test_a_forward_of_their_own_for_weak_views_brings_messages_unless_they_are_joined():
    alone, together = (projection.separate_pass(INPUTS, joined) for joined in (False, True))
    assert (alone.forward_calls, together.forward_calls) == (50, 25)
    for inputs in (alone, together):
        assert inputs.gathered == 2000 and (inputs.channels, inputs.backward_calls) == (1000, 25)
        # 64 + 448 views forward alone, 64 + 448 forward and backward, in place of 64 + 448 + 448 forward and backward
        assert inputs.compute.slope == pytest.approx(1e-4 * (512 / 3 + 512) / 960)
        assert inputs.compute.constant == INPUTS.compute.constant
        assert inputs.weights * inputs.compute.slope == pytest.approx(1e-4 * 512 / 3 / 960)
    parts = [projection.step_parts(inputs, 8, 64, NETWORK)["BatchNorm"] for inputs in (INPUTS, together, alone)]
    assert parts[1] - parts[0] == pytest.approx(7 / 8 * 8 * 8000 / 400e9) and parts[2] - parts[1] == pytest.approx(
        25 * 20e-6
    )


def test_inside_a_node_its_own_links_count():
    assert NETWORK.latency(8) == 20e-6 and NETWORK.bandwidth(8) == 400e9
    assert NETWORK.latency(16) == 30e-6 and NETWORK.bandwidth(16) == 50e9


def test_the_table_refuses_what_does_not_divide_and_knows_the_limit():
    rows = projection.project(INPUTS, NETWORK)
    strong = {row["ranks"]: row for row in rows if row["mode"] == "strong"}
    weak = {row["ranks"]: row for row in rows if row["mode"] == "weak"}
    assert strong[512]["seconds"] is None and strong[64]["labeled"] == 1 and strong[64]["images"] == 8
    assert weak[512]["efficiency"] > 0.9 > 0.3 > strong[64]["efficiency"]
    text = " ".join(projection.notes(INPUTS, rows))
    assert "at 64 GPUs 1 labeled of 8 images" in text and "do not divide over 512 GPUs" in text
    assert "sends as much as the gradients' 7.6 MiB from 2000 GPUs on" in text


def test_the_inputs_come_from_a_result():
    inputs = projection.inputs_of(scaling_result())
    assert inputs.gradient_bytes == 12e6 and inputs.gradient_calls == 3  # two ranks' ring sends an all-reduce once
    assert inputs.channels == 96 and inputs.forward_calls == inputs.backward_calls == 4
    with pytest.raises(ValueError, match="measured shares and counted communication"):
        projection.inputs_of(scaling_result() | {"communication": {}})
