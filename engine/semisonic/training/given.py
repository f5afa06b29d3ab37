"""What a call in Python hands to a run beside its configuration: images, a network, whom to tell of evaluations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from semisonic.config.run_config import RunConfig
from semisonic.data.sets import given as given_images
from semisonic.data.sets.base import DataSet
from semisonic.distributed.engine import Accelerator
from semisonic.models import wrapped
from semisonic.models.wrapped import NetworkFactory
from semisonic.schema import UserError
from semisonic.training.process import on_main


@dataclass(frozen=True)
class Given:
    """Of a command line: nothing."""

    data: DataSet | None = None
    """The data set, where it has been made already; otherwise the configuration's is loaded."""
    network: NetworkFactory | None = None
    """Makes the networks whose name is `given`."""
    evaluated: Callable[[dict[str, Any]], object] | None = None
    """Called on the main process after each evaluation of the main run, with what it adds to the history."""
    quiet: bool = False
    """Nothing is printed."""


NOTHING = Given()


def check_given(cfg: RunConfig, given: Given = NOTHING) -> None:
    """Raises UserError where the run was given its images or its network in Python and they are not there again."""
    problems, again = [], "call semisonic.train({}=..., resume=True, out=...)"
    if cfg.data.name == given_images.GIVEN and given.data is None:
        problems.append(f"data: the run in {cfg.run_folder} was given its images in Python; {again.format('data')}")
    if cfg.model.name == wrapped.GIVEN and given.network is None:
        problems.append(
            f"model: the run in {cfg.run_folder} was given its network in Python; {again.format('network')}"
        )
    if problems:
        raise UserError(problems)


class GivenOtherwise(UserError):
    everywhere = True


def check_alike(cfg: RunConfig, accelerator: Accelerator) -> None:
    """Raises UserError on a rank that was given other images, or another network, than rank 0."""
    own = {"data": cfg.data.fingerprint, "network": cfg.model.fingerprint}
    if any(own.values()):
        first = on_main(accelerator, lambda: own)
        if differing := [name for name in own if own[name] != first[name]]:
            raise GivenOtherwise(f"{name}: rank {accelerator.process_index} was given another than rank 0"
                                 for name in differing)  # fmt: skip
