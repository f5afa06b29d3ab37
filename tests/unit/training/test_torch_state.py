"""What a caller has set in torch reaches neither a run nor what is loaded from it, and stays as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from semisonic.training.torch_state import plain_tensors, plain_torch


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "type": lambda: default_type(torch.bfloat16),
    "device": lambda: default_device("meta"),
    "device of a block": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


def state() -> tuple:
    return (
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(),
        torch.get_default_device(), torch.is_autocast_enabled("cpu"),
    )  # fmt: skip


def learned() -> torch.Tensor:
    """The gradient of a layer, whose weights and inputs are made on the way."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 2)
    layer(torch.ones(1, 4)).sum().backward()
    assert layer.weight.grad is not None
    return torch.cat([layer.weight.grad, layer.weight.detach()])


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_that_is_set_reaches_inside_and_all_is_as_before(name: str):
    with torch.random.fork_rng(devices=[]):
        plain, expected = state(), learned()
        with SETTINGS[name]():
            before = state()
            with plain_torch():
                assert state() == plain
                found = learned()
            assert state() == before != plain
    assert found.dtype == torch.float32 and torch.equal(found, expected)
    assert state() == plain


def test_what_was_set_is_set_again_after_an_error():
    with default_type(torch.float64), torch.no_grad():
        before = state()
        with pytest.raises(ValueError), plain_torch():
            raise ValueError
        assert state() == before


def test_new_tensors_alone_leave_an_autocast_as_it_is():
    with torch.autocast("cpu", torch.bfloat16), default_device("meta"), plain_tensors():
        assert torch.ones(1).device.type == "cpu" and torch.is_autocast_enabled("cpu")
