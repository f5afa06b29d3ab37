"""A checkpoint of one process, DDP or any ZeRO stage continues under any other and at another world size.

Under the same one the continuation is the uninterrupted run, bit for bit. Under another the data order, the split, the
schedule and the algorithm's state are the same, and the metrics are so up to rounding.
"""

from itertools import permutations
from pathlib import Path

import pytest
import torch

import semisonic
from tests.dist.worker import Job
from tests.dist.workers import needed, needs, run_jobs
from tests.support.runs import compare, second_half

STRATEGIES = ("ddp", "zero1", "zero2", "zero3")
ACROSS = list(permutations(STRATEGIES, 2))
HALF = 5
LAYERS = 0.7
"""`optim.layer_decay` of the jobs with many groups."""
GROWING = ["--batch.unlabeled-schedule", "growing", "--batch.unlabeled-bend", "0"]
"""Sizes 2 to 16, another one every few steps."""
Results = dict[str, dict]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("across")


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, folder: Path) -> Results:
    """Job -> result, of what the chosen tests read. Jobs that write checkpoints come before those that read them."""

    def saved(run: str) -> str:
        return str(folder / run / "checkpoints" / f"step-{HALF}")

    def job(name: str, strategy: str = "ddp", dtype: str = "float32", frozen: bool = True, **more: object) -> Job:
        dropout = 0.2 if dtype == "float64" else 0.0
        fixed = {"strategy": strategy, "dtype": dtype, "frozen": frozen, "dropout": dropout, "save_at": HALF}
        return Job(name, "remembering", **fixed, **more)  # type: ignore[arg-type]

    def whole(name: str, strategy: str = "ddp", dtype: str = "float32", **more: object) -> Job:
        return job(name, strategy, dtype, save=str(folder / name), **more)

    grown = {"dtype": "float64", "fields": GROWING}
    one = [whole("one float64", **grown)]
    two = [
        whole("two float64", **grown),
        job("one to two", resume=saved("one float64"), **grown),
        # With many groups of parameters: DeepSpeed lays each out anew for its number of ranks.
        *(whole(strategy, strategy, layer_decay=LAYERS) for strategy in STRATEGIES),
        *(job(f"{old} to {new}", new, resume=saved(old), layer_decay=LAYERS) for old, new in ACROSS),
        # With BatchNorm in training mode, whose statistics amplify rounding, where bits are compared.
        *(whole(f"training {s}", s, frozen=False) for s in STRATEGIES),
        *(job(f"training {s} to {s}", s, frozen=False, resume=saved(f"training {s}")) for s in STRATEGIES),
        *(whole(f"adamw {s}", s, optim="adamw", layer_decay=LAYERS) for s in ("zero2", "zero3")),
        *(
            job(f"adamw {s} to {s}", s, optim="adamw", layer_decay=LAYERS, resume=saved(f"adamw {s}"))
            for s in ("zero2", "zero3")
        ),
    ]
    last = [
        job("two to one", resume=saved("two float64"), **grown),
        *(job(f"{s} to one", resume=saved(s), layer_decay=LAYERS) for s in ("zero2", "zero3")),
    ]
    names = needed(request)[1]
    chosen = [[job for job in jobs if job.name in names] for jobs in (one, two, last)]
    (folder / "again").mkdir()
    found: Results = {}
    for jobs, world, where in zip(chosen, (1, 2, 1), (folder, folder, folder / "again"), strict=True):
        found |= run_jobs(where, world, jobs) if jobs else {}
    return found


@pytest.mark.parametrize(
    "name",
    ["training ddp"]
    + [pytest.param(f"training {s}", marks=pytest.mark.slow) for s in STRATEGIES[1:3]]
    + [pytest.param(f"training {s}", marks=pytest.mark.long) for s in STRATEGIES[3:]]
    + [pytest.param(f"adamw {s}", marks=pytest.mark.slow) for s in ("zero2", "zero3")],
)
@needs(lambda name: [name, f"{name} to {name.split()[1]}"])
def test_a_continuation_is_the_uninterrupted_run_bit_for_bit(results: Results, name: str):
    whole, continued = second_half(results[name], HALF), results[f"{name} to {name.split()[1]}"]
    assert continued["loss"] == whole["loss"] and continued["seen"] == whole["seen"] and len(whole["loss"]) == 5
    assert whole["state"].keys() == continued["state"].keys()
    assert any(key.startswith("optimizer/") and value.any() for key, value in whole["state"].items())
    for key, value in whole["state"].items():
        assert torch.equal(value, continued["state"][key]), key
    assert whole["confusion"] == continued["confusion"]


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new"), ACROSS)
@needs(lambda old, new: [old, f"{old} to {new}"])
def test_under_another_strategy_a_run_goes_on(results: Results, old: str, new: str):
    compare(second_half(results[old], HALF), results[f"{old} to {new}"], 1e-5, slack=100)


@pytest.mark.parametrize(
    ("whole", "continued"),
    [("one float64", "one to two"), pytest.param("two float64", "two to one", marks=pytest.mark.slow)],
)
@needs(lambda whole, continued: [whole, continued])
def test_at_another_world_size_a_run_goes_on(results: Results, whole: str, continued: str):
    compare(second_half(results[whole], HALF), results[continued], 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
@needs(lambda strategy: [strategy, f"{strategy} to one"])
def test_a_zero_run_goes_on_in_one_process(results: Results, strategy: str):
    compare(second_half(results[strategy], HALF), results[f"{strategy} to one"], 1e-5, slack=100)


@pytest.mark.slow
@needs(lambda: STRATEGIES)
def test_all_strategies_export_the_same_network(results: Results, folder: Path):
    networks = {
        name: semisonic.load(folder / name / "checkpoints" / f"step-{HALF}").state_dict() for name in STRATEGIES
    }
    for name, network in networks.items():
        assert network.keys() == networks["ddp"].keys()
        for key, value in network.items():
            torch.testing.assert_close(value, networks["ddp"][key], rtol=1e-4, atol=1e-6, msg=f"{key} of {name}")
