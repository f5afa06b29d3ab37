"""Comparisons of algorithms: what a command line asks for, where its runs stand, and what the report makes of them."""

import csv
import fcntl
import json
import math
import re
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.colors import to_rgb
from rich.console import Console

from semisonic import cli
from semisonic.compare.jobs import (
    Entry,
    Job,
    flatten,
    folder_name,
    label,
    make_jobs,
    owner,
    parse,
    parse_entries,
    parse_folder,
    state_of,
)
from semisonic.compare.page import COLORS, POINTS, collect, page, scalar, spread, style
from semisonic.compare.report import show, write_report
from semisonic.compare.rows import discover, interval, notes_of, rows_of
from semisonic.compare.scheduler import BUSY, last_step, log_file, outcome, read_reason, seconds_left
from semisonic.schema import UserError

QUICK = ["--device", "cpu", "--batch.labeled", "4", "--batch.unlabeled-ratio", "2", "--steps", "3", "--eval.every", "1",
         "--log.every", "1", "--checkpoint.every", "1", "--log.trackers", "none"]  # fmt: skip


def mistakes(*argv: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        parse(argv)
    return caught.value.messages


# The command line.


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


# Where runs stand.


def job(folder: Path, *fields: str, entry: str = "supervised") -> Job:
    made = Entry(entry, entry.partition(":")[0], {})
    return make_jobs(
        [(made, "40", 0, (f"--algorithm={made.algorithm}", "--no-baseline", "--data.labels=40", *fields))], folder, 1
    )[0]


def fabricate(made: Job, *, status: str = "running", step: int = 5, code: int | None = None, reason: str | None = None,
              top1: float | None = None, lines: list[dict] | None = None, seconds: float = 10.0, **summary: object) -> None:  # fmt: skip
    """The files of a run, finished where there is an accuracy."""
    folder = made.folder
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(made.cfg.dump())
    (folder / "status.json").write_text(
        json.dumps({"status": status, "step": step, "steps": made.cfg.steps, "reason": reason, "exit_code": code})
    )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines or []))
    if top1 is not None:
        content = {"test_top1": top1, "test_top1_raw": top1 - 1, "test_top1_last20_median": top1 - 0.5, "wall_seconds": seconds,
                   "images_per_second": 100.0, "peak_memory_bytes": 1, "step": step, "hardware": "a computer", "cpu_threads": 1,
                   "versions": {"torch": "2"}, **summary}  # fmt: skip
        (folder / "summary.json").write_text(json.dumps(content))


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
    assert "is in use" in mistakes("--algorithms", "supervised", "--labels", "all", "--out", str(tmp_path))[0]


def test_how_a_process_ended(tmp_path: Path):
    fabricate(done := job(tmp_path / "a"), top1=90.0)
    assert outcome(done, 0, 2.0).status == "finished"
    fabricate(made := job(tmp_path / "b"), status="failed", reason="the disk is full", lines=[{"step": 3}, {"step": 4}])
    assert [outcome(made, code, 1.0).status for code in (0, 75, -15, 130)] == ["stopped"] * 4
    assert outcome(made, 75, 1.0).message == "at step 5"  # of the checkpoint; the last line of figures is older
    failed = outcome(made, 2, 1.0)
    assert failed.status == "failed" and failed.message.startswith("the disk is full (exit code 2; its output is in ")
    assert "SIGSEGV" in outcome(made, -11, 1.0).message and "another process" in outcome(made, BUSY, 1.0).message
    assert f"remove {made.folder}" in outcome(made, 3, 1.0).message


def test_a_run_without_a_status_speaks_through_its_output(tmp_path: Path):
    made = job(tmp_path)
    assert read_reason(made) == "it printed nothing" and last_step(made.folder) == 0
    log_file(made).parent.mkdir(parents=True)
    log_file(made).write_text(
        "$ train.py a\nerror: old\n$ train.py b\nloading\nerror: data.root: nothing there\nerror: again\n"
    )
    assert read_reason(made) == "data.root: nothing there; again"
    log_file(made).write_text("$ train.py a\nTraceback\nValueError: 3\n\n")
    assert read_reason(made) == "ValueError: 3"


