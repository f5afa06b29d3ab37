"""1, 2 and 4 ranks, and DDP and DeepSpeed's ZeRO, solve the same problem: losses, gradients, BatchNorm and state.

In float64 to 1e-10. In float32 a ReLU that flips on a rounding error moves later gradients by more than the error, and
statistics of few images amplify it: there BatchNorm is frozen and gradients are held less closely than losses.
DeepSpeed knows no float64.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest

from semisonic.algorithms.registry import ALGORITHMS
from tests.dist.worker import ADDONS, Job
from tests.dist.workers import needed, needs, run_jobs
from tests.support import random_networks
from tests.support.runs import compare, difference

WORLDS = [1, 2, pytest.param(4, marks=pytest.mark.long)]
GROWING = ["--batch.unlabeled-schedule", "growing", "--batch.unlabeled-stages", "2", "--batch.unlabeled-bend", "0",
           "--batch.unlabeled-ratio", "4"]  # fmt: skip
"""Of 16 and 32 images, which 4 ranks with 2 micro-batches can share; the second from step 15 on."""
STAGES = [*GROWING[:2], "--batch.unlabeled-stages", "4", *GROWING[4:]]
"""Of 8, 16, 24 and 32 images; the second from step 9 on."""
CLOSELY = ["supervised", "fixmatch", "remembering"]
"""Held to all combinations; the other algorithms, whose parts are the same, to one each."""

SEPARATE = "weak views separate"
EXACT = [
    Job(
        f"{algorithm} {'frozen' if frozen else 'training'} micro {micro}",
        algorithm,
        dtype="float64",
        frozen=frozen,
        micro=micro,
        dropout=0.2 if frozen else 0.0,
    )
    for algorithm in CLOSELY
    for frozen in (True, False)
    for micro in (1, 2)
] + [
    Job(name, name, dtype="float64", dropout=0.0 if name == "mpl" else 0.2, steps=4)  # MPL has its own
    for name in ALGORITHMS
    if name not in CLOSELY
]
EXACT += [
    Job(
        name,
        "mixmatch" if name == "aum" else "fixmatch",
        name,
        dtype="float64",
        dropout=0.2,
        steps=7 if name == "ctaugment" else 4,  # from step 5 on, drawn by learned rates
    )
    for name in ADDONS
]
EXACT += [Job(SEPARATE, dtype="float64", dropout=0.2, micro=2, steps=4, fields=["--algorithm.weak-pass", "separate"])]
EXACT += [Job("lars", dtype="float64", dropout=0.2, optim="lars", rate=2.0, steps=4)]
EXACT += [
    Job(f"growing micro {micro}", dtype="float64", dropout=0.2, steps=16, micro=micro, fields=GROWING)
    for micro in (1, 2)
]
EXACT += [Job("rates by layers", dtype="float64", dropout=0.2, layer_decay=0.7, clip=0.5, steps=4)]
EXACT += [
    Job(model, "mixmatch", model=model, dtype="float64", steps=4)
    for model in ("shake-shake-8-2x2d", random_networks.MBCONV)
]
SINGLE = [Job(f"{algorithm} float32", algorithm, frozen=True, steps=5) for algorithm in CLOSELY]
COMPILED = [Job(mode, model="small", dropout=0.2, compile=mode, steps=4, dtype="float64") for mode in ("whole", "off")]
ZERO = [
    Job(
        f"{algorithm} {optim} {strategy}",
        algorithm,
        strategy=strategy,
        optim=optim,
        micro=micro,
        frozen=True,
        steps=steps,
        clip=clip,
        layer_decay=0.7 if micro == 2 else 1.0,
    )
    # Adam divides by the root of the squared gradient: where that is nearly 0, rounding errors become whole steps.
    for algorithm, optim, micro, steps, clip in (
        ("remembering", "sgd", 1, 10, None),
        ("supervised", "sgd", 2, 10, 0.5),
        ("fixmatch", "adamw", 2, 3, None),
    )
    for strategy in ("ddp", "zero1", "zero2", "zero3")
]
ZERO_GROWING = [
    Job(f"growing {strategy}", strategy=strategy, frozen=True, micro=2, steps=10, fields=STAGES)
    for strategy in ("ddp", "zero2", "zero3")
]
ZERO_COMPILED = [
    Job(f"compiled {strategy}", strategy=strategy, model="small", compile="whole", frozen=True, steps=4)
    for strategy in ("ddp", "zero2")
]
HALVED = [Job("bf16 gradients", gradients="bf16", frozen=True, steps=2)]
JOBS = {job.name: job for job in (*EXACT, *SINGLE, *COMPILED, *ZERO, *ZERO_GROWING, *ZERO_COMPILED, *HALVED)}
UNMASKED = (
    "enaet",
    "ict",
    "mixmatch",
    "remixmatch",
    "pi-model",
    "mean-teacher",
    "temporal-ensembling",
    "vat",
    "rotnet",
    "simclr",
    "supervised",
)
"""Methods in which every unlabeled image counts; all others have to mask some in the steps that are compared."""
Results = dict[int, dict[str, dict]]


ALL = [*EXACT, *SINGLE, *COMPILED, *ZERO, *ZERO_GROWING, *ZERO_COMPILED, *HALVED]
QUICK = {
    "supervised training micro 1",
    "fixmatch frozen micro 1",
    "fixmatch frozen micro 2",
    "remembering training micro 2",
    "lars",
    "growing micro 2",
    "rates by layers",
    SEPARATE,
    random_networks.MBCONV,
}
"""Of the combinations; every other algorithm has its one job. ZeRO is slow: DeepSpeed compiles before its first step."""


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """World size -> job -> result, of what the chosen tests read."""
    folder = tmp_path_factory.mktemp("world")
    return {
        world: run_jobs(folder, world, [job for job in ALL if job.name in names])
        for world, names in needed(request).items()
    }


def exact(job: Job) -> object:
    quick = job.algorithm == job.name or job.addon or job.name in QUICK
    return pytest.param(job, id=job.name, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize("world", WORLDS[1:])
@pytest.mark.parametrize("job", map(exact, EXACT))
@needs(lambda job: [job.name])
def test_ranks_equal_one_process(results: Results, job: Job, world: int):
    one, more = results[1][job.name], results[world][job.name]
    assert one["wrapper"] != more["wrapper"] == "DistributedDataParallel"
    assert len(one["loss"]) == job.steps
    compare(one, more, 1e-10)
    assert one["confusion"] == more["confusion"]  # evaluation does not depend on the ranks
    assert one["mask"] == pytest.approx(more["mask"])
    if job.algorithm not in UNMASKED:
        assert any(0 < mask < 1 for mask in one["mask"])  # thresholds decided something
    moved = any(value.any() for name, value in one["state"].items() if name.endswith("running_mean"))
    assert moved != job.frozen


@pytest.mark.parametrize("world", WORLDS[1:])
@pytest.mark.parametrize("job", SINGLE, ids=lambda job: job.name)
@needs(lambda job: [job.name])
def test_ranks_equal_one_process_in_float32(results: Results, job: Job, world: int):
    compare(results[1][job.name], results[world][job.name], 1e-5, slack=100)


@pytest.mark.parametrize(
    "algorithm", ["fixmatch", *(pytest.param(name, marks=pytest.mark.slow) for name in ("supervised", "remembering"))]
)
@needs(lambda algorithm: [f"{algorithm} frozen micro {micro}" for micro in (1, 2)])
def test_micro_batches_change_nothing_where_batch_norm_is_frozen(results: Results, algorithm: str):
    one, two = (results[1][f"{algorithm} frozen micro {micro}"] for micro in (1, 2))
    assert difference(one["loss"], two["loss"]) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
@needs(lambda: ["off", "whole"])
def test_the_compiled_step_equals_the_eager_one(results: Results, world: int):
    compare(results[world]["off"], results[world]["whole"], 1e-8)
    compare(results[1]["off"], results[world]["whole"], 1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3"])
@pytest.mark.parametrize(
    "problem", [pytest.param("remembering sgd", marks=pytest.mark.long), "supervised sgd", "fixmatch adamw"]
)
@needs(lambda problem, strategy: [f"{problem} ddp", f"{problem} {strategy}"])
def test_zero_equals_ddp(results: Results, problem: str, strategy: str, world: int):
    ddp, zero = results[world][f"{problem} ddp"], results[world][f"{problem} {strategy}"]
    assert zero["wrapper"] == "DeepSpeedEngine"
    compare(ddp, zero, 1e-5, slack=100)
    compare(results[1][f"{problem} ddp"], zero, 1e-5, slack=100)
    if problem == "supervised sgd":
        norms = [sum(float(value.square().sum()) for value in step.values()) ** 0.5 for step in ddp["gradients"]]
        assert max(norms) > 0.5  # clipping did something
    for net, confusion in ddp["confusion"].items():
        moved = sum(
            abs(a - b)
            for one, two in zip(confusion, zero["confusion"][net], strict=True)
            for a, b in zip(one, two, strict=True)
        )
        assert (
            sum(map(sum, zero["confusion"][net])) == 400 and moved <= 4
        )  # two images whose best classes are equal but for rounding


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
@needs(lambda strategy: ["growing ddp", f"growing {strategy}"])
def test_zero_equals_ddp_where_the_batch_grows(results: Results, strategy: str, world: int):
    """DeepSpeed is told the largest batch, and averages by what a step really has."""
    ddp, zero = results[world]["growing ddp"], results[world][f"growing {strategy}"]
    assert zero["wrapper"] == "DeepSpeedEngine"
    assert set(map(len, zero["seen"])) == {8, 16}
    compare(ddp, zero, 1e-5, slack=100)


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
@needs(lambda: ["compiled ddp", "compiled zero2"])
def test_zero_equals_ddp_in_a_compiled_step(results: Results, world: int):
    ddp, zero = results[world]["compiled ddp"], results[world]["compiled zero2"]
    assert zero["wrapper"] == "DeepSpeedEngine"
    compare(ddp, zero, 1e-5, slack=100)


@pytest.mark.parametrize("world", WORLDS[1:])
@needs(lambda: ["fixmatch float32", "bf16 gradients"])
def test_gradients_travel_in_bf16_where_asked_for(results: Results, world: int):
    exact, halved = results[world]["fixmatch float32"]["gradients"][0], results[world]["bf16 gradients"]["gradients"][0]
    differences = [difference(value, halved[name]) for name, value in exact.items()]
    assert max(differences) < 2**-6 and min(differences) > 2**-14  # bf16 keeps 8 bits


def test_only_what_is_read_is_trained():
    def item(mark: pytest.MarkDecorator | None, **params: object) -> SimpleNamespace:
        return SimpleNamespace(
            path=Path(__file__),
            callspec=SimpleNamespace(params=params),
            get_closest_marker=lambda name: mark and mark.mark,
        )

    pair, one = needs(lambda kind: [kind, f"{kind} again"]), needs(lambda: ["one"])
    items = [item(pair, kind="a", world=2), item(pair, kind="b"), item(one, world=4), item(None, world=8)]
    request = SimpleNamespace(path=Path(__file__), session=SimpleNamespace(items=items))
    found = needed(request)  # type: ignore[arg-type]
    assert found == {1: {"a", "a again", "b", "b again", "one"}, 2: {"a", "a again"}, 4: {"one"}}
    request.path = Path("another module")
    assert needed(request) == {}  # type: ignore[arg-type]
