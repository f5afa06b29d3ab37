"""What the benchmarks share: variants that wait in processes of their own and measure in turn, and how metrics are
summed up.

A machine's speed drifts from one second to the next. So every variant is built once, then all measure one window each,
over and over, and two of them are compared round by round: a ratio is the median of the rounds' ratios.
"""

import contextlib
import multiprocessing
import os
import platform
import shlex
import signal
import statistics
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import torch

import provenance
from provenance import Seeds
from semisonic.text import dump_json

ROOT = Path(__file__).resolve().parent.parent
AHEAD = 16
"""Steps that the host may be ahead of the device in a window: enough to keep it busy, few enough to end in time."""

Reading = dict[str, Any]
"""What one window gave: seconds, steps, and what a variant adds."""


class Variant(Protocol):
    """One of the things that are compared. Its constructor builds and warms it up; after that it must be idle."""

    device: torch.device
    info: dict[str, Any]
    """What the parent wants to know about it; plain data."""

    def measure(self, what: str, seconds: float) -> Reading:
        """One window of about so many seconds."""
        ...


def timed(
    action: Callable[[], object], device: torch.device, seconds: float, warm_up: int = 1, least: int = 3
) -> tuple[float, int]:
    """Seconds and calls of `action` after `warm_up` untimed calls, for `seconds` and at least `least` calls.

    The device is waited for at both ends, so that what the host had queued counts.
    """
    pending: deque[torch.cuda.Event] = deque()

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(warm_up):
        action()
    wait()
    begin, calls = time.perf_counter(), 0
    while calls < least or time.perf_counter() - begin < seconds:
        action()
        calls += 1
        if device.type == "cuda":
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(device))
            pending.append(event)
            if len(pending) > AHEAD:
                pending.popleft().synchronize()
    wait()
    return time.perf_counter() - begin, calls


def window(action: Callable[[], object], device: torch.device, seconds: float, warm_up: int = 1) -> Reading:
    """As `timed`, with the CPU seconds that all threads of this process have spent: what a step costs on a machine that
    others share, where each process has one thread."""
    for _ in range(warm_up):
        action()
    begin = time.process_time()
    elapsed, steps = timed(action, device, seconds, warm_up=0)
    return {"seconds": elapsed, "steps": steps, "cpu_seconds": time.process_time() - begin}


# Processes.


class Failed(Exception):
    """The process of the variant `name` ended with an error; `text` is its traceback, or how it ended."""

    def __init__(self, name: str, text: str):
        super().__init__(f"{name}: {text}")
        self.name, self.text = name, text.rstrip()


class Mistake(Exception):
    """What was asked for is impossible; one line per mistake."""

    def __init__(self, lines: Sequence[str]):
        super().__init__("\n".join(lines))
        self.lines = list(lines)


def exit_code(action: Callable[[], object]) -> int:
    """Does what a benchmark is for and prints what went wrong: 0 done, 1 a variant failed, 2 a mistake to correct."""
    from semisonic.schema import UserError

    try:
        action()
    except Failed as error:
        print(f"{error.text}\nerror: {error.name} failed: {error.text.splitlines()[-1]}", file=sys.stderr)
        return 1
    except (Mistake, UserError) as error:
        lines = error.lines if isinstance(error, Mistake) else error.messages
        print("\n".join(f"error: {line}" for line in lines), file=sys.stderr)
        return 2
    return 0


class Worker:
    """A variant in a process of its own, as its parent sees it."""

    def __init__(
        self,
        name: str,
        build: Callable[[Any], Variant],
        plan: Any,
        variables: dict[str, str] | None = None,
        wait: bool = True,
    ):
        """`build` must be importable and `plan` picklable; `variables` are added to the process's environment.

        Returns once the variant is built and idle; without `wait` at once: its first answer is then the variant's info.
        """
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, build, plan), name=name)
        outside = dict(os.environ)
        os.environ.update(variables or {})
        try:
            self.process.start()
        finally:
            os.environ.clear()
            os.environ.update(outside)
        other.close()
        self.info: dict[str, Any] = {}
        if not wait:
            return
        try:
            self.info = self.answer()
        except (Failed, Mistake):
            self.close()
            raise

    def measure(self, what: str, seconds: float) -> Reading:
        self.ask(what, seconds)
        return self.answer()

    def ask(self, what: str, seconds: float) -> None:
        """Starts a window; `answer` waits for its end."""
        with contextlib.suppress(BrokenPipeError):  # its process has ended: `answer` says how
            self.connection.send((what, seconds))

    def answer(self) -> dict[str, Any]:
        try:
            kind, content = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(10)
            code = self.process.exitcode
            killed = " (killed: out of memory?)" if code == -signal.SIGKILL else ""
            raise Failed(self.name, f"its process ended with exit code {code}{killed}") from None
        if kind == "mistake":
            raise Mistake(content)
        if kind == "failed":
            raise Failed(self.name, content)
        return content

    def hang_up(self) -> None:
        """Tells the process to end, without waiting for it."""
        self.connection.close()

    def close(self) -> None:
        close_all([self])