def test_the_time_left():
    assert seconds_left([], {}, 2) == 0 and seconds_left([("a", 10)], {}, 2) is None
    assert seconds_left([("a", 10), ("b", 10)], {"a": 1.0, "b": 2.0}, 1) == 30
    assert seconds_left([("a", 10), ("b", 10), ("c", 10)], {"a": 1.0, "b": 2.0}, 1) == 45  # the unknown as their mean
    assert seconds_left([("a", 10), ("a", 10), ("a", 100)], {"a": 1.0}, 3) == 100  # the longest decides


# The report.


def test_intervals_are_student_s():
    assert interval([3.0]).half is None and interval([3.0]).mean == 3.0
    known = interval([1.0, 2.0, 3.0])  # t(2, 0.975) = 4.302653
    assert known.mean == 2.0 and known.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    ten = interval([float(value) for value in range(10)])  # t(9, 0.975) = 2.262157
    assert ten.half == pytest.approx(2.262157 * math.sqrt(55 / 6) / math.sqrt(10), rel=1e-6)
    assert (
        interval([5.0, 5.0]).half == 0 and known.text() == "2.00 ± 2.48" and known.text(sign=True).startswith("+2.00")
    )


def lines(top1: float, pseudo_labels: bool, classes: int = 4) -> list[dict]:
    result: list[dict] = []
    for step in (10, 20, 30):
        figures = {"train/coverage": step / 40, "train/pseudo_label_precision": 0.9, "train/class_entropy": 0.5,
                   "train/class_share": [step / 40 / classes] * classes, "train/threshold": [0.5 + step / 100] * classes}  # fmt: skip
        result += [
            {"step": step, "train/loss": 1.0, **(figures if pseudo_labels else {})},
            {"step": step, "eval/top1": top1 - 30 + step},
        ]
    return result


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    """Three supervised runs, three of fixmatch, one of another setting, one that failed."""
    entries = {"supervised": (80.0, 84.0, 82.0), "fixmatch": (90.0, 93.0, 93.0), "fixmatch:threshold=0.5": (95.0,)}
    for name, values in entries.items():
        entry = parse_entries(name)[0][0]
        for seed, top1 in enumerate(values):
            argv = (f"--algorithm={entry.algorithm}", "--no-baseline", *(f"--{k}={v}" for k, v in entry.fields.items()))
            made = make_jobs([(entry, "40", seed, argv)], tmp_path, 1)[0]
            used = {"coverage": 0.75, "pseudo_label_precision": 0.9, "collapsed_classes": ["3"] if seed else []}
            fabricate(made, top1=top1, lines=lines(top1, entry.algorithm == "fixmatch"), seconds=10.0 if name == "supervised" else 30.0,
                      **({"pseudo_labels": used} if entry.algorithm == "fixmatch" else {}))  # fmt: skip
    entry = parse_entries("supervised")[0][0]
    failed = make_jobs([(entry, "40", 7, ("--algorithm=supervised", "--no-baseline"))], tmp_path, 1)[0]
    fabricate(failed, status="failed", code=2, reason="<no image>")
    return tmp_path


def test_rows_pair_the_seeds(comparison: Path):
    runs = discover(comparison)
    rows = {row.entry: row for row in rows_of(runs, ["supervised", "fixmatch", "fixmatch:threshold=0.5"])}
    assert (
        rows["supervised"].against is None
        and rows["supervised"].relative_time is None
        and len(rows["supervised"].runs) == 3
    )
    row = rows["fixmatch"]
    assert row.error.mean == pytest.approx(100 - 92) and row.median_error.mean == pytest.approx(8.5)
    differences = [-10.0, -9.0, -11.0]
    assert row.against is not None and row.against.mean == pytest.approx(-10)
    assert row.against.half == pytest.approx(4.302653 * np.std(differences, ddof=1) / math.sqrt(3), rel=1e-6)
    assert (
        row.better
        and row.relative_time == pytest.approx(3)
        and row.collapsed == 2
        and row.precision == pytest.approx(0.9)
    )
    alone = rows["fixmatch:threshold=0.5"]
    assert alone.against is not None and alone.against.half is None and alone.against.mean == -15 and not alone.better


