"""Trackers, offline, on a run that stops and goes on: one run there too, every figure once, its pictures."""

import importlib.util
import json
import os
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from semisonic.reporting.tracker_kinds import KINDS, Place, bring_along, kind_of
from semisonic.schema import UserError

STEPS = 20
FIGURES = {"train/loss", "train/lr", "train/coverage", "speed/images_per_second", "test/top1", "test_per_class/3"}
"""Some that every tracker must have."""
PICTURE = "test/confusion"
RUN = f"""
import sys, semisonic

def stop(entry):
    if entry["step"] == 10:
        raise KeyboardInterrupt

tracker, out = sys.argv[1:]
run = dict(
    data="digits", algorithm="fixmatch", steps={STEPS}, device="cpu", threads=1, out=out, quiet=True, baseline=False,
    batch={{"labeled": 8, "unlabeled_ratio": 2}}, eval={{"every": 5}}, checkpoint={{"every": 5}},
    log={{"every": 5, "trackers": [tracker]}},
)
try:
    semisonic.train(callback=stop, **run)
except KeyboardInterrupt:
    pass
else:
    raise AssertionError("not stopped")
semisonic.train(resume=True, **run)
"""


@pytest.fixture
def trained(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The folder of a run of which the parameter `tracker` was told, in two starts; the process was in its parent."""
    name = request.getfixturevalue("tracker")
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed: pip install 'semisonic[trackers]'")
    offline = {"WANDB_MODE": "offline", "TRACKIO_DIR": str(tmp_path / "trackio"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"} | offline
    command = [sys.executable, "-c", RUN, name, "mine"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out" not in done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"mine", "trackio"}  # nothing beside the run's folder
    yield tmp_path / "mine"


def expected(run: Path) -> dict[int, float]:
    """The loss by step, as the run wrote it."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["train/loss"] for line in lines if line["kind"] == "train"}


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["tensorboard"])
def test_tensorboard_has_one_file_a_start(tracker: str, trained: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = [path for path in (trained / "trackers").rglob("*") if path.is_file()]
    assert len(files) == 2 and all(path.name.startswith("events.out.tfevents") for path in files)
    found = EventAccumulator(str(files[0].parent)).Reload()
    tags = found.Tags()
    assert set(tags["scalars"]) >= FIGURES and all(re.fullmatch(r"[^/]+/[^/]+", tag) for tag in tags["scalars"])
    losses = [(event.step, event.value) for event in found.Scalars("train/loss")]
    assert losses == [(step, pytest.approx(loss)) for step, loss in expected(trained).items()]
    (picture,) = found.Images(PICTURE)
    assert picture.step == STEPS and picture.width > 100
    text = found.Tensors("configuration/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert "    batch.labeled: 8\n" in text


@pytest.mark.long
@pytest.mark.parametrize("tracker", ["wandb"])
def test_wandb_knows_one_run(tracker: str, trained: Path):
    starts = sorted((trained / "trackers" / "wandb").glob("offline-run-*"))
    name = json.loads((trained / "trackers" / "known.json").read_text())["wandb"]
    assert len(starts) == 2 and all(start.name.endswith(f"-{name}") for start in starts)
    summary = wandb_summary(starts[1])
    figures = {tag for tag in summary if not tag.startswith(("_", PICTURE))}
    assert figures >= FIGURES and all(tag.count("/") == 1 for tag in figures)
    assert summary["train/loss"] == pytest.approx(expected(trained)[STEPS])
    assert summary[f"{PICTURE}/_type"] == "images/separated" and list(starts[1].rglob("*.png"))


def wandb_summary(start: Path) -> dict:
    """The last value of each figure in the file that a start without a network leaves for `wandb sync`."""
    from wandb.proto import wandb_internal_pb2

    (file,) = start.glob("*.wandb")
    values = {}
    for data in leveldb_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            values[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return values


def leveldb_records(data: bytes) -> Iterator[bytes]:
    """The records of a log of LevelDB: in blocks of 32 KiB, each piece with its checksum, size and kind."""
    at, parts = 7, []  # after a header of 7 bytes
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        size, kind = struct.unpack_from("<HB", data, at + 4)
        parts.append(data[at + 7 : at + 7 + size])
        at += 7 + size
        if kind in (1, 4):  # whole, or the last piece
            yield b"".join(parts)
            parts = []


@pytest.mark.long
@pytest.mark.parametrize("tracker", ["mlflow"])
def test_mlflow_knows_one_run(tracker: str, trained: Path):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{trained / 'trackers' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("semisonic")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "mine" and run.data.params["batch.labeled"] == "8"
    assert run.data.metrics.keys() >= FIGURES and all(name.count("/") == 1 for name in run.data.metrics)
    losses = {entry.step: entry.value for entry in client.get_metric_history(run.info.run_id, "train/loss")}
    assert losses == pytest.approx(expected(trained))
    (picture,) = (trained / "trackers" / "mlflow").rglob("*.png")
    assert picture.read_bytes() == (trained / "confusion.png").read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("tracker", ["trackio"])
def test_trackio_knows_one_run(tracker: str, trained: Path):
    with sqlite3.connect(trained.parent / "trackio" / "semisonic.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    assert {name for name, *_ in rows} == {json.loads((trained / "trackers" / "known.json").read_text())["trackio"]}
    logged = [(step, json.loads(values)) for _, step, values in rows]
    names = {name for _, values in logged for name in values}
    assert names >= FIGURES | {PICTURE} and all(name.count("/") == 1 for name in names)
    losses = {step: values["train/loss"] for step, values in logged if "train/loss" in values}
    assert losses == pytest.approx(expected(trained))


def test_what_a_tracker_calls_a_run_is_kept_for_its_next_start(tmp_path: Path):
    place = Place(tmp_path / "mine", 0, {})
    assert place.known("wandb") is None and place.name == "mine"
    first = {name: KINDS[name].options(place) for name in ("wandb", "trackio")}
    assert {name: KINDS[name].options(Place(tmp_path / "mine", 30, {})) for name in first} == first
    other = KINDS["wandb"].options(Place(tmp_path / "other", 0, {}))
    assert other["id"] != first["wandb"]["id"]
    assert KINDS["tensorboard"].options(Place(tmp_path / "mine", 30, {})) == {"purge_step": 31}


OTHERS = ("wandb", "trackio")
"""Trackers whose stores are not the run's own: in them a name is a run."""


def names(run: Path) -> dict[str, str]:
    options = {tracker: KINDS[tracker].options(Place(run, 30, {})) for tracker in OTHERS}
    return {"wandb": options["wandb"]["id"], "trackio": options["trackio"]["name"]}


def test_a_folder_that_was_moved_goes_on_as_what_it_was(tmp_path: Path):
    first = names(tmp_path / "mine")
    (tmp_path / "mine").rename(tmp_path / "moved")
    assert names(tmp_path / "moved") == first
    assert not (tmp_path / "mine").exists()
    names(tmp_path / "mine")  # another run, where that one was
    assert names(tmp_path / "moved") == first
    (tmp_path / "link").symlink_to("moved")
    assert names(tmp_path / "link") == first


def test_a_copy_is_a_run_of_its_own_and_leaves_the_original_alone(tmp_path: Path):
    first = names(tmp_path / "mine")
    shutil.copytree(tmp_path / "mine", tmp_path / "copy")
    assert Place(tmp_path / "copy", 30, {}).known("wandb", own_store=True) == first["wandb"]
    copy = names(tmp_path / "copy")
    assert all(copy[tracker] != first[tracker] for tracker in OTHERS)
    assert names(tmp_path / "copy") == copy and names(tmp_path / "mine") == first


def test_names_that_older_versions_have_kept_go_on(tmp_path: Path):
    (tmp_path / "trackers").mkdir()
    (tmp_path / "trackers" / "known.json").write_text('{"wandb": "a", "trackio": "b"}')
    assert names(tmp_path) == {"wandb": "a", "trackio": "b"}


def test_pictures_of_mlflow_come_into_the_folder_as_it_is_called_now(tmp_path: Path):
    """The part of a store that says where files lie, as MLflow has it."""
    folder, old = tmp_path / "a%b" / "trackers", "file:///data/old/trackers/mlflow"
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        database.execute("CREATE TABLE experiments (name, artifact_location)")
        database.execute("CREATE TABLE runs (name, artifact_uri)")
        database.execute("INSERT INTO experiments VALUES ('Default', '/data/mlruns/0'), ('semisonic', ?)", (old,))
        database.execute("INSERT INTO runs VALUES ('mine', ?), ('other', 's3://data/x')", (f"{old}/12/artifacts",))
    for _ in range(2):
        bring_along(folder)
        with closing(sqlite3.connect(folder / "mlflow.db")) as database:
            places = dict(database.execute("SELECT * FROM experiments UNION ALL SELECT * FROM runs").fetchall())
        now = (folder / "mlflow").as_uri()
        assert places == {
            "Default": "/data/mlruns/0", "semisonic": now, "mine": f"{now}/12/artifacts", "other": "s3://data/x",
        }  # fmt: skip
    bring_along(tmp_path)  # where there is no store
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("content", ["{", "[1]", '{"wandb": 1}', ""])
def test_a_damaged_file_of_names_is_told_in_one_line(tmp_path: Path, content: str):
    place = Place(tmp_path, 30, {})
    place.folder.mkdir()
    (place.folder / "known.json").write_text(content)
    for ask in (lambda: place.known("wandb"), lambda: place.remember("wandb", "a")):
        with pytest.raises(UserError, match=r"known\.json: damaged; without the file each tracker begins another run"):
            ask()
    assert (place.folder / "known.json").read_text() == content


SEVERAL = """
from pathlib import Path
from accelerate.tracking import MLflowTracker
from semisonic.reporting.tracker_kinds import KINDS, Place

def start(run, step, **config):
    place, kind = Place(Path(run), step, config), KINDS["mlflow"]
    tracker = MLflowTracker("semisonic", **kind.options(place))
    tracker.start()
    kind.begun(tracker, place)
    tracker.finish()

start("one/baseline", 0, steps=5)
start("one", 0, steps=5, seed=1)
start("one", 5, steps=9, seed=1)
"""


@pytest.mark.long
def test_mlflow_has_a_store_for_each_run_of_a_process_and_a_run_that_goes_on_with_another_length(tmp_path: Path):
    mlflow = pytest.importorskip("mlflow")
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    program = "from accelerate import PartialState; PartialState(cpu=True)" + SEVERAL
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("mlflow.db"))) == 2
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'one' / 'trackers' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("semisonic").experiment_id])
    assert run.data.params == {"steps": "5", "seed": "1"} and run.data.tags["resumed.steps"] == "9"
    assert "resumed.seed" not in run.data.tags


MOVED = """
import sys
from pathlib import Path
from accelerate import PartialState
from accelerate.tracking import MLflowTracker
from semisonic.reporting.tracker_kinds import KINDS, Place

PartialState(cpu=True)
run, step = Path(sys.argv[1]), int(sys.argv[2])
place, kind = Place(run, step, {}), KINDS["mlflow"]
tracker = MLflowTracker("semisonic", **kind.options(place))
tracker.start()
kind.begun(tracker, place)
tracker.log({"train/loss": 1.0}, step=step)
(run / "picture.png").write_bytes(b"png")
kind.picture(tracker, "test/confusion", run / "picture.png", step)
tracker.finish()
"""


@pytest.mark.long
@pytest.mark.parametrize("shared", [False, True])
def test_mlflow_goes_on_in_a_folder_that_was_moved_and_leaves_the_original_of_a_copy_alone(
    tmp_path: Path, shared: bool
):
    mlflow = pytest.importorskip("mlflow")
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    if shared:
        environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path / 'shared.db'}"

    def start(name: str, step: int) -> None:
        command = [sys.executable, "-c", MOVED, name, str(step)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def steps(name: str) -> list[list[int]]:
        """Of each run in the store that a folder's run is told to, those that have a figure."""
        store = tmp_path / ("shared.db" if shared else f"{name}/trackers/mlflow.db")
        client = mlflow.MlflowClient(f"sqlite:///{store}")
        runs = client.search_runs([client.get_experiment_by_name("semisonic").experiment_id])
        return sorted(
            [entry.step for entry in client.get_metric_history(run.info.run_id, "train/loss")] for run in runs
        )

    start("mine", 1)
    (tmp_path / "mine").rename(tmp_path / "moved")
    start("moved", 2)
    assert not (tmp_path / "mine").exists() and steps("moved") == [[1, 2]]
    shutil.copytree(tmp_path / "moved", tmp_path / "copy")
    before = {path: path.read_bytes() for path in (tmp_path / "moved").rglob("*") if path.is_file()}
    start("copy", 3)
    assert {path: path.read_bytes() for path in (tmp_path / "moved").rglob("*") if path.is_file()} == before
    assert steps("copy") == ([[1, 2], [3]] if shared else [[1, 2, 3]])
    if not shared:
        assert len(list((tmp_path / "copy" / "trackers" / "mlflow").rglob("*.png"))) == 3


def test_a_tracker_that_nothing_is_known_of_gets_what_accelerate_gives_it(tmp_path: Path):
    kind = kind_of("comet_ml")
    assert kind.options(Place(tmp_path, 0, {})) == {} and kind.stores_configuration
    kind.picture(None, PICTURE, tmp_path / "none.png", 0)
