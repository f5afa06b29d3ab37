"""Streams: prepared ahead of the step, errors that reach it, and an end with all their threads."""

import gc
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semisonic.config.command_line import resolve
from semisonic.contract import Views
from semisonic.data.loading.calls import Placement, StepRange
from semisonic.data.loading.draws import Draws
from semisonic.data.loading.image_source import source_of
from semisonic.data.loading.loader import Loader, Sampling, evaluation_slices
from semisonic.data.loading.stream import Stream, gaussian_noise
from semisonic.data.sets.base import DataConfig, DataSet
from semisonic.data.sets.registry import load_data_set
from semisonic.data.sets.splits import Split
from semisonic.inference.classifier import Classifier
from semisonic.inference.predict import predict
from semisonic.reporting.console import Console
from semisonic.reporting.view_grids import save_views
from semisonic.schema import UserError
from semisonic.training.build import build_trainer
from semisonic.training.step import TrainingStep
from semisonic.training.trainer import Trainer
from tests.support.data import data_set

CPU = torch.device("cpu")
FIELDS = ["--device", "cpu", "--threads", "1", "--no-baseline", "--log.trackers", "none", "--model", "small",
          "--batch.labeled", "4", "--batch.unlabeled-ratio", "2", "--eval.batch", "4", "--data", "folder",
          "--data.size", "16", "--data.labels", "6"]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image folder of two classes: 8 training and 5 test images each."""
    bits = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 5)):
        for label in "ab":
            (tmp_path / "images" / part / label).mkdir(parents=True)
            for number in range(count):
                pixels = bits.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / part / label / f"{number}.png")
    return tmp_path / "images"


@pytest.fixture
def data(root: Path) -> DataSet:
    return load_data_set(DataConfig(name="folder", root=root, size=16, labels=None))


def trainer(root: Path, *fields: str) -> Trainer:
    cfg = resolve([*FIELDS, "--data.root", str(root), "--out", str(root.parent / "run"), *fields])[1]
    cfg.run_folder.mkdir(exist_ok=True)
    return build_trainer(cfg)


def loader(data: DataSet, operations: str = "kernel") -> Loader:
    everything = np.arange(len(data.train))
    split = Split(everything[:6], everything, everything[:0])
    views = Views({"weak": "weak"}, {"weak": "weak", "strong": "fixmatch"})
    return Loader(data, split, views, Sampling(0, 4, 8), Placement(CPU, operations=operations))


def threads() -> int:
    """Of Python and of libraries."""
    return len(os.listdir("/proc/self/task"))


@contextmanager
def ends_its_threads(slack: int = 0) -> Iterator[None]:
    gc.collect()
    gc.disable()
    named, before = threading.active_count(), threads()
    try:
        yield
        assert threading.active_count() <= named + slack
        deadline = time.monotonic() + 5  # a thread that was joined may still be leaving the kernel's list
        while threads() > before + slack and time.monotonic() < deadline:
            time.sleep(0.01)
        assert threads() <= before + slack
    finally:
        gc.enable()


def test_twelve_evaluations_leave_no_thread(root: Path):
    run = trainer(root)
    run.evaluate("ema", "test")  # what torch starts once
    with ends_its_threads():
        for _ in range(6):
            run.evaluate_all()  # both networks


def test_training_leaves_no_thread(root: Path):
    fields = ("--steps", "3", "--eval.every", "2", "--checkpoint.every", "2")
    trainer(root, *fields).train(Console(False), lambda: None)
    again = trainer(root, *fields)
    with ends_its_threads(slack=1):  # the one that writes checkpoints
        assert again.train(Console(False), lambda: None) is None


def test_training_that_fails_leaves_no_thread(root: Path, monkeypatch: pytest.MonkeyPatch):
    run = trainer(root, "--steps", "40", "--eval.every", "40", "--checkpoint.every", "40")
    with run.loader() as batches:
        run.training_step(next(batches))  # what torch starts once
    step, seen = TrainingStep.__call__, []

    def vanishing(self: TrainingStep, batch):
        seen.append(step(self, batch))
        if len(seen) == 3:
            for path in (root / "train").rglob("*.png"):
                path.unlink()
        return seen[-1]

    monkeypatch.setattr(TrainingStep, "__call__", vanishing)
    with ends_its_threads(slack=1), pytest.raises(UserError, match="cannot decode"):
        run.train(Console(False), lambda: None)


def test_an_evaluation_that_stops_early_leaves_no_thread(data: DataSet):
    source = source_of(data, CPU, test=True)
    with ends_its_threads():
        with closing(evaluation_slices(source, 2, Placement(CPU))) as slices:
            next(slices)
        with pytest.raises(ZeroDivisionError), closing(evaluation_slices(source, 2, Placement(CPU))) as slices:
            for _ in slices:
                1 / 0  # noqa: B018
        assert len(list(evaluation_slices(source, 2, Placement(CPU)))) == 5


def test_an_evaluation_of_files_that_vanish_leaves_no_thread(root: Path, data: DataSet):
    source = source_of(data, CPU, test=True)
    slices = evaluation_slices(source, 1, Placement(CPU))
    with ends_its_threads(), pytest.raises(UserError, match="cannot decode") as caught:
        next(slices)
        for path in (root / "test").rglob("*.png"):
            path.unlink()
        list(slices)
    assert caught.traceback  # held all the while


def test_predicting_and_pictures_leave_no_thread(root: Path, data: DataSet):
    run = trainer(root)
    about = {"classes": ["a", "b"], "image_size": 16, "preprocess": {"view": "plain", "border": 0}}
    about |= {"mean": [0.5] * 3, "std": [0.25] * 3}
    classifier = Classifier(run.algorithm.network, about).eval()
    files = root / "test"
    assert len(list(predict(classifier, files, batch=4))) == 10
    with ends_its_threads():
        assert len(list(predict(classifier, files, batch=4))) == 10
        with closing(predict(classifier, files, batch=4)) as some:
            next(some)
        save_views(run.cfg, data, ["weak", "simclr"], root.parent / "views", images=3, draws=2)


@pytest.mark.parametrize("operations", ["dali", "kernel"])
def test_what_was_handed_out_stays_valid_and_nothing_more_comes(data: DataSet, operations: str):
    with ends_its_threads():
        with loader(data, operations) as source:
            batches = [next(source) for _ in range(3)]
            copies = [{name: view.clone() for name, view in batch.u.items()} for batch in batches]
        source.close()  # twice is once
        for batch, copy in zip(batches, copies, strict=True):
            assert all(torch.equal(view, copy[name]) for name, view in batch.u.items())
        with pytest.raises(RuntimeError, match="the stream of labeled images is closed"):
            next(source)


@pytest.mark.parametrize("part", ["first", "second"])
def test_a_loader_that_cannot_be_built_leaves_no_thread(root: Path, data: DataSet, part: str):
    """The first stream cannot read its first call, or the second one cannot be built."""
    if part == "first":
        for path in (root / "train" / "a").rglob("*.png"):
            path.unlink()
    everything = np.arange(len(data.train))
    views = Views({"weak": "weak"}, {"weak": "weak" if part == "first" else "unheard-of"})
    split = Split(everything[:6], everything, everything[:0])
    with ends_its_threads(), pytest.raises(UserError):
        Loader(data, split, views, Sampling(0, 4, 8), Placement(CPU))


DEVIATION = torch.tensor([10.0, 20.0, 5.0]).view(1, 3, 1, 1)


class Listed:
    """A sampler of the first four images, which tells `listen` each step that it is asked for."""

    share = 4

    def __init__(self, listen=lambda step: None):
        self.listen = listen

    def shares(self, step: int, count: int) -> list[int]:
        return [self.share] * count

    def numbers(self, step: int, count: int = 1) -> np.ndarray:
        return np.arange(4 * step, 4 * (step + count))

    def indices(self, step: int, count: int = 1) -> np.ndarray:
        for each in range(step, step + count):
            self.listen(each)
        return np.tile(np.arange(4), count)


def stream_of(sampler=None, stop: int | None = None, steps_per_call: int = 1) -> Stream:
    placement = Placement(CPU, steps_per_call=steps_per_call)
    source, views = source_of(data_set(), CPU), {"weak": "weak"}
    return Stream(Draws(0, "ahead"), source, views, sampler or Listed(), placement, StepRange(stop=stop))


@pytest.mark.parametrize("stop, asked_for", [(None, 8), (2, 4), (5, 6), (100, 8)])
def test_calls_are_prepared_fed_and_received_ahead_of_the_step(stop: int | None, asked_for: int):
    asked: list[int] = []
    stream = stream_of(Listed(asked.append), stop, steps_per_call=2)
    next(stream)
    for executor in (stream._receiver, stream._worker):
        executor.shutdown()  # waits for what it has been given
    assert sorted(asked) == list(range(asked_for))


def test_an_error_of_the_threads_reaches_the_step_every_time():
    def fail(step: int) -> None:
        if step == 6:
            raise OSError(f"step {step}")

    stream, seen = stream_of(Listed(fail)), 0
    with pytest.raises(Exception, match="step 6"):
        for _ in range(7):
            next(stream)
            seen += 1
    assert seen >= 4
    with pytest.raises(Exception, match="step 6"):
        next(stream)


def test_the_finishing_thread_leaves_the_threads_of_torch_as_they_were():
    own = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        stream = stream_of()
        assert torch.get_num_threads() == 2
        assert stream._receiver.submit(torch.get_num_threads).result() == 1
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(own)


def test_gaussian_noise_is_normal_and_depends_on_the_key_alone():
    gray = torch.full((64, 3, 16, 16), 128, dtype=torch.uint8)
    keys = torch.arange(64) * 2**40 + 12345
    noisy = gaussian_noise(gray, keys, DEVIATION)
    deviation = (noisy.float() - 128).std((0, 2, 3))
    torch.testing.assert_close(deviation, torch.tensor([10.0, 20.0, 5.0]), rtol=0.05, atol=0)
    assert (noisy.float().mean((0, 2, 3)) - 128).abs().max() < 0.5
    assert torch.equal(gaussian_noise(gray[5:9], keys[5:9], DEVIATION), noisy[5:9])
    assert not torch.equal(noisy[0], noisy[1])
    values = (noisy[:, 1].float() - 128) / 20
    assert (
        abs((values.abs() < 1).float().mean() - 0.6827) < 0.02
        and abs((values.abs() < 2).float().mean() - 0.9545) < 0.01
    )
