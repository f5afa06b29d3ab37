"""`semisonic inspect` as users call it: what it prints, what it refuses, and its exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from semisonic import cli
from semisonic.inspection import command
from semisonic.inspection.command import parse
from semisonic.inspection.survey import SAMPLE
from semisonic.schema import UserError
from tests.support.processes import ROOT


def inspected(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, str]:
    code = cli.inspect([str(part) for part in argv])
    shown = capsys.readouterr()
    assert shown.err == ""
    return code, shown.out


def test_sound_images_end_with_0_and_others_with_1(tree: Path, capsys: pytest.CaptureFixture[str]):
    code, shown = inspected(capsys, tree)
    assert code == 0 and "18 images of 2 classes" in shown and "refused" not in shown and "--out FILE.png" in shown
    (tree / "train/cat/0.png").write_bytes(b"no image")
    code, shown = inspected(capsys, tree)
    assert code == 1 and "A training would be refused" in shown and "train/cat/0.png (not an image)" in shown


def test_json_is_one_object(odd_tree: Path, capsys: pytest.CaptureFixture[str]):
    code, shown = inspected(capsys, odd_tree, "--json", "--data.size", "24")
    found = json.loads(shown, parse_constant=lambda name: pytest.fail(name))
    assert code == 1 and found["refused"] and found["version"] == 1
    assert found["classes"][0] == {"name": "cat", "labeled": 17, "drawn": 0, "held_out": 0, "test": 3}
    assert found["files"]["size"] == 24 and found["files"]["height"]["least"] == 20
    assert {entry["path"] for entry in found["unusable"]} == {"train/cat/cut.jpg", "train/cat/gone.png"}
    assert found["suggestions"][0].keys() == {"option", "why"}


@pytest.mark.parametrize("ending", ["png", "html"])
def test_a_contact_sheet_is_written_where_it_is_asked_for(
    odd_tree: Path, tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "new" / f"sheet.{ending}"
    assert inspected(capsys, odd_tree, "--out", out)[0] == 1
    if ending == "png":
        assert Image.open(out).width > 1000
    else:
        assert "one-of-cat.png" in out.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "new"] and list(out.parent.iterdir()) == [out]


def errors(*argv: str | Path) -> list[str]:
    with pytest.raises(UserError) as caught:
        parse([str(part) for part in argv])
    return caught.value.messages


def test_all_mistakes_are_told_before_any_work(tree: Path, tmp_path: Path):
    (tmp_path / "sheet.png").write_text("")
    wrong = [
        "--sample=none",
        "--data.size",
        "small",
        "--steps",
        "3",
        "--data.root",
        "x",
        "--data.name",
        "mnist",
        "--plan",
    ]
    lines = errors(tree, "--out", tmp_path / "sheet.png", *wrong)
    for field in ("--out ", "--sample: ", "data.size: ", "--steps: ", "--data.root: ", "--data.name: ", "--plan: "):
        assert sum(line.startswith(field) for line in lines) == 1, (field, lines)
    assert len(lines) == 7


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("sheet.jpg", "the file must end in .png or .html"),
        ("images/train/cat/0.png/sheet.png", "0.png is no folder"),
        ("images/train/cat/0.png", "already exists"),
        ("images/sheet.png", "lies among the images of"),
        ("images/train/../sheet.html", "lies among the images of"),
    ],
)
def test_a_sheet_goes_only_where_it_may(tree: Path, tmp_path: Path, out: str, said: str):
    (line,) = errors(tree, "--out", tmp_path / out)
    assert line.startswith("--out ") and said in line


def test_there_must_be_something_to_look_at(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert errors(tmp_path / "nothing") == [f"{tmp_path / 'nothing'}: no such folder or CSV file"]
    assert errors(tmp_path / "pipe.csv") == [f"{tmp_path / 'pipe.csv'}: neither a folder of images nor a CSV file"]
    (line,) = errors()
    assert "FOLDER|CSV" in line


def test_fields_are_those_of_a_training(tree: Path, tmp_path: Path):
    (tmp_path / "a.csv").write_text("path,label\n")
    asked = parse([str(tree), "--data.labels=8", "--seed", "3", "--data.flip", "--sample", "all"])
    assert (asked.cfg.labels, asked.cfg.root, asked.seed, asked.sample) == (8, tree, 3, None)
    assert asked.cfg.flip is True and asked.cfg.name == "folder" and "size" not in asked.cfg.model_fields_set
    asked = parse(["--no-data.flip", "--data.classes", "b,a", str(tmp_path / "a.csv"), "--data.root", str(tree)])
    assert (asked.cfg.csv, asked.cfg.root, asked.cfg.flip) == (tmp_path / "a.csv", tree, False)
    assert asked.cfg.classes == ("b", "a") and asked.sample == SAMPLE and asked.cfg.labels is None


def test_a_home_folder_is_meant_by_its_sign(tree: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tree.parent))
    asked = parse(["~/images", "--out", "~/sheet.png"])
    assert asked.cfg.root == tree and asked.out == tree.parent / "sheet.png"


def test_ctrl_c_is_one_line(tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "survey", stopped)
    assert cli.inspect([str(tree)]) == 130
    assert capsys.readouterr() == ("", "interrupted; nothing was written\n")


def test_the_help_explains(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        cli.inspect(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and all(
        text in shown for text in ("--sample N|all", "--out FILE", "exit codes", "--json")
    )
    assert max(map(len, shown.splitlines())) <= 120


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
def test_ctrl_c_ends_the_script_and_its_processes(tree: Path):
    for number in range(20_000):
        os.link(tree / "unlabeled/0.jpg", tree / f"unlabeled/link{number}.jpg")
    command_line = [str(ROOT / "launch/inspect_data.py"), str(tree), "--data.workers", "2", "--sample", "all"]
    running = subprocess.Popen(
        [sys.executable, *command_line],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Ignored where the tests are started in the background of a script, and inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    end = time.monotonic() + 60
    while len(children(running.pid)) < 3 and time.monotonic() < end:  # two, and Python's tracker of what they share
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does, to all of them
    assert running.wait(60) == 130
    assert running.stderr is not None and running.stderr.read() == "interrupted; nothing was written\n"
    left = True
    while left and time.monotonic() < end + 20:
        try:
            os.killpg(running.pid, 0)
            time.sleep(0.1)
        except ProcessLookupError:
            left = False
    assert not left
