"""The jobs of a comparison: what its command line asks for, and what is to be done with each folder."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.compare.jobs import (
    Entry,
    flatten,
    folder_name,
    label,
    owner,
    parse,
    parse_entries,
    parse_folder,
    parser,
    state_of,
)
from semisonic.plugins import load_plugins
from semisonic.schema import UserError
from tests.support.comparisons import fabricate, job
from tests.support.registries import restored

MINE = '''"""A method of a plug-in's own."""
from typing import Literal

from semisonic import register
from semisonic.algorithms.supervised import Supervised, SupervisedConfig


class MineConfig(SupervisedConfig):
    name: Literal["mine"] = "mine"
    lead: int = 3


class Mine(Supervised):
    Config = MineConfig


register.algorithm("mine", Mine)
'''


def mistakes(*argv: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        parse(argv)
    return caught.value.messages


def test_entries_carry_their_fields():
    entries, problems = parse_entries("supervised, fixmatch:threshold=0.8:optim.lr=0.1:steps=5,fixmatch:strong=a(2,9)")
    assert not problems
    assert entries == [
        Entry("supervised", "supervised", {}),
        Entry("fixmatch:threshold=0.8:optim.lr=0.1:steps=5", "fixmatch", {"algorithm.threshold": "0.8", "optim.lr": "0.1", "steps": "5"}),
        Entry("fixmatch:strong=a(2,9)", "fixmatch", {"algorithm.strong": "a(2,9)"}),
    ]  # fmt: skip
    assert entries[1].label == "fixmatch (threshold=0.8, optim.lr=0.1, steps=5)"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "name some"),
        ("fixmach", "'fixmach' is unknown; any of"),
        ("fixmatch:threshold", "'threshold' is not FIELD=VALUE"),
        ("fixmatch,fixmatch", "the same entry twice"),
        ("fixmatch:seed=3", "seed is set by --seeds"),
    ],
)
def test_mistakes_in_entries(text: str, part: str):
    assert any(part in problem for problem in parse_entries(text)[1])


def test_runs_without_test_images_are_not_compared(tmp_path: Path):
    argv = ("--algorithms", "supervised,fixmatch", "--out", str(tmp_path / "c"), "--data.test", "none")
    assert mistakes(*argv) == ["data.test: runs are compared by their test images; give auto"]


@pytest.mark.parametrize(
    "entry", ["fixmatch", "a:policy=fixed:threshold=0.9", "a:strong=r(2,9):root=/data/x+y", "a:b=50%25"]
)
def test_a_folder_s_name_says_what_it_is(entry: str):
    name = folder_name(entry, "all", 3)
    assert "/" not in name and parse_folder(name) == (entry, "all", 3)
    assert parse_folder("notes") is None
    assert label("a:b=1:c=2") == "a (b=1, c=2)" and label("a") == "a"


def test_every_combination_is_a_job(tmp_path: Path):
    asked = parse(["--algorithms", "supervised,fixmatch:threshold=0.8", "--seeds", "0,2", "--labels", "40,all",
                   "--set", "fixmatch.batch.unlabeled_ratio=3", "--set", "fixmatch:threshold=0.8.algorithm.weight=2",
                   "--out", str(tmp_path / "out"), "--processes", "64", "--steps", "7"])  # fmt: skip
    assert [(job.entry.name, job.labels, job.seed) for job in asked.jobs] == [
        (entry, labels, seed) for seed in (0, 2) for labels in ("40", "all") for entry in ("supervised", "fixmatch:threshold=0.8")
    ]  # fmt: skip
    assert asked.mine == asked.jobs and asked.processes == 8
    job = asked.jobs[1]
    assert job.folder == tmp_path / "out" / "runs" / "fixmatch+threshold=0.8-40-seed0"
    assert (job.cfg.algorithm.threshold, job.cfg.algorithm.weight, job.cfg.batch.unlabeled_ratio) == (0.8, 2.0, 3)
    assert job.cfg.steps == 7 and not job.cfg.baseline and job.cfg.threads == 1 and job.cfg.data.labels == 40
    assert asked.jobs[0].cfg.batch.unlabeled_ratio == 7 and asked.jobs[2].cfg.data.labels is None
    # What a run is started with gives exactly what was checked.
    from semisonic.config.command_line import resolve

    assert all(resolve(job.argv)[1] == job.cfg for job in asked.jobs)
    assert parse(["--algorithms", "fixmatch", "--out", str(tmp_path)]).jobs[0].labels == "40"  # the recipe's


def test_settings_come_from_a_file_too(tmp_path: Path):
    file = tmp_path / "settings.yaml"
    file.write_text("fixmatch:\n  threshold: 0.5\n  batch: {unlabeled_ratio: 2}\n  optim: {nesterov: false}\n")
    asked = parse(
        ["--algorithms", "fixmatch", "--settings", str(file), "--set", "fixmatch.threshold=0.6", "--out", str(tmp_path)]
    )
    cfg = asked.jobs[0].cfg
    assert (cfg.algorithm.threshold, cfg.batch.unlabeled_ratio, cfg.optim.nesterov) == (0.6, 2, False)
    assert flatten({"a": {"b": None, "c": [1, 2]}, "d": True}) == {"a.b": "null", "a.c": "1,2", "d": "true"}
    assert any("mixmatch" in line for line in _file_mistakes(file, "mixmatch: {threshold: 1}"))
    assert any("not YAML" in line for line in _file_mistakes(file, "a: ["))
    assert any("expected sections" in line for line in _file_mistakes(file, "fixmatch: 3"))


def _file_mistakes(file: Path, content: str) -> list[str]:
    file.write_text(content)
    return mistakes("--algorithms", "fixmatch", "--settings", str(file))


def test_all_mistakes_are_reported_together_and_nothing_is_written(tmp_path: Path):
    out = tmp_path / "out"
    found = mistakes("--algorithms", "nothing", "--seeds", "0,0", "--labels", "few", "--share", "3/2", "--processes", "0",
                     "--set", "x.y=1", "--out", str(out), "--seed", "1", "--resume", "--data.labels", "3")  # fmt: skip
    for part in ("'nothing' is unknown", "--seeds", "--labels", "--share", "--processes", "--set x.y=1",
                 "--seed: is set by --seeds", "--resume", "--data.labels: is set by --labels"):  # fmt: skip
        assert any(part in line for line in found), part
    found = mistakes("--algorithms", "supervised,fixmatch:threshold=high,fixmatch:nothing=1", "--seeds", "0,1", "--labels", "40,41",
                     "--optim.lr", "fast", "--out", str(out))  # fmt: skip
    assert len(found) == len(set(found)) == 4
    assert any(line.startswith("optim.lr: ") for line in found) and any(
        line.startswith("data.labels: 41") for line in found
    )
    assert any(line.startswith("fixmatch:threshold=high: algorithm.threshold: ") for line in found)
    assert any(line.startswith("fixmatch:nothing=1: algorithm.nothing: unknown field") for line in found)
    assert not out.exists()


@pytest.mark.parametrize(("entries", "shares", "seeds"), [(3, 3, 4), (4, 2, 3), (1, 4, 8), (5, 3, 3)])
def test_shares_divide_the_jobs_and_each_entry(entries: int, shares: int, seeds: int):
    owners = [owner(index, entries, shares) for index in range(entries * seeds)]
    counts = np.bincount(owners, minlength=shares)
    assert counts.max() - counts.min() <= 1 + seeds % shares
    for entry in range(entries):  # no share gets all the runs of one entry
        own = np.bincount(owners[entry::entries], minlength=shares)
        assert own.max() - own.min() <= 1


def test_what_is_to_be_done_with_a_folder(tmp_path: Path):
    assert state_of(job(tmp_path / "new")) == "new"
    for code in (75, 4, 2, None):
        made = job(tmp_path / f"stopped-{code}")
        fabricate(made, status="stopped", code=code)
        assert state_of(made) == "stopped"
    fabricate(done := job(tmp_path / "done"), top1=90.0)
    assert state_of(done) == "finished"
    fabricate(bad := job(tmp_path / "bad"), status="failed", code=3)
    assert state_of(bad) == "diverged"


def test_other_settings_are_refused_for_a_folder(tmp_path: Path):
    fabricate(job(tmp_path), top1=90.0)
    fabricate(made := job(tmp_path, "--optim.lr=0.2", entry="fixmatch"))
    assert state_of(job(tmp_path, "--log.every=3", "--threads=2")) == "finished"  # what may change
    argv = ["--algorithms", "supervised,fixmatch", "--labels", "40", "--steps", "9", "--out", str(tmp_path)]
    found = mistakes(*argv, "--optim.lr", "0.3")
    assert len(found) == 4 and all("use another --out" in line for line in found)
    assert f"optim.lr: 0.3, but {made.folder} has 0.2; use another --out (and --init)" in found
    (tmp_path / "runs" / "supervised-all-seed0").mkdir()
    (tmp_path / "runs" / "supervised-all-seed0" / "notes.txt").write_text("mine")
    assert "is not empty" in mistakes("--algorithms", "supervised", "--labels", "all", "--out", str(tmp_path))[0]


def test_a_job_arrives_in_a_process_that_has_run_none_of_its_plug_ins(tmp_path: Path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(MINE)
    with restored():
        load_plugins([plugin])
        made = job(tmp_path / "out", f"--plugin={plugin}", entry="mine")
        sent = pickle.dumps(made)
    del sys.modules[type(made.cfg.algorithm).__module__]
    with restored():
        assert "mine" not in ALGORITHMS
        arrived = pickle.loads(sent)
        assert "mine" in ALGORITHMS and arrived.cfg.algorithm.lead == 3
        assert (arrived.argv, arrived.folder, arrived.cfg.dump()) == (made.argv, made.folder, made.cfg.dump())


def test_the_command_is_called_as_it_was_started(monkeypatch: pytest.MonkeyPatch):
    called = {"compare.py": "compare.py", "semisonic": "semisonic compare", "__main__.py": "semisonic compare"}
    for name, said in called.items():
        monkeypatch.setattr(sys, "argv", [f"/a/folder/{name}"])
        assert parser().format_usage().startswith(f"usage: {said} [-h]")
        with pytest.raises(UserError, match=rf"\({said} --help shows all\)"):
            parse(["--processes", "two"])
