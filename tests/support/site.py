"""The built site: that of `make docs` where it is newer than all that it is made from, else one that is built here."""

import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT

BUILT = ROOT / "build" / "docs"
LAST = "objects.inv"
"""Written at the end of every build that has changed something."""
SOURCES = {
    "docs": ("*.md", "*.py", "*.csv", "*.css", "*.png"), "engine": ("*.py",), "kernels": ("*.py",),
    "benchmarks": ("*.py", "results/*"),
}  # fmt: skip
"""Folders, and the files in them that the site is made from."""


def is_fresh(built: Path = BUILT, root: Path = ROOT) -> bool:
    """Whether a built site is there and newer than everything that it is made from."""
    if not (built / LAST).is_file():
        return False
    time = (built / LAST).stat().st_mtime
    return all(
        path.stat().st_mtime < time
        for folder, patterns in SOURCES.items()
        for pattern in patterns
        for path in (root / folder).rglob(pattern)
    )


def site(folder: Path) -> Path:
    """The folder of a built site: that of `make docs`, or one below `folder`, which takes half a minute."""
    if is_fresh():
        return BUILT
    words = ["-b", "html", "-W", "--keep-going", "-n", "-q", "-d", folder / "read", ROOT / "docs", folder / "html"]
    subprocess.run([sys.executable, "-m", "sphinx", *map(str, words)], check=True)
    return folder / "html"


def pages(site: Path) -> list[str]:
    """The pages of a built site, by their paths in it, but for those that Sphinx makes by itself."""
    paths = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    found = sorted(path.as_posix() for path in paths)
    assert all((site / name).is_file() for name in found)
    return found
