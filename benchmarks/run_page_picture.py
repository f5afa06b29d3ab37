"""The picture of a run's page for the documentation, taken of the page of a real run in a browser.

    python benchmarks/run_page_picture.py [--out docs/pictures] [--steps N]

The run is FixMatch on the digits. Needs playwright and Debian's chromium.
"""

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from semisonic import cli
from semisonic.run_page.page import FILE

FIELDS = ["--data.held-out", "20", "--eval.every", "20", "--log.every", "10", "--log.trackers", "none"]
"""Of the run, beside the recipe's."""
WINDOW = {"width": 1280, "height": 1240}
MOST_BYTES = 150_000
COLORS = 256
"""Of the picture: a page has few."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="of the run (default: %(default)s)")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    out = args.out.resolve()
    with tempfile.TemporaryDirectory(prefix="semisonic-") as folder, chdir(folder):
        if code := cli.main([*FIELDS, "--steps", str(args.steps), "--out", "digits"]):
            raise SystemExit(code)
        take(Path("digits") / FILE, out / "run-page.png")


def take(page: Path, picture: Path) -> None:
    """The head of the page, as a picture of few bytes."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path="/usr/bin/chromium")
        window = browser.new_page(viewport=WINDOW, color_scheme="light")  # type: ignore[arg-type]
        window.goto(page.resolve().as_uri())
        window.screenshot(path=picture)
        browser.close()
    with Image.open(picture) as image:
        image.convert("RGB").quantize(COLORS, Image.Quantize.FASTOCTREE).save(picture, optimize=True)
    if (size := picture.stat().st_size) > MOST_BYTES:
        raise SystemExit(f"{picture}: {size:,} bytes are more than {MOST_BYTES:,}")


if __name__ == "__main__":
    main()
