"""No step reads the device on the host: what a GPU would have to wait for shows as operators on the CPU as well."""

import pytest
import torch

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.check.properties import Failed
from semisonic.check.tiny import Runner, Subject, batch_for
from semisonic.check.waiting import NoWaiting, never_waits, step
from tests.support.addons import composed


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
    with pytest.raises(Failed, match="makes the host wait"), NoWaiting():
        wrong(torch.tensor([1.0, 0.0, 2.0]))


FIELDS: dict[str, list[dict[str, object]]] = {
    "fixmatch": [{}, {"weak_pass": "separate"}],
    "freematch": [{}, {"quantile": 0.8}],
    "dash": [{"rule": name} for name in ("official", "usb")],
    "ict": [{}, {"lam": 0.3}],
    "mpl": [{}, {"labels": "sampled"}],
    "policy-mixmatch": [
        *({"policy": name} for name in ("staged", "percentile-held-out", "manual", "mixed")), {"loss": "mse-to-ce"},
    ],
    "refixmatch": [{}, {"thresholds": "flexmatch"}],
    "shrinkmatch": [{}, {"window": 0}],
    "simmatch": [{}, {"projectors": 3, "wait": 0.0}],
    "supervised": [{}, {"mix": "mixup"}, {"mix": "cutmix"}],
    "uda": [{"annealing": name} for name in ("linear", "exp", "log")],
}  # fmt: skip
"""Settings that take other ways through a step; without an entry the defaults."""


@pytest.mark.parametrize(
    ("name", "fields"), [(name, fields) for name in ALGORITHMS for fields in FIELDS.get(name, [{}])], ids=str
)
@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.kernels("eager")
def test_a_step_never_waits(name: str, fields: dict, micro: int):
    if micro > 1 and not ALGORITHMS[name].micro_batches:
        pytest.skip("refuses micro-batches")
    never_waits(Subject(ALGORITHMS[name], fields), micro)


@pytest.mark.kernels("eager")
def test_a_step_with_all_add_ons_never_waits():
    addons = {
        "auxiliary": {"rotation": 1.0, "simclr": 1.0}, "ctaugment": {"lag": 1}, "aum": {"record": "on"},
        "prior": {"kind": "align", "window": 2},
    }  # fmt: skip
    algorithm = composed(ALGORITHMS["fixmatch"], {"strong": "ctaugment"}, **addons).float()
    batch = batch_for(algorithm)
    run = Runner(algorithm)
    run.step(batch)
    step(run, batch)
