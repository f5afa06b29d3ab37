"""`semisonic.train`: the command line's run from Python objects, several times in one process, and nothing left."""

import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState
from PIL import Image

import semisonic
from semisonic import cli
from semisonic.checkpoint import format as checkpoints
from semisonic.schema import Stopped, UserError
from tests.support.image_folders import write_images
from tests.support.processes import ROOT
from tests.support.python_data import TINY, OwnNet, Pairs, digits, weights


def fields(folder: Path, **more: Any) -> dict[str, Any]:
    return TINY | {"out": folder, "baseline": False} | more


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> semisonic.Result:
    """A run from arrays with a network of one's own."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("given") / "run"
    return semisonic.train(data=digits(), network=OwnNet, **fields(folder))


LIBRARIES = {"tqdm_monitor"}
"""Threads that a library starts once for the process's life: tqdm's watcher, which torch's compiler brings up."""


class Other(OwnNet):
    """The same tensors, and another rate of its dropout."""

    def __init__(self, classes: int):
        super().__init__(classes)
        self.dropout.p = 0.7


def process_state() -> dict[str, Any]:
    """What a run must leave as it was."""
    return {
        "threads": sorted(thread.name for thread in threading.enumerate() if thread.name not in LIBRARIES),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "group": dist.is_initialized(),
        "accelerate": dict(AcceleratorState._shared_state),
        "random": torch.get_rng_state().tolist(),
        "cores": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warnings": list(warnings.filters),
    }


@pytest.fixture
def nothing_left() -> Iterator[None]:
    before = process_state()
    yield
    after = process_state()
    assert {key: value for key, value in after.items() if value != before[key]} == {}


def test_the_result_of_a_run_from_arrays(trained: semisonic.Result):
    assert [entry["step"] for entry in trained.history] == [4, 8]
    assert trained.metrics["test_top1"] == trained.history[-1]["test/top1"] and trained.metrics["labels"] == 80
    assert (trained.folder / "summary.json").is_file()
    images, _ = digits()
    batch = torch.from_numpy(images[:5])[:, None].expand(-1, 3, -1, -1)
    logits = trained.classifier(batch)
    assert logits.shape == (5, 10) and trained.classifier.classes == list("0123456789")
    assert semisonic.load(trained.folder, network=OwnNet)(batch).equal(logits)
    ema = weights(trained.folder, 8)["ema.head.weight"]
    assert trained.classifier.network.head.weight.equal(ema)


@pytest.mark.usefixtures("nothing_left")
def test_a_run_that_was_cut_continues_bit_for_bit(trained: semisonic.Result, tmp_path: Path):
    class Cut(Exception):
        pass

    def stop(entry: dict[str, float]) -> None:
        if entry["step"] == 8:
            raise Cut

    asked = fields(tmp_path / "run", data=digits(), network=OwnNet)
    with pytest.raises(Cut):  # what a callback raises passes through, and ends the run
        semisonic.train(callback=stop, **asked)
    assert checkpoints.latest(tmp_path / "run" / "checkpoints") == tmp_path / "run" / "checkpoints" / "step-4"
    seen: list[dict[str, float]] = []
    again = semisonic.train(callback=seen.append, resume=True, **asked)
    assert [entry["step"] for entry in seen] == [8] and again.history == trained.history
    one, two = weights(trained.folder, 8), weights(again.folder, 8)
    assert one.keys() == two.keys() and all(value.equal(two[name]) for name, value in one.items())
    finished = semisonic.train(resume=True, **asked)
    assert finished.history == trained.history and finished.metrics == again.metrics


@pytest.mark.usefixtures("nothing_left")
def test_what_the_caller_has_set_in_torch_reaches_neither_run_nor_classifier(trained: semisonic.Result, tmp_path: Path):
    images = digits()[0][:5]
    expected = trained.classifier.predict_proba(images)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
            again = semisonic.train(data=digits(), network=OwnNet, **fields(tmp_path / "run"))
            loaded = semisonic.load(again.folder, network=OwnNet)
        with torch.device("meta"):
            found = [classifier.predict_proba(images) for classifier in (loaded, trained.classifier)]
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
    one, two = weights(trained.folder, 8), weights(again.folder, 8)
    assert one.keys() == two.keys() and all(value.equal(two[name]) for name, value in one.items())
    assert all((probabilities == expected).all() for probabilities in found)
    assert next(loaded.parameters()).requires_grad and not next(loaded.parameters()).is_inference()


