"""What a first step depends on is in its fingerprint, and what no fingerprint knows has none."""

import os
import resource
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import semisonic
from semisonic import plugins
from semisonic.data.sets import cache
from semisonic.models import networks
from semisonic.plugins import Plugin
from semisonic.runs import passed_trials
from semisonic.runs.passed_trials import Entry, PassedTrial, device_in_words, enough, place_of
from semisonic.training.given import NOTHING, Given
from tests.support.memory import configuration
from tests.support.trials import digits

DEVICES = ["a CPU"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "trials_folder", lambda: tmp_path)
    return tmp_path


def name(*fields: str, data: Any = None, devices: list[str] = DEVICES, given: Given = NOTHING) -> str | None:
    own, split = digits()
    place = place_of(configuration(*fields), data or own, split, devices, given)
    return place.file.name if place else None


def test_all_that_a_first_step_depends_on_has_a_part(monkeypatch: pytest.MonkeyPatch):
    plain = name()
    assert plain == name("--out", "other", "--log.every", "3", "--health.progress", "600", "--trial", "on")
    found = [
        plain,
        name("--steps", "50"),
        name("--threads", "2"),
        name("--eval.batch", "50"),
        name("--kernels", "reference"),
    ]
    found += [name(devices=["a CPU", "a CPU"]), name(devices=["another"])]
    data = digits()[0]
    found += [name(data=replace(data, **{field: value})) for field, value in
              {"pad": 3, "classes": tuple("abcdefghij"), "test": None, "std": (1.0,) * 3}.items()]  # fmt: skip
    monkeypatch.setenv("PYTORCH_NO_CUDA_MEMORY_CACHING", "1")
    found.append(name())
    monkeypatch.setattr(passed_trials, "version", lambda library: "9" if library == "torch" else "1")
    found.append(name())
    source = list(passed_trials._source())
    monkeypatch.setattr(passed_trials, "_source", lambda: [*source[:-1], (*source[-1][:2], 0)])  # one file is newer
    found.append(name())
    assert None not in found and len(set(found)) == len(found)


def test_a_launcher_s_variables_and_places_of_compiled_code_do_not_count(monkeypatch: pytest.MonkeyPatch):
    plain = name()
    for variable in ("TORCHELASTIC_RUN_ID", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "PWD", "HOSTNAME"):
        monkeypatch.setenv(variable, "another")
    assert name() == plain


def test_the_whole_source_is_looked_at():
    files = {Path(file) for file, *_ in passed_trials._source()}
    assert Path(passed_trials.__file__) in files and Path(torch.__file__) not in files
    assert len(files) > 300 and Path(semisonic.__file__).parent / "models" / "norm.py" in files
    assert any(file.parent.name == "semisonic_kernels" for file in files)


def test_what_nobody_knows_the_code_of_is_tried_every_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    own, split = digits()
    assert name(given=Given(network=lambda classes: torch.nn.Linear(1, classes))) is None
    assert name(given=Given(data=own)) is None
    cfg = configuration()
    for update in ({"init": tmp_path}, {"model": cfg.model.model_copy(update={"weights": tmp_path / "w.safetensors"})}):
        assert place_of(cfg.model_copy(update=update), own, split, DEVICES, NOTHING) is None
    with monkeypatch.context() as inside:
        inside.setitem(plugins._loaded, "0", Plugin(path="mine.py", sha256="0"))
        assert name() is None
    with monkeypatch.context() as inside:
        inside.setenv("SEMISONIC_FAULT", "step:1")
        assert name() is None
    with monkeypatch.context() as inside:
        small = networks.NETWORKS[cfg.model.name]
        inside.setitem(networks.NETWORKS._entries, cfg.model.name, replace(small, plug_in=True))
        assert name() is None
    with monkeypatch.context() as inside:
        inside.setattr(cfg.algorithm_class, "__module__", "mine")
        assert name() is None
    monkeypatch.setattr(cache, "trials_folder", lambda: None)  # a user without a home folder
    assert name() is None


def test_as_much_memory_as_there_was_is_enough_or_twice_what_it_took():
    entry = Entry(format=1, free=10 * 2**30, took=2**30)
    assert [enough(entry, free) for free in (10 * 2**30, 3 * 2**30, 2**31 + 2**29, 2**31)] == [True, True, True, False]
    assert not enough(Entry(format=1, free=10 * 2**30, took=0), 10 * 2**30 - 1)  # on a GPU


def test_the_oldest_notes_go(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(passed_trials, "MOST", 3)
    for number in range(5):
        place = PassedTrial(folder / f"{number}.json")
        assert place.read() is None and place.keep(5, 3) is None
        os.utime(place.file, (number, number))
    assert sorted(file.name for file in folder.iterdir()) == ["2.json", "3.json", "4.json"]
    assert place.read() == Entry(format=1, free=5, took=3)


def test_a_device_is_told_with_its_memory_and_the_process_s_limits(monkeypatch: pytest.MonkeyPatch):
    words = device_in_words(torch.device("cpu"))
    assert str(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) in words
    assert torch.backends.cpu.get_cpu_capability() in words
    # `ulimit -v`, of which nothing is seen in what the system has free.
    limits = {resource.RLIMIT_AS: 2**33}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits.get(kind, resource.RLIM_INFINITY),) * 2)
    assert device_in_words(torch.device("cpu")) != words


def test_a_gpu_is_told_with_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    own = SimpleNamespace(name="a GPU", major=9, minor=0, total_memory=2**36)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: own)
    monkeypatch.setattr(passed_trials, "DRIVER", tmp_path / "version")
    without = device_in_words(torch.device("cuda", 0))
    assert "a GPU 9.0" in without and str(2**36) in without
    (tmp_path / "version").write_text("NVRM version: 570")
    assert "570" in device_in_words(torch.device("cuda", 0)) != without
