"""Shared by all tests: which of them run, and what every one of them begins with."""

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton kernels on CPU tensors; read when a kernel is defined

from semisonic.config import execution
from semisonic.data.sets import cache
from semisonic_kernels.compile_caches import EXTENSIONS, own_folder, private_caches
from semisonic_kernels.fuse import use_kernels
from tests.support.processes import ROOT, Run, Start, starting
from tests.support.record import record
from tests.support.registries import restored

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # the tests compile too little for a pool of processes
use_kernels("reference").__enter__()  # for the session: also fixtures of modules are made without a compiler

# What `precision auto` comes to is the same in tests on every CPU; commands that tests start name theirs, or a recipe.
execution.multiply_bf16 = lambda: False
# A trial of a step that has passed in one test, or in an earlier session, is none that another may go by.
cache.trials_folder = lambda: None

# A fork has none of its parent's threads: it must not end garbage of theirs, as DALI's pipelines, which would wait for
# them for ever.
os.register_at_fork(before=gc.freeze, after_in_parent=gc.unfreeze)

BEGUN = time.monotonic()
GPU_SECONDS = 100
"""Time limit of a test on a GPU, where a kernel or a collective that never ends would hold the card."""
SECONDS = {"long": 7200, "slow": 900}
"""Time limit of other tests by their marker, of those without one `QUICK_SECONDS`: a test that hangs is named."""
QUICK_SECONDS = 600
TIERS = ("long", "slow")
"""Markers of tests that are left out unless an option of that name is given. The first that a test has counts."""


def pytest_addoption(parser: pytest.Parser) -> None:
    for tier in TIERS:
        parser.addoption(f"--{tier}", action="store_true", help=f"also the tests marked `{tier}`")
    parser.addoption(
        "--record", metavar="NAME", help="store the outcome under this name in benchmarks/results/test-long.json"
    )


def left_out(config: pytest.Config, item: pytest.Item) -> bool:
    """Whether a test is of a tier that nobody asked for. What needs a GPU has no tier: it is quick where it runs."""
    tier = next((tier for tier in TIERS if item.get_closest_marker(tier)), None)
    return tier is not None and not item.get_closest_marker("gpu") and not config.getoption(f"--{tier}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    name = session.config.getoption("--record")
    if name and not hasattr(session.config, "workerinput"):  # once, not in each worker of pytest-xdist
        record(session.config, name, time.monotonic() - BEGUN)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if others := [item for item in items if left_out(config, item)]:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    for item in items:
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(time_limit(item)))
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def time_limit(item: pytest.Item) -> float:
    """Seconds. A marker is none of the keywords: those hold the names of folders too."""
    if item.get_closest_marker("gpu"):
        return GPU_SECONDS
    return next((seconds for tier, seconds in SECONDS.items() if item.get_closest_marker(tier)), QUICK_SECONDS)


@pytest.fixture(scope="session", autouse=True)
def own_state_and_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What runs note for later commands of their user, and keep for later runs, goes where the tests are; but for
    compiled code, which every session would make anew: it stays in the user's cache, or where the user wants it."""
    private_caches(compiles=False)
    os.environ.setdefault(EXTENSIONS, str(own_folder() / "extensions" / f"tests_torch{torch.__version__}"))
    for name in ("STATE", "CACHE"):
        os.environ[f"XDG_{name}_HOME"] = str(tmp_path_factory.mktemp(name.lower()))


@pytest.fixture(autouse=True)
def process_wide_settings(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a run sets for its whole process: every test starts with the same."""
    own = request.node.get_closest_marker("kernels")
    torch.set_num_threads(1)  # networks of tests are too small for two, and the tests share the cores
    # One family of TF32's switches, as in `runtime.set_arithmetic`.
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    with use_kernels(own.args[0] if own else "reference"):  # no compiler where no kernel is tested
        yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False
    inductor = sys.modules.get("torch._inductor.config")
    if getattr(inductor, "deterministic", False):
        inductor.deterministic = False
    if torch.backends.cudnn.allow_tf32 != convolutions:
        torch.backends.cudnn.allow_tf32 = convolutions
    if torch.get_float32_matmul_precision() != products:
        torch.set_float32_matmul_precision(products)


@pytest.fixture
def registries() -> Iterator[None]:
    """What a test registers, and plug-ins that it loads, are known in that test alone."""
    with restored():
        yield


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a command, of which nothing is left after the test."""
    with starting(tmp_path) as function:
        yield function


@pytest.fixture
def launch(start: Start) -> Run:
    """Runs `launch/SCRIPT ARGS` with this interpreter, on `processes` gloo ranks where there are several."""

    def run(
        script: str, *args: object, processes: int = 1, timeout: float = 300, **options: object
    ) -> subprocess.CompletedProcess:
        starter = [sys.executable]
        if processes > 1:
            starter += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        child = start(*starter, ROOT / "launch" / script, *args, stderr=subprocess.PIPE, **options)
        out, err = child.communicate(timeout=timeout)
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)

    return run