def test_other_images_or_another_network_do_not_continue_it(trained: semisonic.Result):
    images, labels = digits()
    labels[3] = (labels[3] + 1) % 10
    with pytest.raises(UserError) as caught:
        semisonic.train(
            data=(images, labels), network=lambda classes: OwnNet(classes, 6), resume=True, **fields(trained.folder)
        )
    assert [message.partition(":")[0] for message in caught.value.messages] == ["data", "network"]
    assert all(str(trained.folder) in message for message in caught.value.messages)
    with pytest.raises(UserError, match=r"network: is not that of .*: of another shape: body.conv.bias"):
        semisonic.load(trained.folder, network=lambda classes: OwnNet(classes, 6))
    with pytest.raises(UserError, match="its tensors fit, but its layers are others"):
        semisonic.load(trained.folder, network=Other)
    with pytest.raises(UserError, match="the run's network was given in Python; pass network="):
        semisonic.load(trained.folder)


def test_the_command_line_says_what_such_a_run_needs(trained: semisonic.Result, capfd: pytest.CaptureFixture):
    for command in (["--plan"], []):
        assert cli.main(["--resume", "--out", str(trained.folder), *command]) == 2
        data, network = capfd.readouterr().err.splitlines()
        assert data == (
            f"error: data: the run in {trained.folder} was given its images in Python; "
            "call semisonic.train(data=..., resume=True, out=...)"
        )
        assert network.startswith(f"error: model: the run in {trained.folder} was given its network in Python")
    assert cli.evaluate([str(trained.folder)]) == 2
    assert "data: the images were given in Python" in capfd.readouterr().err


@pytest.mark.usefixtures("nothing_left")
def test_a_recipe_by_name_is_the_command_line_s_run(tmp_path: Path, capfd: pytest.CaptureFixture):
    seen: list[dict[str, float]] = []
    more = {"steps": 2, "eval": {"every": 2}, "log": {"every": 1, "trackers": ["tensorboard"]}, "baseline": True}
    result = semisonic.train("digits", callback=seen.append, **fields(tmp_path / "python", **more))
    assert capfd.readouterr().out == ""  # quiet
    assert result.metrics["labels"] == 40 and "baseline" in result.metrics and [e["step"] for e in seen] == [2]
    line = "--steps 2 --device cpu --threads 1 --batch.labeled 8 --batch.unlabeled-ratio 2 --eval.every 2 --log.every 1"
    line += " --eval.batch 256 --checkpoint.every 4 --checkpoint.keep 9 --ema.decay 0.5 --optim.lr 0.05 --no-baseline"
    assert cli.main([*line.split(), "--out", str(tmp_path / "line")]) == 0
    one, two = weights(tmp_path / "python", 2), weights(tmp_path / "line", 2)
    assert one.keys() == two.keys() and all(value.equal(two[name]) for name, value in one.items())


@pytest.mark.usefixtures("nothing_left")
def test_a_data_set_of_images_and_a_folder(tmp_path: Path):
    images, labels = digits(60, 20)
    pairs = Pairs([*map(Image.fromarray, images)], labels.tolist())
    more = {"steps": 1, "eval": {"every": 1}, "log": {"every": 1, "trackers": ()}, "model": "small"}
    data = {"images": pairs, "size": 12, "labels": 20, "test": (images[:30], labels[:30])}
    result = semisonic.train(data=data, **fields(tmp_path / "pairs", **more))
    assert result.metrics["labels"] == 20 and result.classifier.image_size == 12
    assert result.classifier.classes == list(Pairs.classes)
    for index, (image, label) in enumerate(zip(images[:60], labels[:60], strict=True)):
        place = tmp_path / "images" / ("test" if index < 20 else "train") / str(label % 2)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).convert("RGB").save(place / f"{index}.png")
    more["data.size"], more["data.workers"] = 8, 1
    result = semisonic.train(data=tmp_path / "images", network="small", **fields(tmp_path / "folder", **more))
    assert result.metrics["labels"] == 40 and result.classifier.classes == ["0", "1"]


