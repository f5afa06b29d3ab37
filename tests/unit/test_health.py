"""Messages about ranks, checksums of tensors, and files that changed since the scan; without other processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from semisonic import divergence, folder, health
from semisonic.config import HealthConfig
from semisonic.data.augment import Geometry
from semisonic.data.base import DataConfig, ImageFiles
from semisonic.data.calls import Placement
from semisonic.data.damage import name_undecodable
from semisonic.data.draws import Draws
from semisonic.data.image_source import ImageSource
from semisonic.data.sampler import EvaluationSampler
from semisonic.data.sources import load_data_set
from semisonic.data.stream import Extras, Stream
from semisonic.divergence import Diverged, RanksDiffer, check_equal, check_finite, checksums, equal_tensors
from semisonic.health import DATA, STEP, Pulse, Watch, accuse, behind, from_a_peer, named
from semisonic.link import Beat
from semisonic.models.norm import BatchNorm2d
from semisonic.run import exit_code
from semisonic.schema import UserError


def beat(step: int, phase: str, turns: int = 0) -> Beat:
    return Beat(1, step, phase, turns, 0.0)


def test_the_message_names_rank_step_and_phase():
    (line,) = accuse("lost", {1: beat(123, DATA)}, 20).lines
    assert line.startswith("rank 1 has not answered for 20 s; its last sign was step 123, waiting for data; ")
    (line,) = accuse("stuck", {1: beat(3, DATA), 2: beat(3, DATA), 5: beat(4, STEP)}, 0.5).lines
    assert line.startswith(
        "ranks 1, 2 and 5 have not gone on for 0.5 s; the last sign was step 3, waiting for data or "
    )
    assert "health.progress" in line
    assert named(list(range(20))) == "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 12 more"


def test_those_furthest_behind_are_stuck():
    beats = {0: beat(7, STEP, 30), 1: beat(7, DATA, 29), 2: beat(7, DATA, 29), 3: beat(8, DATA, 31)}
    assert list(behind(beats)) == [1, 2]
    assert list(behind({0: beat(7, STEP, 30), 1: beat(6, STEP, 40)})) == [1]


def test_a_pulse_counts_every_turn():
    pulse = Pulse()
    pulse.at(DATA, 5)
    pulse.at(STEP)
    assert pulse.now == (5, STEP, 2)
    assert list(pulse.each("evaluating", [1, 2])) == [1, 2]
    assert pulse.now == (5, "evaluating", 5)


def test_errors_of_collectives_are_recognised():
    assert from_a_peer(RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer"))
    assert from_a_peer(torch.distributed.DistBackendError("remote process exited"))
    assert not from_a_peer(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not from_a_peer(UserError("gloo"))


def test_a_single_process_raises_and_notes_its_own_errors():
    noted: list[tuple[int, str, int]] = []

    def note(*what) -> bool:
        noted.append(what)
        return True

    with pytest.raises(Diverged), Watch(HealthConfig(), exit_code) as watch, watch.noting(note):
        watch.pulse.at(STEP, 12)
        raise Diverged("not finite")
    assert noted == [(12, "Diverged: not finite", 3)]
    assert not watch._thread.is_alive()
    assert [exit_code(error("")) for error in (RanksDiffer, UserError, KeyboardInterrupt, ValueError)] == [4, 2, 130, 1]


class Silent:
    """A link to other ranks of which nothing is heard."""

    verdict = None

    def __init__(self):
        self.posted = []

    def post(self, verdict):
        self.posted.append(verdict)


def test_what_all_ranks_find_is_reported_by_rank_0_once_its_checkpoint_is_written(monkeypatch: pytest.MonkeyPatch):
    """Another rank that finds it earlier must not end the job, and with it the checkpoint in flight."""
    monkeypatch.setattr(health, "SETTLING", 0.0)
    monkeypatch.setattr(health, "GRACE", 0.2)
    for rank, heard, posts in ((1, True, 0), (1, False, 1), (0, False, 1)):
        watch = Watch(HealthConfig(heartbeat=2), exit_code)
        watch.rank, watch.link, watch.cfg = rank, Silent(), HealthConfig.model_construct(heartbeat=0.1)
        if heard:
            watch._found.set()
        watch.end(Diverged("not finite"))
        assert len(watch.link.posted) == posts


def test_the_end_of_a_job_waits_for_the_checkpoint_in_flight(monkeypatch: pytest.MonkeyPatch):
    watch, order = Watch(HealthConfig(), exit_code), []
    monkeypatch.setattr(os, "_exit", lambda code: order.append(code))
    monkeypatch.setattr(watch, "_report", lambda verdict: order.append("reported"))
    watch.settle = lambda seconds: order.append(seconds)
    watch._conclude(accuse("stuck", {0: beat(3, DATA)}, 1.0))
    assert order == ["reported", health.SETTLING, health.EXIT_LOST]


def test_a_run_may_continue_with_other_health_settings():
    assert "health" in folder.MAY_CHANGE


def test_only_the_named_rank_of_the_same_job_is_killed(monkeypatch: pytest.MonkeyPatch):
    # The ranks are each other's siblings: here they are children of this process, which asks as one of them.
    job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(health.os, "getppid", os.getpid)
    jobs = [job | {"RANK": "1"}, job | {"RANK": "2"}, job | {"RANK": "1", "MASTER_PORT": "2"}]
    children = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=env) for env in jobs]
    try:
        children[0].send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        health.end_siblings([1])
        assert children[0].wait(10) == -signal.SIGKILL
        assert [child.poll() for child in children[1:]] == [None, None]
    finally:
        for child in children:
            child.kill()
            child.wait()


# Tensors that must be equal.


def several() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [
        torch.randn(3, 4), torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last), torch.tensor(7),
        torch.tensor([True, False, False]), torch.randn(5, dtype=torch.float64), torch.randn(6).bfloat16(),
        torch.randn(4, dtype=torch.complex128), torch.zeros(0), torch.tensor(1.5), torch.arange(9, dtype=torch.uint8),
    ]  # fmt: skip


def check_checksums(device: str) -> None:
    def of(tensors: list[torch.Tensor]) -> list[int]:
        return checksums([tensor.to(device) for tensor in tensors]).tolist()

    expected = of(several())
    assert of(several()) == expected and len(set(expected)) == len(expected)
    for number, tensor in enumerate(several()):
        if not tensor.numel():
            continue
        bits = tensor.flatten().view(torch.uint8).clone()
        for change in (0x80, 1):
            bits[-1] ^= change
            changed = [*several()[:number], bits.view(tensor.dtype).reshape(tensor.shape), *several()[number + 1 :]]
            differ = [a != b for a, b in zip(of(changed), expected, strict=True)]
            assert differ == [other == number for other in range(len(expected))], (tensor.dtype, change)
    swapped = several()
    swapped[0] = swapped[0].flip(0)
    assert of(swapped)[0] != expected[0] and of(swapped)[1:] == expected[1:]
    assert of([torch.tensor([0.0])]) != of([torch.tensor([-0.0])])  # the bits count


def test_checksums_see_every_bit_and_place():
    check_checksums("cpu")


@pytest.mark.gpu
def test_checksums_on_a_gpu():
    torch.use_deterministic_algorithms(True)
    check_checksums("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        tensors = [torch.ones(5, device="cuda"), torch.ones(3, device="cuda").half()]
        checksums(tensors)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_large_tensors_are_hashed_in_parts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(divergence, "ELEMENTS", 10)
    check_checksums("cpu")
    ones = torch.ones(25)
    changed = ones.clone()
    changed[[3, 13]] = 0
    other = ones.clone()
    other[[4, 14]] = 0
    assert len({int(checksums([tensor])) for tensor in (ones, changed, other)}) == 3


def test_own_statistics_of_ranks_may_differ():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNorm2d(4), BatchNorm2d(4))
    net[2].sync = False
    names = set(equal_tensors(net))
    assert {"1.running_mean", "1.running_var", "2.weight", "0.weight"} < names
    assert not {"2.running_mean", "2.running_var"} & names
    assert set(equal_tensors(net, parameters=False)) == {n for n in names if "running" in n or "num_batches" in n}


def pretend(monkeypatch: pytest.MonkeyPatch, others: list[torch.Tensor]) -> None:
    """Has this process be one rank among others, which contribute the given tensors to every gathering."""

    def all_gather(out: list[torch.Tensor], own: torch.Tensor) -> None:
        for into, value in zip(out, [own, *others], strict=True):
            into.copy_(value)

    monkeypatch.setattr(divergence.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(divergence.dist, "get_world_size", lambda: len(others) + 1)
    monkeypatch.setattr(divergence.dist, "all_gather", all_gather)


def test_ranks_that_differ_are_named(monkeypatch: pytest.MonkeyPatch):
    tensors = {f"t{i}": torch.full((3,), float(i)) for i in range(6)}
    good = checksums(tensors.values())
    pretend(monkeypatch, [good, good])
    check_equal(tensors, 7, lambda: "")
    pretend(monkeypatch, [good, checksums(value + (name > "t1") for name, value in tensors.items())])
    with pytest.raises(RanksDiffer) as caught:
        check_equal(tensors, 7, lambda: "Go back")
    says = "rank 2 differs from the other ranks at step 7, in t2, t3, t4 and 1 more; nothing was saved since. Go back"
    assert caught.value.messages == [says]
    with pytest.raises(RanksDiffer, match=r"ranks 0, 1 and 2 differ from each other at step 7, in t0"):
        pretend(monkeypatch, [good + 1, good + 2])
        check_equal(tensors, 7, lambda: "")


def test_the_first_rank_that_saw_a_bad_step_is_named(monkeypatch: pytest.MonkeyPatch):
    check_finite(torch.tensor(-1), lambda: "")
    with pytest.raises(Diverged, match="not finite at step 4; nothing"):
        check_finite(torch.tensor(4), lambda: "")
    pretend(monkeypatch, [torch.tensor([-1]), torch.tensor([3])])
    with pytest.raises(Diverged, match="not finite at step 3 on rank 2; nothing"):
        check_finite(torch.tensor(4), lambda: "")


# Files.


@pytest.fixture
def images(tmp_path: Path) -> ImageFiles:
    rng = np.random.default_rng(0)
    for part, label, i in [(p, c, i) for p in ("train", "test") for c in "ab" for i in range(4)]:
        (tmp_path / part / label).mkdir(parents=True, exist_ok=True)
        kind = ("png", "jpg")[i % 2]
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(tmp_path / part / label / f"{i}.{kind}")
    found = load_data_set(DataConfig(name="folder", root=tmp_path, size=16, labels=None)).train
    assert isinstance(found, ImageFiles)
    return found


def stream_of(images: ImageFiles, columns=None) -> Stream:
    geometry = Geometry(size=16, pad=0, flip=False, fill=(0, 0, 0), encoded=True, device="cpu")
    source, sampler, placement = ImageSource(images, geometry), EvaluationSampler(8, 8), Placement(torch.device("cpu"))
    return Stream(Draws(0, "t"), source, {"v": "plain"}, sampler, placement, extras=Extras(columns))


def gone(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def garbage(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)


def another(path: Path) -> None:
    """A sound image of another shape and, as far as the size tells, the same file."""
    size = path.stat().st_size
    Image.new("RGB", (10, 12)).save(path)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))


@pytest.mark.parametrize("name", ["a/1.jpg", "b/2.png"])
@pytest.mark.parametrize("damage", [gone, truncated, garbage, another])
def test_a_file_that_changed_is_named(images: ImageFiles, damage, name: str):
    path = images.root / "train" / name
    damage(path)
    with pytest.raises(UserError) as caught:
        next(stream_of(images))
    (line,) = caught.value.messages
    assert line.startswith(f"data.root: cannot decode {path}") and line.endswith(
        "; repair it and continue with --resume"
    )


def test_only_the_first_files_of_many_are_listed(images: ImageFiles):
    for path in images.root.rglob("train/*/*"):
        gone(path)
    with pytest.raises(UserError) as caught:
        next(stream_of(images))
    assert len(caught.value.messages) == 6 and caught.value.messages[-1].startswith(
        "data.root: 3 more files of the batch;"
    )


def test_an_error_of_another_kind_stays_what_it_is(images: ImageFiles):
    error = RuntimeError("out of memory")
    assert name_undecodable(error, images, [0, 1]) is error

    def broken(steps: range) -> dict:
        raise KeyError("label")

    with pytest.raises(KeyError, match="label"):  # from a thread, not a hang
        next(stream_of(images, columns=broken))
