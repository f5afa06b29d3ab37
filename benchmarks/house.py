"""How the code is laid out, in numbers.

    python benchmarks/house.py --trace      # the files that one training step passes through

A step is traced by its calls: each function of the engine that is entered counts for its file, in order. Models and
kernels are left out, since a step leaves the engine there.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

FIELDS = ["--algorithm", "fixmatch", "--device", "cpu", "--threads", "1", "--compile", "off", "--batch.labeled", "8",
          "--batch.unlabeled-ratio", "2", "--log.trackers", "none", "--no-baseline"]  # fmt: skip


def trace_changes() -> list[str]:
    """The files that a FixMatch step on the CPU, eager, passes through: "file: functions entered there", in order.

    It changes file once less often than the list has entries.
    """
    import semisonic
    from semisonic.config.command_line import resolve
    from semisonic.training.build import build_trainer

    root = Path(semisonic.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(resolve([*FIELDS, "--out", folder])[1])
        loader = trainer.loader()
        trainer.training_step(next(loader))  # the first makes what the later ones keep
        batch = next(loader)
        with calls() as entered:
            trainer.training_step(batch)
    passed = [(str(path.relative_to(root)), code.co_name) for path, code in located(entered, root)]
    return [f"{file}: {', '.join(name for _, name in group)}" for file, group in groupby(passed, lambda one: one[0])]


@contextmanager
def calls() -> Iterator[list[CodeType]]:
    """Inside, the code of every Python function that this thread enters is noted."""
    entered: list[CodeType] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            entered.append(frame.f_code)

    sys.setprofile(note)
    try:
        yield entered
    finally:
        sys.setprofile(None)


def located(codes: list[CodeType], root: Path) -> Iterator[tuple[Path, CodeType]]:
    """Those below a folder, without its models, and their files."""
    for code in codes:
        path = Path(code.co_filename)
        if path.is_relative_to(root) and not path.is_relative_to(root / "models"):
            yield path, code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", action="store_true", help="the files that one training step passes through")
    args = parser.parse_args()
    if args.trace:
        passed = trace_changes()
        print("\n".join(passed))
        print(f"{len(passed) - 1} changes of file")


if __name__ == "__main__":
    main()
