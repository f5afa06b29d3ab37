"""The process a run lives in: devices, threads, the process group, determinism, and the versions it ran with."""

import ctypes
import importlib
import logging
import os
import platform
import resource
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.metadata import version
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import (
    DDPCommunicationHookType,
    DeepSpeedPlugin,
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
    broadcast_object_list,
    gather_object,
)

from semisonic.config.run_config import RunConfig
from semisonic.distributed import deepspeed as deepspeed_config
from semisonic.distributed.rendezvous import check_launcher, join
from semisonic.distributed.variables import world_size
from semisonic.distributed.watchdog import collective_timeout
from semisonic.faults import reach
from semisonic.models.norm import make_groups
from semisonic.schema import UserError
from semisonic.version import __version__
from semisonic_kernels.compile_caches import UnsafeFolder, private_caches, private_extensions

T = TypeVar("T")


@contextmanager
def started(cfg: RunConfig) -> Iterator[Accelerator]:
    """Around a run: what `start` makes, and afterwards the process as it was before.

    So the next run in it may have other settings, and a notebook keeps its own. After an error of one rank of several
    the process group stays: the others may be waiting in it, and ending it would wait for them.
    """
    stood = dist.is_initialized()
    with settings_restored(), accelerate_of_its_own():
        accelerator, ended = None, False
        try:
            accelerator = start(cfg)
            yield accelerator
            ended = True
        finally:
            if accelerator is not None:
                accelerator.free_memory()
            if dist.is_initialized() and not stood and (ended or dist.get_world_size() == 1):
                leave()
            if cfg.compiled:
                torch.compiler.reset()  # compiled steps hold their networks, and count towards recompilations


def leave() -> None:
    """Ends the process group, and with it what DeepSpeed keeps of it: the next run's engine would take that."""
    kept = sys.modules.get("deepspeed.comm")
    if kept is not None and kept.is_initialized():
        kept.destroy_process_group()
    else:
        dist.destroy_process_group()


@contextmanager
def accelerate_of_its_own() -> Iterator[None]:
    """Inside, Accelerate knows nothing of settings outside; it keeps them for the whole process and refuses others."""
    states = [kind._shared_state for kind in (PartialState, AcceleratorState, GradientState)]
    before = [dict(state) for state in states]
    for state in states:
        state.clear()
    try:
        yield
    finally:
        for state, content in zip(states, before, strict=True):
            state.clear()
            state.update(content)


@contextmanager
def settings_restored() -> Iterator[None]:
    """Afterwards, what `start` sets for the whole process is as it was: the environment, threads, arithmetic, filters
    of warnings, and the state of torch's generator on the CPU, which training seeds."""
    variables, threads = dict(os.environ), torch.get_num_threads()
    products, tuned = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    deterministic = _deterministic()
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            for name in os.environ.keys() - variables.keys():
                del os.environ[name]
            os.environ.update({name: value for name, value in variables.items() if os.environ.get(name) != value})
            torch.set_num_threads(threads)
            if torch.get_float32_matmul_precision() != products:
                torch.set_float32_matmul_precision(products)
            torch.backends.cudnn.benchmark = tuned
            if _deterministic() != deterministic:  # a call imports Inductor, which takes a second
                torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
            inductor = sys.modules.get("torch._inductor.config")
            if not deterministic[0] and getattr(inductor, "deterministic", False):
                inductor.deterministic = False  # type: ignore[union-attr]


def _deterministic() -> tuple[bool, bool]:
    """Whether torch takes deterministic algorithms alone, and only warns of others."""
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def start(cfg: RunConfig) -> Accelerator:
    """Joins the process group that the launcher set up and sets threads and determinism.

    Precision is not Accelerate's (autocast lives in the algorithm), nor is the world size: it must be the launcher's.
    """
    on_cpu = cfg.torch_device == "cpu"
    check_launcher(cfg.torch_device)
    keep_compiled_code(cfg)
    os.environ.setdefault("NCCL_DEBUG", "WARN")  # says why it failed; by default it says nothing
    # Else NCCL aborts the process as soon as a peer is gone, before the watchdog says which, and with it a checkpoint.
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    threads = cfg.execution.threads
    if on_cpu:
        torch.set_num_threads(threads)
        keep_freed_memory()
    set_arithmetic(on_gpu=not on_cpu, deterministic=cfg.deterministic)
    # State is kept identical by the algorithms' gathered updates; DDP broadcasting buffers would overwrite it.
    ddp = DistributedDataParallelKwargs(
        broadcast_buffers=False, gradient_as_bucket_view=True, bucket_cap_mb=cfg.parallel.bucket_mb,
        comm_hook=DDPCommunicationHookType.BF16 if cfg.parallel.gradients == "bf16" else DDPCommunicationHookType.NO,
    )  # fmt: skip
    # Accelerate passes an option that torch has renamed; its meaning is unchanged.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
    # Kernels and DeepSpeed call collectives by the names that older versions of torch have; the new ones do the same.
    warnings.filterwarnings("ignore", message=".*torch.distributed.*is deprecated", category=FutureWarning)
    # Steps before the capture of a CUDA graph are not captured; that is no mistake.
    warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
    zero = cfg.execution.zero
    if zero is not None:
        stand_alone()
    handlers: list[Any] = [ddp]
    if "RANK" in os.environ:
        # Said, not left to Accelerate: without a backend DeepSpeed's processes on the CPU train alone, each for itself.
        backend = "gloo" if on_cpu else "nccl"
        join(backend, cfg.parallel.join_minutes, timedelta(seconds=collective_timeout(cfg.health)))
        handlers.append(InitProcessGroupKwargs(backend=backend))
    accelerator = Accelerator(
        cpu=on_cpu and zero is None,  # on the CPU too, DeepSpeed is found only where Accelerate looks for a device
        deepspeed_plugin=None if zero is None else deepspeed_plugin(cfg, zero),
        mixed_precision="no",
        dynamo_backend="no",  # compilation is ours too, whatever accelerate's configuration says
        log_with=list(cfg.log.trackers) or None,
        project_dir=str(cfg.run_folder),
        kwargs_handlers=handlers,
    )
    wanted = world_size()
    if accelerator.num_processes != wanted:
        raise UserError(
            f"the launcher started {wanted} processes, but the process group has {accelerator.num_processes}; "
            "on the CPU use: torchrun --nproc_per_node N -m semisonic train --device cpu"
        )
    if accelerator.device.type != cfg.torch_device:
        raise UserError(
            f"device: {cfg.torch_device}, but the launcher says {accelerator.device.type}; say so with --device"
        )
    if cfg.model.norm_groups > 1 and dist.is_initialized():
        make_groups(cfg.model.norm_groups, timedelta(seconds=collective_timeout(cfg.health)))
    return accelerator


