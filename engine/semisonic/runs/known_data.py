"""Whether the images are those that a run began with, and the same on all ranks; how an older run gets what tells."""

from pathlib import Path

import yaml

from semisonic.checkpoint.atomic_files import write_text, writing
from semisonic.config.migrations import read_saved, run_content
from semisonic.data.sets.base import DataSet, ImageFiles
from semisonic.data.sets.checksum import data_checksum
from semisonic.data.sets.fingerprint import PARTS, TABLE, data_problem, write_table
from semisonic.distributed.engine import Accelerator
from semisonic.distributed.failures import RaisedByAllRanks, format_ranks
from semisonic.records.yaml_text import read_yaml
from semisonic.schema import UserError
from semisonic.training.process import of_ranks


def check_ranks_alike(data: DataSet, accelerator: Accelerator) -> None:
    """Raises `RaisedByAllRanks` where a rank has found other images than rank 0, as in a copy on its own node."""
    if accelerator.num_processes == 1:
        return
    first, *found = of_ranks(dict(data.fingerprint))
    ranks = [rank for rank, own in enumerate(found, start=1) if own != first]
    if ranks:
        parts = [text for part, text in PARTS.items() if any(found[r - 1].get(part) != first.get(part) for r in ranks)]
        what = f"{', '.join(parts)} that {format_ranks(ranks)} found"
        raise RaisedByAllRanks(f"data: {what} are not those of rank 0; give every node the same")


def check_data(folder: Path, data: DataSet) -> None:
    """Raises `UserError` where the images, labels or classes are others than those that the run in a folder began with.

    An older run knows classes, labels and names alone, and the oldest none of it.
    """
    known = read_saved(folder).records.get("content", {}).get("data")
    if isinstance(known, str) and known != data_checksum(data):
        raise UserError(f"data: its classes, labels or files are not those that the run in {folder} was made with")
    if isinstance(known, dict) and (problem := data_problem(known, data, folder / TABLE, f"the run in {folder}")):
        raise UserError(f"{problem}; give the same images (--data.root says where they are), or use another --out")


def keep_table(folder: Path, data: DataSet) -> None:
    """Writes the table of a run's image files, by which a later message names those that are others. Raises OSError."""
    if not isinstance(data.train, ImageFiles) and not isinstance(data.test, ImageFiles):
        return
    write_table(data, folder / TABLE)


def adopt_data(folder: Path, data: DataSet) -> list[str]:
    """Gives a run that an older version began the fingerprint of its images and its list of classes, after
    `check_data`. Returns what to tell. Only one process may call it."""
    content = run_content(read_yaml(folder / "config.yaml"), folder / "config.yaml")
    records = content.get("content") or {}
    if isinstance(records.get("data"), dict):
        return []
    with writing(folder / TABLE):
        keep_table(folder, data)
    content["content"] = {**records, "data": dict(data.fingerprint)}
    content["data"] = {**content["data"], "classes": list(data.classes)}
    with writing(folder / "config.yaml"):
        write_text(folder / "config.yaml", yaml.safe_dump(content, sort_keys=False))
    return [
        "data: the version that began this run kept no fingerprint of its images; from now on the run has that of "
        "today's"
    ]
