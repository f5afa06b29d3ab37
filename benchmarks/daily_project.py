"""A labeling project of real images with known classes, driven by its own commands."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from daily_stream import Source
from semisonic.cli import daily
from semisonic.daily.project import Project
from semisonic.daily.store import Store
from semisonic.schema import UserError


class Simulated:
    """FOLDER/project, whose images are called after their rows in a source."""

    def __init__(self, source: Source, folder: Path):
        self.source, self.folder = source, folder
        self.rows: dict[int, int] = {}
        """Image of the store -> row of the source."""

    def truth(self, image: int) -> str:
        return self.source.classes[self.source.truth[self.rows[image]]]

    def right(self, store: Store, images: np.ndarray) -> float:
        """The share of some images whose label, a person's or the network's, is the truth."""
        now, number = store.current(), {row.id: row.name for row in store.classes()}
        row = np.searchsorted(now.image, images)
        pairs = zip(now.image[row].tolist(), now.class_id[row].tolist(), strict=True)
        return float(np.mean([number.get(class_id) == self.truth(image) for image, class_id in pairs]))

    def learn_rows(self, store: Store) -> None:
        now = store.current()
        paths = store.paths(now.image)
        self.rows = {image: int(Path(path).stem) for image, path in zip(now.image.tolist(), paths, strict=True)}

    def project(self) -> Project:
        return Project.open(self.folder / "project")

    def store(self) -> Store:
        return self.project().store()

    def command(self, *arguments: str) -> None:
        """One of `semisonic daily`, as a person would give it. Raises `UserError` where it fails."""
        said = StringIO()
        with redirect_stdout(said):
            code = daily([str(self.folder / "project"), *arguments])
        if code:
            raise UserError(f"semisonic daily {' '.join(arguments)}: exit code {code}\n{said.getvalue()}")


def flat(sections: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Fields in sections as dotted ones."""
    found: dict[str, Any] = {}
    for name, value in sections.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found
