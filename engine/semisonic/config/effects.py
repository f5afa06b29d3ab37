"""What may change between a run and its continuation: what every field does to the results, as it states itself."""

from collections.abc import Iterator
from typing import Any

from semisonic.config.run_config import RunConfig
from semisonic.config.sections import section_model
from semisonic.data.views.registry import grows
from semisonic.schema import Config, Effect


def effects(algorithm: str) -> dict[str, Effect]:
    """Dotted fields of a run with this algorithm -> what another value does to a run that goes on with it."""
    return dict(_effects(RunConfig, algorithm, Effect.RESULTS))


def _effects(model: type[Config], algorithm: str, section: Effect) -> Iterator[tuple[str, Effect]]:
    for name, info in model.model_fields.items():
        own = next((mark for mark in info.metadata if isinstance(mark, Effect)), section)
        inner = section_model(model, name, algorithm)
        if isinstance(inner, type) and issubclass(inner, Config):
            yield from ((f"{name}.{below}", effect) for below, effect in _effects(inner, algorithm, own))
        else:
            yield name, own


def steps_planned_by(cfg: RunConfig) -> dict[str, object]:
    """Dotted fields by which a step depends on the number of steps of the whole run -> their values.

    Without any, a run of more steps begins as one of fewer steps does.
    """
    schedules = {"optim.schedule": cfg.optim.schedule, "batch.unlabeled_schedule": cfg.batch.unlabeled_schedule}
    schedule: dict[str, object] = {name: value for name, value in schedules.items() if value != "constant"}
    composition = cfg.composition
    sections: dict[str, tuple[Any, Any]] = {"algorithm": (composition.kind, composition.cfg)}
    sections |= {f"addons.{addon.name}": (addon.kind, addon.cfg) for addon in composition.addons}
    growing = [spec for spec in composition.views.specs if grows(spec)]
    return schedule | {
        f"{section}.{name}": getattr(own, name)
        for section, (kind, own) in sections.items()
        for name in (*kind.depends_on_steps(own), *(name for name, value in own if value in growing))
    }
