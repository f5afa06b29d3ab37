"""Loaders of a small data set with views of every kind."""

from semisonic.contract import Views
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.loader import Loader, Sampling
from semisonic.data.sets.base import DataSet
from tests.support.data import CPU, data_set, split

VIEWS = Views(
    labeled={"weak": "weak"},
    unlabeled={"weak": "weak", "strong": "fixmatch", "noisy": "noise(0.15)"},
    draws={"lam": 2},
    labeled_draws={"angle": 5},
)


def loader(
    batch: int = 8, data: DataSet | None = None, steps: int = 1, operations: str = "dali", device=CPU, threads: int = 2,
    **sampling,
) -> Loader:  # fmt: skip
    placement = Placement(device, threads, operations, steps_per_call=steps)
    return Loader(data or data_set(), split(), VIEWS, Sampling(7, batch, 2 * batch, **sampling), placement)