def keep_compiled_code(cfg: RunConfig) -> None:
    """Where nobody else can write, whoever compiles: the run, a network of the user's, or DeepSpeed."""
    try:
        private_caches(cfg.compiled)
        if cfg.execution.zero is not None:
            private_extensions()
    except UnsafeFolder as error:
        raise UserError(str(error)) from error


def set_arithmetic(on_gpu: bool, deterministic: bool) -> None:
    """Sets, for the whole process, how a run multiplies, and whether its kernels are the deterministic ones.

    TF32 has two families of switches: `set_float32_matmul_precision` with `allow_tf32`, and `fp32_precision`. Once the
    second was written, getters of the first raise, and Inductor reads both. So this project writes the first alone.
    """
    if on_gpu:
        torch.set_float32_matmul_precision("high")  # TF32, as cuDNN's convolutions use by default
        torch.backends.cudnn.benchmark = not deterministic
    if not deterministic:
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    from torch._inductor import config as inductor

    # Else Inductor measures kernels and takes the fastest, and a resumed run that has lost its compiler caches may take
    # others. Newer versions of torch set it with the line above.
    if hasattr(inductor, "deterministic"):
        inductor.deterministic = True
    else:
        warnings.warn(
            f"torch {torch.__version__} has no torch._inductor.config.deterministic: compiled runs repeat bit for bit "
            "only while its compiler caches are kept (TORCHINDUCTOR_CACHE_DIR, TRITON_CACHE_DIR)",
            stacklevel=2,
        )


def deepspeed_plugin(cfg: RunConfig, content: dict[str, Any]) -> DeepSpeedPlugin:
    os.environ.setdefault("DS_ACCELERATOR", cfg.torch_device)  # else DeepSpeed guesses, and warns that it did
    importlib.import_module("deepspeed")  # whose import sets the level of its messages
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)  # it warns that it has not tested torch's SGD
    # Accelerate refuses a configuration beside fields that `accelerate launch` has put into the environment.
    os.environ.pop("ACCELERATE_CONFIG_DS_FIELDS", None)
    return DeepSpeedPlugin(hf_ds_config=deepspeed_config.filled(content, cfg.optim.clip), zero3_init_flag=False)


def stand_alone() -> None:
    """DeepSpeed wants a process group where `python launch/train.py` started one process without a launcher."""
    if "RANK" not in os.environ:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        ranks = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in ranks.items()} | {"MASTER_ADDR": "127.0.0.1"})


def on_main(accelerator: Accelerator, action: Callable[[], T]) -> T:
    """What `action` returns on the main process, on every rank; a `UserError` there is raised on all of them.

    Whatever decides what the ranks do together is looked up so: a file that is there for one node may not be for
    another yet.
    """
    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = action()
        except UserError as error:
            outcome[1] = error
    reach("main")
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def of_ranks(value: T) -> list[T]:
    """What every rank says, on every rank; none goes on before all have come so far."""
    said: list[T] = gather_object([value])
    return said


def keep_freed_memory() -> None:
    """Has glibc reuse large blocks instead of returning them to the system at every step.

    Otherwise the kernel clears every page of every activation anew: a tenth of a WRN-28-2 step on two cores. Other C
    libraries have no such setting and are left alone.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        trim_threshold, top_pad, mmap_max = -1, -2, -4
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(top_pad, 64 * 2**20)


def environment(accelerator: Accelerator) -> dict[str, object]:
    """Hardware and versions, as written to summary.json."""
    names = ("torch", "torchvision", "accelerate", "numpy")
    versions = {name: version(name) for name in names}
    # Ours is that of the code: an editable install keeps the version under which it was installed.
    versions |= {"semisonic": __version__, "dali": _dali_version(), "python": platform.python_version()}
    device = accelerator.device
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {
        "hardware": hardware,
        "device": device.type,
        "cpu_threads": torch.get_num_threads(),
        "world_size": accelerator.num_processes,
        "versions": versions,
    }


def optimizer_share(accelerator: Accelerator) -> float:
    """The part of the optimizer's state that this rank's device holds: all, a rank's share under ZeRO, or none."""
    plugin = accelerator.state.deepspeed_plugin
    if plugin is None:
        return 1.0
    zero = plugin.deepspeed_config.get("zero_optimization", {})
    if deepspeed_config.offloads_optimizer(plugin.deepspeed_config):
        return 0.0
    return 1 / accelerator.num_processes if zero.get("stage", 0) in (1, 2, 3) else 1.0


def peak_memory_bytes(device: torch.device) -> int:
    """Peak GPU memory allocated, or the process's peak resident memory on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _dali_version() -> str:
    from semisonic.data.loading.stream import dali_version

    return dali_version()


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