def close_all(workers: Sequence[Worker], seconds: float = 20) -> None:
    """Ends their processes, all at once; those that live on after so many seconds are killed."""
    for worker in workers:
        worker.hang_up()
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
    for worker in workers:
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _serve(connection: Connection, build: Callable[[Any], Variant], plan: Any) -> None:
    """A variant's process: builds it, then measures whenever it is asked to, until the parent hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which hangs up
    from semisonic.schema import UserError

    try:
        variant = build(plan)
        settle()
        connection.send(("ready", variant.info))
        while True:
            what, seconds = connection.recv()
            reading = variant.measure(what, seconds)
            peak = peak_memory(variant.device)
            connection.send(("reading", reading | {"peak_bytes": peak, "idle": settle()}))
    except EOFError:
        return
    except UserError as error:
        connection.send(("mistake", error.messages))
    except Exception:
        connection.send(("failed", traceback.format_exc()))


QUIET = 0.1
"""Share of one core up to which a process counts as idle."""


def settle(limit: float = 30.0, interval: float = 0.2) -> bool:
    """Waits until this process and its children (loader workers filling their queues) use no CPU any more.

    False where they still do after `limit` seconds: then they disturb what is measured next.
    """
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        begin, before = time.monotonic(), _cpu_seconds()
        time.sleep(interval)
        if _cpu_seconds() - before <= QUIET * (time.monotonic() - begin):
            return True
    return False


def _cpu_seconds() -> float:
    """CPU time of this process with all its threads, and of its living children."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        try:
            fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # ended in between
            continue
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def peak_memory(device: torch.device) -> int:
    """Bytes: the peak of torch's allocator on the GPU, or of this process's resident memory on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


# Metrics.


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, smallest and largest of the rounds' values, and the values themselves."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": list(values)}


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, Any]:
    """Round by round, above / below."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def environment(device: torch.device) -> dict[str, Any]:
    """Hardware, versions and commit that a result was measured with; a version is None where there is no package."""
    packages = {
        "torch": "torch", "triton": "triton", "torchvision": "torchvision", "numpy": "numpy", "pillow": "pillow",
        "accelerate": "accelerate", "deepspeed": "deepspeed",
        "dali cuda13": "nvidia-dali-cuda130", "dali cuda12": "nvidia-dali-cuda120",
    }  # fmt: skip
    versions = {label: _version(name) for label, name in packages.items()} | {"python": platform.python_version()}
    cpu = f"{_cpu_name()}, {cores()} cores"
    return {
        "device": device.type,
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        "cpu": cpu,
        "cpu_threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "versions": versions,
        "commit": commit(),
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def describe(found: dict[str, Any]) -> str:
    """An environment in one line."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items() if number)
    beside = f" with {found['cpu']}" if found["device"] == "cuda" else ""
    return f"{found['hardware']}{beside}; {versions}; commit {found['commit'] or 'unknown'}"


def command(argv: Sequence[str] | None = None) -> str:
    """This program as one calls it in the root of the repository: `python benchmarks/memory.py --rounds 3`.

    Also in a process that `Worker` has started. Paths within the repository are written from its root.
    """
    words = list(sys.argv if argv is None else argv)
    module = getattr(sys.modules["__main__"], "__spec__", None) if argv is None else None
    program = ["-m", module.name.removesuffix(".__main__")] if module else [os.path.abspath(words[0])]
    relative = [word.replace(f"{ROOT}{os.sep}", "") for word in [*program, *words[1:]]]
    return shlex.join(["python", *relative])


def seeds_of(cells: Iterable[Mapping[str, Any]]) -> list[int]:
    """The seeds that the cells of a result have, in order."""
    return sorted({cell["seed"] for cell in cells})


def with_origin(content: dict[str, Any], seeds: Seeds, called: str | None = None) -> dict[str, Any]:
    """A result with where it comes from: the command, the seeds, and the hardware and versions that `content` has, from
    `environment`, at its top or under that name.

    seeds: what was drawn with; "none: WHY" where nothing is drawn. called: the command, where it is not this program.
    Raises `provenance.Missing` where a fact is not there.
    """
    found = {"command": called or command(), "seeds": seeds if isinstance(seeds, str) else list(seeds)}
    provenance.checked({**content.get("environment", {}), **content, **found}, str(content.get("kind", "a result")))
    return {**found, **{key: value for key, value in content.items() if key not in found}}


def store(path: Path, content: dict[str, Any], seeds: Seeds, called: str | None = None) -> None:
    """Writes a result `with_origin`. The way for every script to write one."""
    write_json(path, with_origin(content, seeds, called))


def store_beside(path: Path, found: dict[str, Any], seeds: Seeds, called: str | None = None) -> None:
    """Writes where a table or picture comes from into a file beside it; `found` is its `environment`."""
    store(provenance.beside(path), found, seeds, called)


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_json(content, indent=1) + "\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit(folder: Path = Path(__file__).parent) -> str | None:
    """Commit of a folder's working tree, with a + where files differ from it; None outside a repository."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def most_allocated(recorded: Any) -> int:
    """The most bytes that torch's CPU allocator has given out at once, by the memory events of a finished profile."""
    events = recorded.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most
