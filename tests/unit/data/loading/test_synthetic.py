"""A batch made without reading an image has the shapes, views, draws and parameters of a real one."""

import pytest
import torch

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.command_line import resolve
from semisonic.contract import OwnStream, Views
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.loader import Loader, Sampling
from semisonic.data.loading.synthetic import synthetic_batch
from semisonic.runs.memory_fit import Trial
from semisonic.training.build import build_algorithm
from tests.support.memory import configuration
from tests.support.trials import TRIAL_RUN, digits


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_synthetic_batch_has_the_shapes_of_a_real_one(algorithm: str):
    fields = ["--algorithm", algorithm, *TRIAL_RUN[:-2], "--no-baseline"]
    cfg = resolve(fields)[1]
    data, split = digits()
    views, cpu = ALGORITHMS[algorithm].views(cfg.algorithm), torch.device("cpu")
    real = next(Loader(data, split, views, Sampling(0, 8, 16), Placement.of(cfg.loading, cpu)))
    made = synthetic_batch(data, split, views, cfg.loading, 8, 16, cpu)

    def shapes(value: object) -> object:
        if isinstance(value, dict):
            return {name: shapes(inner) for name, inner in value.items()}
        if isinstance(value, tuple):
            return [shapes(inner) for inner in value]
        assert isinstance(value, torch.Tensor)
        return value.shape, value.dtype, value.stride()

    assert [shapes(value) for value in made] == [shapes(value) for value in real]
    Trial(lambda cfg: build_algorithm(cfg, data, split), data, split, cpu).step(cfg, compiled=False)


def test_streams_of_add_ons_are_made_too():
    cfg, cpu = configuration(), torch.device("cpu")
    data, split = digits()
    streams = {"own": OwnStream({"weak": "weak"}, ratio=0.5, balanced=True, draws={"turn": 2})}
    views = Views(labeled={"weak": "weak"}, streams=streams)
    real = next(Loader(data, split, views, Sampling(0, 8, 16), Placement.of(cfg.loading, cpu))).streams["own"]
    made = synthetic_batch(data, split, views, cfg.loading, 8, 16, cpu).streams["own"]
    for found, wanted in ((made.views["weak"], real.views["weak"]), (made.draws["turn"], real.draws["turn"]),
                          (made.y, real.y), (made.position, real.position)):  # fmt: skip
        assert found.shape == wanted.shape and found.dtype == wanted.dtype and found.stride() == wanted.stride()


def test_parameters_of_views_are_made_too():
    cfg, cpu = configuration(), torch.device("cpu")
    data, split = digits()
    views = Views(unlabeled={"strong": "fixmatch"}, draws={"mix": 3}, params=("strong",))
    real = next(Loader(data, split, views, Sampling(0, 8, 16), Placement.of(cfg.loading, cpu)))
    made = synthetic_batch(data, split, views, cfg.loading, 8, 16, cpu)
    for one, two in ((real.params["strong"], made.params["strong"]), (real.draws, made.draws)):
        assert {n: (v.shape, v.dtype) for n, v in one.items()} == {n: (v.shape, v.dtype) for n, v in two.items()}
