"""No step reads the device on the host: what a GPU would have to wait for shows as operators on the CPU as well."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.registry import ALGORITHMS
from tests.support.addons import composed
from tests.support.algorithms import batch_for, info, tiny_network
from tests.support.runner import Runner

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "_unique2", "unique_dim", "repeat_interleave",
         "equal", "lift_fresh")  # fmt: skip
"""Operators by name whose result or size the host reads, or (lift_fresh: torch.tensor) whose input it copies over."""


class NoWaiting(TorchDispatchMode):
    """Raises where an operator would make the host wait for a GPU."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        indexed = name in ("index", "index_put", "index_put_", "_index_put_impl_")
        if name in WAITS or (indexed and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])):
            raise AssertionError(f"{function} makes the host wait")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.long().bincount(),
        lambda x: x * torch.tensor([1.0, 2.0, 3.0]),
        lambda x: x * x.new_tensor([1.0, 2.0, 3.0]),
        lambda x: torch.ones(3).index_put_((x > 0,), torch.zeros(())),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: torch.nn.functional.one_hot(x.long()),
    ],
)
def test_waiting_is_noticed(wrong):
    with pytest.raises(AssertionError, match="makes the host wait"), NoWaiting():
        wrong(torch.tensor([1.0, 0.0, 2.0]))


FIELDS: dict[str, list[dict[str, object]]] = {
    "policy-mixmatch": [{"policy": name} for name in ("staged", "percentile-held-out", "manual", "mixed")],
    "supervised": [{}, {"mix": "mixup"}, {"mix": "cutmix"}],
    "uda": [{"annealing": name} for name in ("linear", "exp", "log")],
}
"""Settings that take other ways through a step; without an entry the defaults."""


@pytest.mark.parametrize(
    ("name", "fields"), [(name, fields) for name in ALGORITHMS for fields in FIELDS.get(name, [{}])], ids=str
)
@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.kernels("eager")
def test_a_step_never_waits(name: str, fields: dict, micro: int):
    kind: type[Algorithm] = ALGORITHMS[name]
    if micro > 1 and not kind.micro_batches:
        pytest.skip("refuses micro-batches")
    fields = fields | ({"block": 1} if "block" in kind.Config.model_fields else {})
    torch.manual_seed(0)
    algorithm = kind(kind.Config(**fields), tiny_network, info())
    run, batch = Runner(algorithm, micro=micro), batch_for(algorithm)
    run.step(batch)  # the first makes what the later ones keep
    step(run, batch)


def step(run: Runner, batch) -> None:
    """`Runner.step` without its seed, which belongs to the host."""
    algorithm = run.algorithm
    with NoWaiting():
        output = algorithm.train_step(batch, run)
        with torch.no_grad():
            algorithm.commit(output.observed)
            algorithm.update_ema()
        algorithm.step += 1


@pytest.mark.kernels("eager")
def test_a_step_with_all_add_ons_never_waits():
    addons = {"auxiliary": {"rotation": 1.0, "simclr": 1.0}, "ctaugment": {"lag": 1}, "aum": {"record": "on"}}
    algorithm = composed(ALGORITHMS["fixmatch"], {"strong": "ctaugment"}, **addons).float()
    batch = batch_for(algorithm)
    run = Runner(algorithm)
    run.step(batch)
    step(run, batch)
