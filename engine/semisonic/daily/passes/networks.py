"""The networks of a project's run: the averaged one of its last checkpoint, its snapshots, and those of its folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint import snapshots as snapshot_files
from semisonic.inference.classifier import Classifier, load_classifier, weights_digest
from semisonic.inference.outputs import Wanted
from semisonic.schema import UserError
from semisonic.text import name_of


@dataclass(frozen=True)
class Places:
    """Where the networks of a run lie: folders of checkpoints."""

    main: Path
    snapshots: tuple[Path, ...] = ()
    """Several, or none where the run kept but one network."""
    folds: tuple[Path, ...] = ()


def find_networks(run: Path, folds: Sequence[Path] = ()) -> Places:
    """The networks of a finished run, and of the runs of its folds. Raises `UserError` where one is not finished."""
    if unfinished := [path.name for path in (run, *folds) if not (path / "summary.json").is_file()]:
        raise UserError(f"{name_of(name)}: is not finished; `train` continues it" for name in unfinished)
    kept = snapshot_files.saved(run) or checkpoints.saved(run / "checkpoints")
    return Places(checkpoints.find(run), tuple(kept) if len(kept) > 1 else (), tuple(map(checkpoints.find, folds)))


@dataclass(frozen=True, eq=False)
class Networks:
    """Those of `Places`, on a device."""

    main: Classifier
    snapshots: tuple[Classifier, ...] = ()
    folds: tuple[Classifier, ...] = ()

    @property
    def digests(self) -> dict[str, object]:
        """By which they are known again."""
        several = {"snapshots": self.snapshots, "folds": self.folds}
        return {"network": weights_digest(self.main)} | {
            name: [weights_digest(network) for network in networks] for name, networks in several.items()
        }


def load_networks(places: Places, device: torch.device) -> Networks:
    """Raises `UserError` where a checkpoint cannot be read, or is of another run's kind."""
    main = load_classifier(places.main)
    Wanted(views=1, features=True).check(main)
    rest = [[load_classifier(path) for path in paths] for paths in (places.snapshots, places.folds)]
    for path, network in zip([*places.snapshots, *places.folds], [*rest[0], *rest[1]], strict=True):
        if network.classes != main.classes or network.transform != main.transform:
            raise UserError(f"{path}: its classes or images are not those of {places.main}")
    snapshots, folds = (tuple(network.to(device) for network in networks) for networks in rest)
    return Networks(main.to(device), snapshots, folds)