class Resources(HTMLParser):
    """What a page would load, and the depth of its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in ("img", "meta", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_page_and_two_tables(comparison: Path, capfd: pytest.CaptureFixture):
    console = Console(width=200)
    assert write_report(comparison, ["fixmatch", "supervised"], console, {}) == comparison / "compare.html"
    printed = capfd.readouterr().out
    assert "-10.00 ± 2.48" in printed and "fixmatch (threshold=0.5)" in printed
    content = (comparison / "compare.html").read_text()
    parsed = Resources()
    parsed.feed(content)
    assert not parsed.open and len(parsed.loads) == 7  # five curves, thresholds by class, use of classes
    assert all(source.startswith("data:image/svg+xml;base64,") for source in parsed.loads)
    assert "<no image>" not in content and "&lt;no image&gt;" in content and "fixmatch (threshold=0.5)" in content
    for word in (
        "Test accuracy",
        "Coverage",
        "Precision",
        "Threshold of each class",
        "Use of classes",
        "2 of 3",
        "a computer",
    ):
        assert word in content, word
    with (comparison / "compare.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["entry"] for row in table] == [
        "fixmatch",
        "supervised",
        "fixmatch:threshold=0.5",
    ]  # the command's order first
    assert (
        float(table[0]["against_supervised"]) == -10
        and table[0]["pairs"] == "3"
        and table[1]["against_supervised"] == ""
    )
    with (comparison / "runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 8 and {run["status"] for run in runs} == {"finished", "failed"}
    assert next(run for run in runs if run["status"] == "failed")["reason"] == "<no image>"
    again = content
    write_report(comparison, ["fixmatch", "supervised"], console, {})
    assert (comparison / "compare.html").read_text() == again  # the same files give the same page


def test_the_table_fits_the_terminal(comparison: Path, capfd: pytest.CaptureFixture):
    rows = rows_of(discover(comparison), ["supervised", "fixmatch", "fixmatch:threshold=0.5"])
    for width, columns in ((200, 11), (100, 8), (80, 6)):
        show(rows, Console(width=width))
        printed = capfd.readouterr().out.splitlines()
        assert all(len(line) <= width for line in printed) and len(printed) == 5
        assert len(re.findall(r"\S+(?: \S+)*", printed[1])) == columns
        assert "fixmatch (threshold=0.5)" in printed[4] and "-10.00 ± 2.48" in printed[3]


def test_the_report_says_where_runs_differ(comparison: Path):
    path = comparison / "runs" / "fixmatch-40-seed0" / "config.yaml"
    cfg = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**cfg, "steps": cfg["steps"] + 1}))
    found = notes_of(discover(comparison))
    assert found == ["The runs differ in steps (600: fixmatch (threshold=0.5), fixmatch, supervised; 601: fixmatch)"]


def test_curves_are_means_and_ranges_over_seeds():
    series = [[{"step": 1, "a": 1.0}, {"step": 2, "a": 2.0}, {"step": 2, "b": 9}], [{"step": 1, "a": 3.0}]]
    line = collect(series, scalar("a", 10))
    assert line is not None and line.steps.tolist() == [1, 2]
    assert line.mean.tolist() == [20, 20] and line.low.tolist() == [10, 20] and line.high.tolist() == [30, 20]
    assert collect(series, scalar("c")) is None
    vector = collect([[{"step": 1, "t": [0.1, 0.5]}], [{"step": 1, "t": 0.9}]], spread("t"))
    assert vector is not None and vector.mean[0] == pytest.approx(0.6) and (vector.low[0], vector.high[0]) == (0.1, 0.9)
    long = collect([[{"step": step, "a": 0.0} for step in range(5000)]], scalar("a"))
    assert long is not None and len(long.steps) == POINTS and (long.steps[0], long.steps[-1]) == (0, 4999)


def test_a_thousand_classes_stay_readable(tmp_path: Path):
    for name in ("supervised", "fixmatch"):
        fabricate(job(tmp_path, entry=name), top1=90.0, lines=lines(90.0, name == "fixmatch", classes=1000))
    content = page(rows_of(discover(tmp_path), ["supervised", "fixmatch"]), [], {})
    assert len(content) < 2_000_000 and content.count("<img") == 7


def test_sixteen_colors_are_distinct():
    """Apart from each other and from the white page, in a space where distances are those of the eye."""

    def lab(color: str) -> np.ndarray:
        rgb = np.array(to_rgb(color))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        xyz = (
            np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
            @ linear
            / [0.9505, 1, 1.089]
        )
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    assert len(COLORS) == 16 and len({tuple(style(k).values()) for k in range(64)}) == 64
    assert min(float(np.linalg.norm(lab(a) - lab(b))) for a, b in combinations([*COLORS, "#ffffff"], 2)) > 18


# The real thing.


def test_a_comparison_stops_continues_and_reports(tmp_path: Path, capfd: pytest.CaptureFixture):
    out = tmp_path / "out"
    argv = ["--algorithms", "supervised,fixmatch:threshold=0.3", "--seeds", "0,1", "--labels", "40", "--processes", "2",
            "--out", str(out), *QUICK]  # fmt: skip
    with pytest.raises(SystemExit):
        cli.compare(["--processes", "two"])
    assert cli.compare(["--report-only", "--out", str(out)]) == 2  # nothing there
    capfd.readouterr()
    assert cli.compare([*argv, "--seeds", "1", "--max-hours", "1e-9"]) == 75  # each stops after its first step
    err = capfd.readouterr().err
    assert err.count("stopped: at step 1") == 2 and "The same command continues" in err
    assert not (out / "compare.html").exists()

    # One run is at work elsewhere: it is left alone, and the others finish.
    with (out / "logs" / "supervised-40-seed1.log").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert cli.compare(argv) == 1
    printed = capfd.readouterr()
    assert "4 runs: 0 have ended already, 2 go on, 2 are new; 2 at a time" in printed.out
    assert "error: supervised-40-seed1: failed: another process is at work on it" in printed.err
    assert len(re.findall(r"^\[\d/4\] .*% error in", printed.out, re.MULTILINE)) == 3
    assert (out / "compare.html").exists()  # the table is written all the same

    assert cli.compare(argv) == 0
    assert "4 runs: 3 have ended already, 1 go on, 0 are new" in capfd.readouterr().out
    for path in (out / "runs").iterdir():
        assert json.loads((path / "summary.json").read_text())["step"] == 3
    lines = [
        json.loads(line)
        for line in (out / "runs" / "fixmatch+threshold=0.3-40-seed0" / "metrics.jsonl").read_text().splitlines()
    ]
    readings = [line for line in lines if "train/coverage" in line]
    assert [line["step"] for line in readings] == [1, 2, 3] and all(
        len(line["train/class_share"]) == 10 for line in readings
    )
    before = {path: path.read_bytes() for path in (out / "runs").rglob("*") if path.is_file()}
    assert cli.compare(argv) == 0
    assert {path: path.read_bytes() for path in (out / "runs").rglob("*") if path.is_file()} == before
    assert cli.compare([*argv, "--steps", "4"]) == 2
    assert "use another --out" in capfd.readouterr().err
    (out / "compare.csv").unlink()
    assert cli.compare(["--report-only", "--out", str(out)]) == 0 and (out / "compare.csv").exists()


def test_a_run_that_fails_takes_no_other_along(tmp_path: Path, capfd: pytest.CaptureFixture):
    argv = ["--algorithms", "supervised:optim.lr=1e18,supervised", "--out", str(tmp_path), "--processes", "1", *QUICK]
    assert cli.compare(argv) == 1
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1 and "not finite at step" in err and "(exit code 3; its output is in" in err
    assert (tmp_path / "runs" / "supervised-40-seed0" / "summary.json").exists()
    assert "not finite at step" in (tmp_path / "compare.html").read_text()
    assert cli.compare(argv) == 1  # which would diverge again, and is not begun
    printed = capfd.readouterr()
    assert "2 have ended already, 0 go on, 0 are new" in printed.out and "to run it again, remove" in printed.err
