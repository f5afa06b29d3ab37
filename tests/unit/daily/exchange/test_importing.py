"""Labels that come back are the same, changed ones are events of who changed them, and what cannot be is told whole."""

import csv
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from semisonic import cli
from semisonic.daily.exchange.exporting import ENDINGS, FOLDER
from semisonic.daily.project import Project
from semisonic.daily.store import ANY, Change, State
from tests.support.daily import new_image
from tests.support.daily_projects import begin, every_state, labels_of, odd_images

PEOPLE = ("given", "reviewed", "rejected", "unsure")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """With labels of all states on files and classes of odd names."""
    made = begin(tmp_path / "p", odd_images(tmp_path / "images"))
    every_state(made)
    return made


def daily(project: Project, *arguments: object) -> int:
    return cli.daily([str(project.folder), *map(str, arguments)])


def exported(project: Project, to: str, *options: str) -> Path:
    assert daily(project, "export", "--to", to, *options) == 0
    return project.folder / FOLDER / f"day-001{ENDINGS[to]}"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, rows[0])
        out.writeheader()
        out.writerows(rows)
    return path


def events(project: Project) -> int:
    with project.store() as store:
        return store.last_event


@pytest.mark.parametrize("to", ENDINGS)
def test_a_round_trip_is_equal(project: Project, tmp_path: Path, to: str, capsys: pytest.CaptureFixture):
    """Here nothing changes; in a project of the same images without labels those of people are the same, and no label of
    the network becomes one of a person."""
    file = exported(project, to)
    with project.store() as store:
        before, last = labels_of(store), store.last_event
    assert daily(project, "import", file, "--who", "eve") == 0 and events(project) == last
    assert "14 were there already; 10 rows hold nothing that a person said" in capsys.readouterr().out
    other = begin(tmp_path / "other", odd_images(tmp_path / "images"))
    assert daily(other, "import", file, "--who", "eve") == 0
    with other.store() as store:
        after = labels_of(store)
        own = store.connection.execute("SELECT who, source, details FROM event WHERE kind = 'label'").fetchall()
        assert not store.check()
    assert {image: label for image, label in after.items() if label[0] != "unlabeled"} == {
        image: label for image, label in before.items() if label[0] in PEOPLE
    }
    assert {row[:2] for row in own} == {("eve", "import")}
    assert {json.loads(row[2])["author"] for row in own} == {"ann", "bob"}


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_a_tree_that_has_moved_is_known_by_its_content(project: Project, tmp_path: Path, to: str):
    file = exported(project, to)
    other = begin(tmp_path / "other", odd_images(tmp_path / "elsewhere"))
    assert daily(other, "import", file, "--who", "eve") == 0
    with other.store() as store, project.store() as origin:
        people = {image: label for image, label in labels_of(origin).items() if label[0] in PEOPLE}
        assert {image: labels_of(store)[image] for image in people} == people


def test_a_label_changed_outside_is_an_event_of_its_author(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture
):
    rows = table(exported(project, "csv"))
    states = [row["state"] for row in rows]
    given, auto, unsure, taken = (states.index(word) for word in ("given", "auto", "unsure", "accepted"))
    rows[given]["label"] = rows[auto]["label"] = rows[unsure]["label"] = "cat"
    rows[given] |= {"label": "con"}
    rows[taken] |= {"state": "rejected", "label": ""}
    assert daily(project, "import", write(tmp_path / "changed.csv", rows), "--who", "eve") == 0
    assert "Imported 4 labels of eve" in capsys.readouterr().out
    with project.store() as store:
        names = {row.id: row.name for row in store.classes()}
        changes = store.connection.execute("SELECT state, class, who FROM event WHERE source = 'import' ORDER BY image")
        assert [(State(state).word, names.get(label), who) for state, label, who in changes] == [
            ("reviewed", "con", "eve"), ("reviewed", "cat", "eve"), ("reviewed", "cat", "eve"), ("rejected", None, "eve"),
        ]  # fmt: skip
        assert not store.check()


def test_a_label_that_is_newer_here_stays_unless_it_is_overruled(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture
):
    rows = table(exported(project, "csv"))
    with project.store() as store:
        cat, con = store.classes()[0].id, store.classes()[-1].id
        before = store.current()
        changed, auto = before.image[1], before.image[before.state == State.AUTO][0]
        store.record([Change(int(image), State.REVIEWED, con, ANY) for image in (changed, auto)], "zoe", "page:free")
    rows[1]["label"] = rows[int(auto) - 1]["label"] = "cat"
    file = write(tmp_path / "old.csv", rows)
    last = events(project)
    assert daily(project, "import", file, "--who", "eve") == 5 and events(project) == last
    shown = capsys.readouterr().out
    assert (
        "left out: line 3: " in shown and "is labeled con here, by zoe on 2" in shown and "2 newer here kept" in shown
    )
    assert daily(project, "import", file, "--who", "eve", "--overrule") == 0
    with project.store() as store:
        assert [store.now_of(int(image)).class_id for image in (changed, auto)] == [cat, cat]


def test_an_undone_label_is_not_made_again(project: Project, capsys: pytest.CaptureFixture):
    file = exported(project, "csv")
    assert daily(project, "undo", "--last", 1, "--who", "ann") == 0
    last = events(project)
    assert daily(project, "import", file, "--who", "eve") == 5 and events(project) == last
    assert "1 newer here kept" in capsys.readouterr().out


