"""Predictions on two ranks, killed and continued: the rows are those of one undisturbed process, to the last bit."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.processes import ROOT, Start, processes_of
from tests.support.trainers import make_trainer

RANKS = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def table(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("part-*.csv")))


def make_images(folder: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    for number in range(count):
        if number % 1000 == 0:
            (folder / f"{number // 1000:03}").mkdir(parents=True)
        pixels = generator.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number // 1000:03}" / f"{number:06}.png")


@pytest.mark.long
def test_two_ranks_that_are_killed_have_the_rows_of_one_process(start: Start, tmp_path: Path):
    trainer = make_trainer(tmp_path / "run", "--algorithm", "supervised", "--model", "small", "--threads", "1")
    trainer.save()
    trainer.checkpoint_writer.finish()
    run, images, one, two = tmp_path / "run", tmp_path / "images", tmp_path / "one", tmp_path / "two"
    make_images(images, 1200)
    (images / "000" / "000777.png").write_bytes(b"no image")
    script = (ROOT / "launch" / "predict.py", run, images, "--format", "csv", "--part", 100, "--workers", 1)
    alone = start(sys.executable, *script, "--out", one)
    assert "1,199 predictions in" in alone.communicate(timeout=300)[0] and alone.returncode == 5
    for kills, (victim, number) in enumerate(
        [("launcher", signal.SIGKILL), ("rank", signal.SIGKILL), ("rank", signal.SIGTERM)]
    ):
        before = len(list(two.glob("part-*[0-9].csv")))
        child = start(*RANKS, *script, "--out", two, "--resume")
        while len(list(two.glob("part-*[0-9].csv"))) == before:
            assert child.poll() is None, child.communicate()[0]
            time.sleep(0.01)
        if victim == "rank":
            ranks = [process for process in processes_of(two) if process != child.pid]
            os.kill(ranks[-1], number)
        else:
            child.send_signal(number)
        child.wait(timeout=120)
        deadline = time.monotonic() + 60
        while processes_of(two) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not processes_of(two) and json.loads((two / "predictions.json").read_text())["finished"] is None, kills
    last = start(*RANKS, *script, "--out", two, "--resume")
    output = last.communicate(timeout=300)[0]
    assert "1,199 predictions in" in output and "1 left out" in output
    assert json.loads((two / "predictions.json").read_text())["finished"] == {"rows": 1199, "left_out": 1}
    assert json.loads((two / "predictions.json").read_text())["slices"] == 2
    header = (one / "part-00000-00000.csv").read_bytes().splitlines()[0]
    rows = [[line for line in table(folder).splitlines() if line != header] for folder in (one, two)]
    assert (
        rows[0] == rows[1]
        and len(rows[0]) == 1199
        and (one / "left_out.csv").read_bytes() == (two / "left_out.csv").read_bytes()
    )
