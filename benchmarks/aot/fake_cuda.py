"""Enough of CUDA, mocked, that torch generates code for a named card on a machine that has none.

`install()` changes torch for the whole process, for good: only in a process of its own. It answers what Dynamo,
AOTAutograd and Inductor ask about a device; nothing is launched, and no memory of a device exists. Autograd cannot
record on a device without a driver: what is traced are fake tensors of the CPU (`on_host`), and `compiling_for_card`
moves the graphs to the card once AOTAutograd has made forward and backward of them, before Inductor sees them.
"""

import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import torch

GIB = 2**30


class Missing(RuntimeError):
    """This version of torch has no such internal name, so that what must be mocked cannot be."""


@dataclass(frozen=True)
class Card:
    """What compilers ask about a GPU, from its public data sheet and the limits of its compute capability."""

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    memory: int
    """Bytes."""
    l2: int
    """Bytes."""
    shared_block: int
    """Bytes of shared memory that a block may ask for."""
    shared_multiprocessor: int
    threads_multiprocessor: int = 2048

    @property
    def architecture(self) -> int:
        """90 for sm_90."""
        return 10 * self.capability[0] + self.capability[1]


H100 = Card("NVIDIA H100 80GB HBM3", (9, 0), 132, 80 * GIB, 50 * 2**20, 232448, 233472)


def properties(card: Card) -> types.SimpleNamespace:
    """As `torch.cuda.get_device_properties` returns them."""
    return types.SimpleNamespace(
        name=card.name, major=card.capability[0], minor=card.capability[1], warp_size=32,
        multi_processor_count=card.multiprocessors, total_memory=card.memory, L2_cache_size=card.l2,
        regs_per_multiprocessor=65536, max_threads_per_block=1024, shared_memory_per_block=49152,
        max_threads_per_multi_processor=card.threads_multiprocessor, shared_memory_per_block_optin=card.shared_block,
        shared_memory_per_multiprocessor=card.shared_multiprocessor, gcnArchName="", uuid="0", is_integrated=0,
        is_multi_gpu_board=0,
    )  # fmt: skip


def replace(owner: Any, **values: Any) -> None:
    """Sets attributes that must be there already; a version of torch that has renamed one is named."""
    for name, value in values.items():
        if not hasattr(owner, name):
            where = getattr(owner, "__name__", type(owner).__name__)
            raise Missing(f"torch {torch.__version__}: {where} has no {name}, which is mocked here")
        setattr(owner, name, value)


def install(card: Card = H100) -> None:
    """Has torch believe, for the rest of this process, that it has the card. Raises `Missing`."""
    if torch.cuda.is_available():
        raise RuntimeError("fake_cuda: this process has a GPU, or has mocked one before")
    _patterns()
    _runtime(card)
    _tensors()
    _dynamo(card)
    _triton(card)
    _no_caches()


def installed() -> bool:
    """Whether this process has a mocked card."""
    return getattr(torch.cuda.is_available, "mocked", False)


def _available() -> bool:
    return True


_available.mocked = True  # type: ignore[attr-defined]


def _answers(card: Card) -> dict[str, Callable[..., Any]]:
    """What `torch.cuda` says about the card, and what Dynamo's interface of it says alike."""
    found = properties(card)
    stream = types.SimpleNamespace(
        cuda_stream=0, stream_id=0, device_index=0, device_type=1, device=torch.device("cuda", 0)
    )  # fmt: skip
    return {
        "is_available": _available,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "current_stream": lambda device=None: stream,
        "synchronize": lambda device=None: None,
        "get_device_properties": lambda device=None: found,
        "is_bf16_supported": lambda including_emulation=True: True,
        "memory_allocated": lambda device=None: 0,
    }


def _runtime(card: Card) -> None:
    # Asked for streams alone, of which the real ones belong to a driver.
    replace(torch.accelerator, is_available=lambda: False)
    state = torch.zeros(16, dtype=torch.uint8)
    replace(
        torch.cuda, **_answers(card),
        is_initialized=lambda: True,
        is_current_stream_capturing=lambda: False,
        _lazy_init=lambda: None,
        get_device_capability=lambda device=None: card.capability,
        get_device_name=lambda device=None: card.name,
        mem_get_info=lambda device=None: (card.memory - GIB, card.memory),
        get_rng_state=lambda device="cuda": state,
        set_rng_state=lambda state, device="cuda": None,
        _exchange_device=lambda device: 0,
        _maybe_exchange_device=lambda device: 0,
    )  # fmt: skip


def _patterns() -> None:
    """Has Inductor trace the patterns that it looks for now, on the CPU; on a card it would need a driver."""
    from torch._inductor.fx_passes import joint_graph, post_grad

    for passes in (joint_graph, post_grad):
        passes.lazy_init()
        replace(passes, lazy_init=lambda *arguments, **named: None)


