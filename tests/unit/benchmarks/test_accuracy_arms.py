"""The loops whose time is measured train alike, and their networks are evaluated as they were at each moment."""

import time

import pytest
import torch

import accuracy_arms
from semisonic.config.command_line import resolve
from semisonic.config.run_config import RunConfig

pytestmark = pytest.mark.filterwarnings("ignore:The external source node")


@pytest.fixture
def cfg(tmp_path) -> RunConfig:
    fields = ["--model", "small", "--batch.labeled", "4", "--batch.unlabeled-ratio", "1", "--steps", "4"]
    quiet = ["--no-baseline", "--device", "cpu", "--threads", "1", "--log.trackers", "none", "--out", str(tmp_path)]
    return resolve([*fields, *quiet])[1]


@pytest.mark.parametrize("name", accuracy_arms.ARMS)
def test_a_training_tells_its_course(name: str, cfg: RunConfig, monkeypatch: pytest.MonkeyPatch):
    kept: list[float] = []
    original = accuracy_arms.ARMS[name].errors

    def errors(arm, weights, most):
        kept.append(sum(value.double().abs().sum().item() for value in weights.values()))
        return original(arm, weights, most)

    monkeypatch.setattr(accuracy_arms.ARMS[name], "errors", errors)
    found = accuracy_arms.run(name, cfg, 2, 100)
    assert found["steps"] == [2, 4] and found["images"] == 100 and all(0 <= n <= 100 for n in found["errors"])
    for clock in ("seconds", "cpu_seconds"):
        assert 0 < found[clock][0] < found[clock][1]
    assert found["start_up"] > 0 and len(set(kept)) == 2, "the second network is not the first"


def test_the_clock_stands_while_networks_are_copied_and_evaluated(cfg: RunConfig, monkeypatch: pytest.MonkeyPatch):
    class Slow:
        def __init__(self, cfg: RunConfig):
            pass

        def begin(self) -> None:
            time.sleep(0.02)

        def step(self) -> None:
            time.sleep(0.01)

        def weights(self) -> dict:
            time.sleep(0.3)
            return {"x": torch.zeros(1)}

        def errors(self, weights: dict, most: int) -> tuple[int, int]:
            time.sleep(0.3)
            return 1, 2

        def end(self) -> None:
            pass

    monkeypatch.setitem(accuracy_arms.ARMS, "slow", Slow)
    found = accuracy_arms.run("slow", cfg, 4, None)
    assert found["steps"] == [1, 2, 3, 4] and found["errors"] == [1] * 4
    assert 0.06 <= found["seconds"][-1] < 0.3