def test_mistakes_of_every_kind_are_told_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    images, labels = digits()
    with pytest.raises(UserError) as caught:
        semisonic.train("digits", data=(images / 2, labels), network=OwnNet(10), stepz=3, optim={"lr": -1})
    starts = ["data: images are float64", "network: a OwnNet is one network", "optim.lr: -1", "stepz: unknown field"]
    assert len(caught.value.messages) == len(starts)
    for message, start in zip(caught.value.messages, starts, strict=True):
        assert message.startswith(start)
    for arguments, expected in [
        ({"network": 3}, "network: 3 is neither"),
        ({"network": "small", "model": "wrn-28-2"}, "network: small, but model.name is wrn-28-2"),
        ({"data": "digits", "test": (images, labels)}, "test: is for images given in Python"),
        ({"data": "nowhere/images", "data.size": 8}, "data.root: cannot read the folder nowhere/images"),
        ({"data": "no-such"}, "data.name: there is no data set 'no-such'"),
        ({"recipe": "imagenet"}, "--recipe imagenet: unknown"),
        ({"network": lambda classes: torch.nn.Flatten()}, "network: no nn.Linear of Flatten is called"),
    ]:
        with pytest.raises(UserError) as caught:
            semisonic.train(**arguments)
        assert expected in str(caught.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_with_a_checkpoint(tmp_path: Path, number: signal.Signals):
    kind = KeyboardInterrupt if number is signal.SIGINT else Stopped
    with pytest.raises(kind) as caught:
        semisonic.train("digits", callback=lambda _: os.kill(os.getpid(), number), **fields(tmp_path / "run"))
    assert checkpoints.latest(tmp_path / "run" / "checkpoints") == tmp_path / "run" / "checkpoints" / "step-4"
    if kind is Stopped:
        assert str(caught.value) == "stopped at step 4 by SIGTERM, with a checkpoint; resume=True continues"
    result = semisonic.train("digits", resume=True, **fields(tmp_path / "run"))
    assert [entry["step"] for entry in result.history] == [4, 8]


@pytest.mark.usefixtures("nothing_left")
def test_in_a_thread_with_other_settings_and_after_max_hours(tmp_path: Path):
    cut = fields(tmp_path / "run", max_hours=1e-9, deterministic=True, precision="bf16", threads=2)
    with ThreadPoolExecutor(1) as executor:
        result = executor.submit(semisonic.train, "digits", **cut).result()
    assert result.metrics == {} and result.classifier.classes == list("0123456789")


def test_importing_the_package_imports_no_torch():
    code = "import sys, semisonic; dir(semisonic); assert semisonic.UserError; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
    assert {"train", "load", "Result", "UserError"} <= set(dir(semisonic))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = semisonic.trian


@pytest.mark.long
@pytest.mark.usefixtures("nothing_left")
def test_runs_under_deepspeed_and_without_follow_each_other(tmp_path: Path):
    found = []
    for name in ("zero2", "zero1", None):
        parallel = {"deepspeed": ROOT / f"launch/deepspeed/{name}.json"} if name else {}
        more = fields(tmp_path / f"{name}", parallel=parallel)
        found.append(semisonic.train(data=digits(), network=OwnNet, **more).history[-1]["test/top1"])
    assert len(set(found)) == 1


def test_slips_of_a_call_are_told_before_anything_runs(tmp_path: Path):
    with pytest.raises(UserError, match=r"recipe: a tuple; name a recipe, and give images as data=\(images, labels\)"):
        semisonic.train(digits(), **fields(tmp_path))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="callback: 3 cannot be called"):
        semisonic.train(data=digits(), network="small", callback=3, **fields(tmp_path))  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


def test_classes_of_a_folder_are_a_field(tmp_path: Path):
    for name in ("cat", "dog"):
        write_images(tmp_path / "images" / name, "1.png 2.png")
    data = {"name": "folder", "root": tmp_path / "images", "size": 8, "classes": ("cat", "wolf")}
    with pytest.raises(UserError) as caught:
        semisonic.train(data=data, **fields(tmp_path / "run"))
    assert [line.split(": ")[1].removeprefix(str(tmp_path)) for line in caught.value.messages] == [
        "/images has labeled images of classes that are not listed",
        "/images has no labeled images of wolf; every class that is listed needs some; --data.absent_classes warn goes on without; in a new run, "
        "--data.classes none takes those that are there",
    ]
