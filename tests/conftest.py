"""Shared by all tests: which of them run, and how they start processes, of which none outlives its test."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton kernels on CPU tensors; read when a kernel is defined

from semisonic_kernels.fuse import use_kernels

ROOT = Path(__file__).parent.parent
GPU_SECONDS = 100
"""Time limit of a test on a GPU, where a kernel or a collective that never ends would hold the card."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also the tests marked `full`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--full"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("full")])
        items[:] = [item for item in items if not item.get_closest_marker("full")]
    for item in items:
        if not item.get_closest_marker("gpu"):  # not a keyword: those hold the names of folders too
            continue
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(GPU_SECONDS))
        if not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def process_wide_settings() -> Iterator[None]:
    """What a run sets for its whole process: the next test starts with the defaults again."""
    # One family of TF32's switches, as in `runtime.set_arithmetic`.
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
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
def eager_kernels() -> Iterator[None]:
    """No compiler: kernels are compared with their references elsewhere; compiled they would take most of the time."""
    with use_kernels("eager"):
        yield


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(path: Path, process: subprocess.Popen, seconds: float = 200) -> None:
    """Waits until a file is there, which a process that still runs makes."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, f"the process ended with {process.returncode} before there was {path}"
        assert time.monotonic() < deadline, f"there is no {path} after {seconds} s"
        time.sleep(0.01)


def processes_of(folder: Path) -> list[int]:
    """The processes whose command lines name a folder or what is in it; torchrun's workers have their own sessions."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile
            if f"{folder}/".encode() in (entry / "cmdline").read_bytes().replace(b"\0", b"/"):
                found.append(int(entry.name))
    return [process for process in found if process != os.getpid()]


Start = Callable[..., subprocess.Popen]


@contextmanager
def starting(folder: Path) -> Iterator[Start]:
    """Gives a function that starts a command; at the end, all that it has started or that names the folder is killed.

    A command runs at the root of the repository, in a session of its own; what it prints goes through one pipe.
    """
    started: list[subprocess.Popen] = []

    def start(*command: object, env: dict[str, str] | None = None, **options: object) -> subprocess.Popen:
        plain = {"cwd": ROOT, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        environment = (os.environ if env is None else env) | {"OMP_NUM_THREADS": "1"}
        started.append(
            subprocess.Popen([*map(str, command)], env=environment, start_new_session=True, **(plain | options))  # type: ignore[call-overload]
        )
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        deadline = time.monotonic() + 20
        while (left := processes_of(folder)) and time.monotonic() < deadline:
            for number in left:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.01)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a command, of which nothing is left after the test."""
    with starting(tmp_path) as function:
        yield function


Run = Callable[..., subprocess.CompletedProcess]


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


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A file system in memory, of a size such as 1m, at a folder that it makes; skips where mounting is not allowed."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)  # even if a failed test left something open
