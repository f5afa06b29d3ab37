"""Errors that others have published, from docs/reference/published.csv, as tables."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parents[1] / "reference" / "published.csv"
COLLECTIONS = {
    "F": (
        "FixMatch's paper",
        "Sohn et al. 2020, arXiv 2001.07685, table 2: the mean of five folds. WRN-28-2; CIFAR-100: WRN-28-8; STL-10: "
        "WRN-37-2. SVHN without the extra images.",
    ),
    "T": (
        "TorchSSL",
        "github.com/TorchSSL/TorchSSL, tables of the README: the best accuracy of a run on the test images, seeds 0 to "
        "2. WRN-28-2; CIFAR-100: WRN-28-8. SVHN with the extra images, and flipped.",
    ),
    "U": (
        "USB",
        "github.com/microsoft/Semi-supervised-learning, results/classic_cv.csv: the best accuracy of a run on the test "
        "images, three seeds. WRN-28-2 on all. SVHN with the extra images, and flipped. Three methods are left out: "
        "the code of Mean Teacher and UDA computes something else there, and Dash its threshold from test images.",
    ),
    "V": ("USB, pre-trained", "The same repository, results/usb_cv.csv: pre-trained transformers."),
    "M": (
        "MixMatch's paper",
        "Berthelot et al. 2019, arXiv 1905.02249, as EnAET's repository gives its numbers. WRN-28-2.",
    ),
}
"""Sources with many methods: what the file calls them -> title, and where they are and how they were measured."""
DATA = ("CIFAR-10", "CIFAR-100", "SVHN", "STL-10")


@dataclass(frozen=True)
class Published:
    """An error in per cent, as it was published."""

    source: str
    method: str
    data: str
    labels: int
    error: str
    deviation: str
    from_memory: bool
    note: str

    def text(self) -> str:
        """As a table shows it."""
        return self.error + ("+" if self.from_memory else "") + (f" ± {self.deviation}" if self.deviation else "")


def errors(file: Path = FILE) -> list[Published]:
    """All rows of the file."""
    with file.open(encoding="utf-8", newline="") as source:
        return [
            Published(**{**row, "labels": int(row["labels"]), "from_memory": bool(row["from_memory"])})  # type: ignore[arg-type]
            for row in csv.DictReader(source)
        ]


def published() -> str:
    """Markdown: a table for each collection, and one of what methods' own authors and others have published."""
    rows = errors()
    lines: list[str] = []
    for source, (title, text) in COLLECTIONS.items():
        own = [row for row in rows if row.source == source]
        lines += [f"### {title} [{source}]", "", text, "", "::::{tab-set}"]
        for data in DATA:
            if of_data := [row for row in own if row.data == data]:
                lines += [f":::{{tab-item}} {data}", *_table(of_data), ":::"]
        lines += ["::::", ""]
    lines += [
        "### Others",
        "",
        "| method | data | labels | error, % | source | |",
        "| --- | --- | ---: | ---: | --- | --- |",
    ]
    for row in rows:
        if row.source not in COLLECTIONS:
            cells = (f"`{row.method}`", row.data, f"{row.labels:,}", row.text(), row.source, row.note)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _table(rows: Sequence[Published]) -> list[str]:
    """Of one data set: a row for each method, a column for each number of labels."""
    columns = sorted({row.labels for row in rows})
    found: dict[str, dict[int, str]] = {}
    for row in rows:
        found.setdefault(row.method, {})[row.labels] = row.text()
    lines = ["| labels | " + " | ".join(f"{labels:,}" for labels in columns) + " |"]
    lines.append("| --- |" + " ---: |" * len(columns))
    for method, own in found.items():
        lines.append(f"| `{method}` | " + " | ".join(own.get(column, "") for column in columns) + " |")
    return lines
