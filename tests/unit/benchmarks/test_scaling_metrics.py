"""Figures of scaling: efficiency by round and by core, and what a machine could not tell."""

import scaling_metrics
from measure import spread


def test_efficiency_is_taken_round_by_round_and_by_busy_core():
    def row(ranks: int, busy: int, *speeds: float) -> dict:
        return {"ranks": ranks, "busy_cores": busy, "step": {"images_per_second": spread(speeds)}}

    rows = {"1": row(1, 1, 10.0, 100.0), "strong 4": row(4, 2, 20.0, 160.0)}
    found = scaling_metrics.efficiencies(rows, ["step"], on_gpu=False)
    assert found["strong 4, step"]["rounds"] == [0.5, 0.4]
    assert found["strong 4, step, by core"]["rounds"] == [1.0, 0.8]
    assert list(scaling_metrics.efficiencies(rows, ["step"], on_gpu=True)) == ["strong 4, step"]


def test_a_result_says_what_its_machine_could_not_tell():
    row = {"ranks": 4, "threads": 1}
    found = {"device": "cpu", "cores": 2, "load_before": 5.0, "groups": {"strong 4": row}}
    text = " ".join(scaling_metrics.remarks(found, {"strong 4": {"step": [{"idle": False}]}}))
    assert "other work kept 5.0 processes busy on 2 cores" in text and "strong 4 was not idle" in text
    assert "4 processes share 2 cores: their efficiency says nothing of a cluster" in text
    quiet = found | {"load_before": 0.1, "device": "cuda"}
    assert scaling_metrics.remarks(quiet, {"strong 4": {"step": [{"idle": True}]}}) == []