def _tensors() -> None:
    """Fake tensors on the card: no context is made for them, and convolutions answer as cuDNN does."""
    from torch._subclasses import fake_tensor

    replace(fake_tensor, init_gpu_context=lambda device: None)
    # Without a device cuDNN is not chosen, and with it goes channels_last, which it keeps.
    replace(torch._C, _conv_determine_backend_memory_format=_as_cudnn)


def _as_cudnn(images: torch.Tensor, weight: torch.Tensor, backend: Any) -> torch.memory_format:
    """cuDNN keeps channels_last where either operand has it: `cudnn_conv_suggest_memory_format` of ATen."""
    from torch._prims_common import suggest_memory_format

    last = torch.channels_last in (suggest_memory_format(images), suggest_memory_format(weight))
    return torch.channels_last if images.dim() == 4 and last else torch.contiguous_format


def _dynamo(card: Card) -> None:
    from torch._dynamo import device_interface

    interface, found = device_interface.CudaInterface, properties(card)
    own = {name: staticmethod(answer) for name, answer in _answers(card).items()}
    replace(
        interface, **own,
        exchange_device=staticmethod(lambda device: 0),
        maybe_exchange_device=staticmethod(lambda device: 0),
        get_raw_stream=staticmethod(lambda device: 0),
        is_triton_capable=staticmethod(lambda device=None: True),
        raise_if_triton_unavailable=staticmethod(lambda device=None: None),
    )  # fmt: skip
    replace(
        interface.Worker,
        get_device_properties=staticmethod(lambda device=None: found), current_device=staticmethod(lambda: 0),
    )  # fmt: skip


class _Utils:
    """What Triton's driver knows of the device; in the spelling of its NVIDIA backend."""

    def __init__(self, card: Card):
        self.card = card

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {
            "max_shared_mem": self.card.shared_block, "multiprocessor_count": self.card.multiprocessors,
            "max_num_regs": 65536, "warpSize": 32, "sm_clock_rate": 0, "mem_clock_rate": 0, "mem_bus_width": 0,
        }  # fmt: skip


class Driver:
    """In place of Triton's, which opens libcuda."""

    def __init__(self, card: Card):
        self.card, self.utils = card, _Utils(card)

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.card.architecture, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int = 0) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cuda", 0)

    def get_device_interface(self) -> Any:
        return torch.cuda


def _triton(card: Card) -> None:
    import triton
    from torch._inductor.runtime import triton_helpers

    triton.runtime.driver.set_active(Driver(card))
    replace(triton_helpers, set_driver_to_gpu=lambda: None)  # it would load NVIDIA's


def _no_caches() -> None:
    """Nothing that is generated here is kept, or taken from what a real card's runs have kept."""
    from torch._functorch import config as functorch
    from torch._inductor import config as inductor

    replace(inductor, force_disable_caches=True, fx_graph_cache=False, autotune_local_cache=False, compile_threads=1)
    replace(functorch, enable_autograd_cache=False)


def on_host(tensor: torch.Tensor, mode: Any) -> torch.Tensor:
    """A fake with the shape, strides, dtype and kind (parameter, requires_grad) of a real tensor on the CPU."""
    with mode:
        fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(fake, tensor.requires_grad)
    return fake.requires_grad_(tensor.requires_grad)


def hollow(module: torch.nn.Module, mode: Any) -> None:
    """Puts fakes in place of a module's parameters and buffers, those that are shared still shared."""
    made: dict[torch.Tensor, torch.Tensor] = {}
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    if tensor not in made:
                        made[tensor] = on_host(tensor, mode)
                    held[name] = made[tensor]


@contextmanager
def compiling_for_card() -> Iterator[None]:
    """Inside, Inductor is given each graph as if it had been traced on the card, with all options that it was given."""
    from torch._inductor import compile_fx

    def inner(module: Any, inputs: Sequence[Any], **options: Any) -> Any:
        return compile_fx.compile_fx_inner(module, to_card(module, inputs), **options)

    with mock.patch.object(compile_fx, "compile_fx", partial(compile_fx.compile_fx, inner_compile=inner)):
        yield


def to_card(module: torch.fx.GraphModule, inputs: Sequence[Any]) -> list[Any]:
    """Moves a graph and what is known of its values from the CPU to the card; returns its inputs there."""
    from torch._guards import detect_fake_mode
    from torch.fx.passes.fake_tensor_prop import FakeTensorProp

    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.args = torch.fx.node.map_aggregate(node.args, _moved)
                node.kwargs = torch.fx.node.map_aggregate(node.kwargs, _moved)
            part.recompile()
    mode = detect_fake_mode(inputs)
    if mode is None:
        raise RuntimeError("fake_cuda: AOTAutograd has given Inductor a graph without fake tensors")
    with mode:
        there = [
            torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="cuda")
            if isinstance(value, torch.Tensor)
            else value
            for value in inputs
        ]
    FakeTensorProp(module, mode).propagate_dont_convert_inputs(*there)
    return there


def _moved(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == "cpu":
        return torch.device("cuda", 0)
    return value
