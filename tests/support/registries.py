"""What is registered in a test is forgotten after it."""

from collections.abc import Iterator
from contextlib import contextmanager

from semisonic import plugins
from semisonic.addons.registry import ADD_ONS
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.data.sets.registry import DATA_SETS
from semisonic.data.views.registry import VIEWS
from semisonic.models.networks import NETWORKS
from semisonic.recipes import RECIPES


@contextmanager
def restored() -> Iterator[None]:
    """Inside, registries may grow and plug-ins be loaded; afterwards both are as they were."""
    stores: list[dict] = [registry._entries for registry in (ADD_ONS, ALGORITHMS, DATA_SETS, NETWORKS, RECIPES, VIEWS)]
    stores += [plugins._loaded, plugins._modules]
    kept = [dict(store) for store in stores]
    try:
        yield
    finally:
        for store, before in zip(stores, kept, strict=True):
            store.clear()
            store.update(before)
        plugins.installed_plugins.cache_clear()
