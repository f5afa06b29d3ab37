"""Classes and files may be called anything, and the terminal may know ASCII alone: no command ends over it."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from semisonic.text import csv_text

CLASSES = ["a\x1b[31m", "=cmd|'x'!A1", "two\nlines", "$x$ and $y", "日本", "n" * 200, "\u202ertl", "con", "-dash", "[bold]x",
           "tab\tname", "'quoted"]  # fmt: skip
FILES = (b"=1+1 \x1b]0;x\x07.png", b"caf\xe9.png", b"plain.png")
CODE = """
import sys
from semisonic import cli

root, run = sys.argv[1:]
codes = [
    cli.main(["--data", "folder", "--data.root", root, "--data.size", "8", "--model", "small", "--device", "cpu",
              "--threads", "1", "--batch.labeled", "4", "--batch.unlabeled-ratio", "1", "--steps", "2", "--out", run,
              "--no-baseline", "--addons.aum.record", "on"]),
    cli.predict([run, root + "/test", "--out", run + ".csv"]),
]
sys.exit(codes != [0, 0])
"""


@pytest.mark.slow
def test_a_run_on_odd_names_is_trained_and_predicts(tmp_path: Path):
    rng = np.random.default_rng(0)
    for name in CLASSES:
        for part in ("train", "test"):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for file in FILES:
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / os.fsdecode(file))
    plain = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    command = [sys.executable, "-c", CODE, str(tmp_path / "images"), str(tmp_path / "run")]
    done = subprocess.run(command, env=plain, capture_output=True, timeout=300)
    shown = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, shown
    assert shown.isascii() and not {"\x1b", "\x07", "\t"} & set(shown)
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    with (tmp_path / "run.csv").open(encoding="utf-8", newline="") as file:
        paths = [csv_text(row["path"]) for row in csv.DictReader(file)]
    assert sorted(paths) == sorted(f"{name}/{os.fsdecode(file)}" for name in CLASSES for file in FILES)
    table = parquet.read_table(tmp_path / "run" / "labels" / "margins.parquet").to_pydict()
    assert {csv_text(path).rpartition("/")[2] for path in table["path"]} == {os.fsdecode(file) for file in FILES}
    assert (tmp_path / "run" / "confusion.png").stat().st_size > 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert not {"\x1b", "\u202e"} & set(page) and page.count("two\\nlines") > 2 and "&#39;quoted" in page
