"""The tensors that a network would have, without the memory that they take; and whether others are those."""

from collections.abc import Mapping
from functools import lru_cache

from torch import Tensor, nn

from semisonic.models.meta import without_memory
from semisonic.models.networks import ModelConfig, build
from semisonic.models.timm_nets import is_timm
from semisonic.schema import UserError
from semisonic.text import name_of

Outline = Mapping[str, Tensor]
"""Tensors by name; of theirs, shapes and types count."""
NAMED = 5
"""Tensors that a message names."""


def sketch(cfg: ModelConfig, classes: int, image_size: int) -> nn.Module | None:
    """The network that `build` makes, on torch's device `meta`, which has no memory.

    None for a network of a plug-in whose builder looks at values. Raises `UserError` as `build` does. Those of timm's
    networks are kept for those who ask again, and are not to be changed.
    """
    if is_timm(cfg.name):  # which takes a fifth of a second, and is the same whatever is registered
        return _kept(cfg.model_dump_json(), classes, image_size)
    return _sketch(cfg, classes, image_size)


@lru_cache(maxsize=16)
def _kept(cfg: str, classes: int, image_size: int) -> nn.Module | None:
    return _sketch(ModelConfig.model_validate_json(cfg), classes, image_size)


def _sketch(cfg: ModelConfig, classes: int, image_size: int) -> nn.Module | None:
    try:
        with without_memory():
            return build(cfg, classes, image_size)
    except (NotImplementedError, RuntimeError):  # what torch raises of values that are nowhere
        return None


def outline(cfg: ModelConfig, classes: int, image_size: int) -> Outline | None:
    """The tensors of a `sketch`."""
    network = sketch(cfg, classes, image_size)
    return None if network is None else network.state_dict()


def misfits(wanted: Outline, given: Mapping[str, Tensor]) -> list[str]:
    """What keeps tensors from being those of a network, a line for each kind."""
    both = sorted(wanted.keys() & given.keys())
    problems = {
        "the checkpoint lacks": sorted(wanted.keys() - given.keys()),
        "the network has no": sorted(given.keys() - wanted.keys()),
        "of another shape:": [
            f"{name} ({list(given[name].shape)}, not {list(wanted[name].shape)})"
            for name in both
            if given[name].shape != wanted[name].shape
        ],
        "of another type:": [
            f"{name} ({given[name].dtype}, not {wanted[name].dtype})"
            for name in both
            if given[name].is_floating_point() != wanted[name].is_floating_point() or given[name].is_complex()
        ],
    }
    return [f"{reason} {named(names)}" for reason, names in problems.items() if names]


def fill(module: nn.Module, tensors: Mapping[str, Tensor], file: str) -> None:
    """Loads the state of a module. Raises `UserError` where it is of another; `file` is what messages call its file."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        lines = misfits(module.state_dict(), tensors) or [name_of(error)]
        raise UserError(f"{file} is not of this run: {line}" for line in lines) from error


def named(names: list[str]) -> str:
    """The first of these names, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