def test_all_mistakes_are_told_and_nothing_is_imported(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture):
    rows = table(exported(project, "csv"))
    plain = [{"path": row["path"], "label": "cat", "state": ""} for row in rows]
    gone, changed = Path(plain[20]["path"]), Path(plain[15]["path"])
    gone.unlink()
    changed.write_text("something else")
    plain[17]["label"] = "bird"
    plain[18]["state"] = "perhaps"
    plain[19] |= {"state": "given", "label": ""}
    plain[16] |= {"state": "rejected"}
    nowhere = {"path": str(tmp_path / "nowhere.png"), "label": "cat", "state": ""}
    twice = plain[21] | {"label": "con"}
    file = write(tmp_path / "foreign.csv", [nowhere, *plain[14:], twice, plain[21]])
    last = events(project)
    assert daily(project, "import", file, "--who", "eve") == 2 and events(project) == last
    lines = capsys.readouterr().err.splitlines()
    told = [
        "line 2: " + str(tmp_path / "nowhere.png") + ": is no image of this project; `add` it first",
        "line 5: is rejected and has the label cat; leave one of the two out",
        "line 6: has the label bird, and there is no such class (cat, a,b",
        "line 7: has state 'perhaps'; one of unlabeled, auto, ",
        "line 8: is given and has no label",
        "is the image of line 10 once more, with another label; keep one",
        "is an image of rows above once more, with another label; keep one",
        f"line 4: {changed}: is changed; put it back",
        f"line 9: {gone}: is gone; put it back, or `add` it where it lies now",
        "nothing was imported; --partly imports 3 changes without these rows",
    ]
    assert len(lines) == len(told) and all(line.startswith("error: ") and str(file) in line for line in lines)
    assert [text for text, line in zip(told, lines, strict=True) if text not in line] == []
    assert daily(project, "import", file, "--who", "eve", "--partly") == 5
    assert "Imported 3 labels of eve" in capsys.readouterr().out


def test_old_names_of_classes_are_understood(project: Project, capsys: pytest.CaptureFixture):
    file = exported(project, "csv")
    assert daily(project, "classes", "rename", "con", "kitten") == 0
    assert daily(project, "classes", "merge", "=1+1", "cat") == 0
    last = events(project)
    assert daily(project, "import", file, "--who", "eve") == 0 and events(project) == last
    assert daily(project, "classes", "retire", "cat") == 0 and capsys.readouterr()
    assert daily(project, "import", file, "--who", "eve") == 2
    assert "has the label cat, a class that was split or retired; give another one" in capsys.readouterr().err


def test_a_file_of_no_known_kind(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture):
    for name, content, told in (
        ("x.txt", "", "must end in .csv, .parquet, .json, or be a folder"),
        ("x.csv", "", "is empty; its first line must name the columns"),
        ("y.csv", "image,class\n", "has no column path and no column label"),
        ("x.json", "{}", "is no list of tasks"),
        ("y.json", "[" * 100 + "]" * 100, "more than 64 sections and lists"),
        ("x.parquet", "PAR1", "cannot be read as Parquet"),
    ):
        (tmp_path / name).write_text(content)
        assert daily(project, "import", tmp_path / name, "--who", "eve") == 2
        shown = capsys.readouterr().err
        assert told in shown and len(shown.splitlines()) == 1
    os.mkdir(tmp_path / "empty")
    assert daily(project, "import", tmp_path / "empty", "--who", "eve") == 2
    assert "has no folders; a tree has one for each class" in capsys.readouterr().err


def test_relative_paths_are_below_the_file(tmp_path: Path):
    image = new_image(tmp_path / "images", "a.png")
    project = begin(tmp_path / "p", [image.path])
    (tmp_path / "l.csv").write_text("path,label\nimages/a.png,cat\n")
    assert daily(project, "import", tmp_path / "l.csv", "--who", "eve") == 0
    with project.store() as store:
        assert store.now_of(1).state == State.GIVEN


@pytest.mark.parametrize("kills", [pytest.param(3, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.long)])
def test_an_import_that_is_killed_has_happened_or_not(tmp_path: Path, kills: int):
    """Whenever that is; given again, it is as if it had not been killed."""
    files = [new_image(tmp_path / "images", f"{number}.png").path for number in range(200)]
    file = tmp_path / "l.csv"
    file.write_text("path,label\n" + "".join(f"{path},cat\n" for path in files))
    fork = multiprocessing.get_context("fork")

    def start(folder: Path) -> multiprocessing.process.BaseProcess:
        arguments = [str(folder), "import", str(file), "--who", "eve"]
        process = fork.Process(target=cli.daily, args=(arguments,))
        process.start()
        return process

    begin(tmp_path / "measured", files)
    began = time.monotonic()
    start(tmp_path / "measured").join()
    whole = time.monotonic() - began
    project = begin(tmp_path / "p", files)
    found = []
    for number in range(kills):
        process = start(project.folder)
        time.sleep(whole * (number + 0.5) / kills)
        process.kill()
        process.join()
        with project.store() as store:
            assert not store.check()
            found.append(int((store.current().state == State.GIVEN).sum()))
    assert set(found) <= {0, len(files)} and found[0] == 0 and found == sorted(found)
    assert daily(project, "import", file, "--who", "eve") == 0
    with project.store() as store:
        assert (store.current().state == State.GIVEN).all() and store.last_event == len(store.classes()) + len(files)
