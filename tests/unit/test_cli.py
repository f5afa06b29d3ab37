"""The command lines, as a user meets them."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import semisonic
from semisonic import cli
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.fields import describe_fields
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.registry import load_data_set
from semisonic.distributed.consistency import Diverged, RanksDiffer
from semisonic.reporting.kernel_grids import CHANGES
from semisonic.schema import ExitCode, UserError, exit_code
from tests.support.processes import Run

QUICK = ["--device", "cpu", "--threads", "1", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--steps", "30",
         "--checkpoint.every", "20", "--eval.every", "10", "--log.every", "10", "--eval.batch", "128"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its baseline and held-out images."""
    out = tmp_path_factory.mktemp("cli") / "run"
    assert cli.main([*QUICK, "--out", str(out), "--data.held-out", "50"]) == 0
    return out


def test_a_run_s_folder_holds_everything(run: Path):
    for name in ("config.yaml", "split.npz", "metrics.jsonl", "summary.json", "status.json", "confusion.png", "trackers/semisonic",
                 "checkpoints/step-30", "checkpoints/step-20", "supervised/summary.json"):  # fmt: skip
        assert (run / name).exists(), name
    for folder in (run, run / "supervised"):
        assert len([path for path in (folder / "trackers" / "semisonic").iterdir() if path.is_file()]) == 1
    summary = json.loads((run / "summary.json").read_text())
    assert summary["step"] == 30 and summary["labels"] == 40 and summary["labels_used"] == 90
    assert summary["baseline"]["algorithm"] == "supervised" and summary["algorithm"] == "fixmatch"
    assert summary["held_out_selected"]["step"] in (10, 20, 30)
    assert (
        run / "checkpoints" / f"step-{summary['held_out_selected']['step']}"
    ).is_dir()  # the chosen weights are kept
    assert 0 <= summary["data_wait"] <= 1 and summary["images_per_second"] > 0 and summary["peak_memory_bytes"] > 1e6
    assert {"torch", "dali", "accelerate", "python"} <= summary["versions"].keys()
    assert json.loads((run / "status.json").read_text())["status"] == "finished"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == [10, 20, 30]
    evaluations = [line for line in lines if "eval/top1" in line]
    assert [line["step"] for line in evaluations] == [10, 20, 30]
    assert {"eval/top5", "eval/loss", "eval_raw/top1", "held_out/top1"} <= evaluations[-1].keys()
    assert len(evaluations[-1]["eval/per_class"]) == 10
    with Image.open(run / "confusion.png") as picture:
        assert min(picture.size) > 300


def test_config_yaml_reproduces_the_run(run: Path, tmp_path: Path):
    again = tmp_path / "again"
    assert cli.main(["--config", str(run / "config.yaml"), "--no-baseline", "--out", str(again)]) == 0
    first, second = (json.loads((folder / "summary.json").read_text()) for folder in (run, again))
    assert first["test_top1"] == second["test_top1"]
    assert (run / "split.npz").read_bytes() == (again / "split.npz").read_bytes()


def test_a_finished_run_is_not_run_again(run: Path, capfd: pytest.CaptureFixture):
    before = (run / "metrics.jsonl").read_bytes()
    assert cli.main(["--resume", "--out", str(run)]) == 0
    assert "is finished" in capfd.readouterr().out and (run / "metrics.jsonl").read_bytes() == before


def test_evaluate_repeats_the_run_s_figures(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    assert cli.evaluate([str(run), "--out", str(tmp_path / "figures")]) == 0
    summary = json.loads((run / "summary.json").read_text())
    found = json.loads((tmp_path / "figures" / "evaluation.json").read_text())
    assert found["ema"]["top1"] == summary["test_top1"] and found["raw"]["top1"] == summary["test_top1_raw"]
    assert f"{summary['test_top1']:.2f} %" in capfd.readouterr().out
    assert (tmp_path / "figures" / "confusion-ema.png").exists()


def test_load_needs_no_data_set(run: Path):
    classifier = semisonic.load(run)
    assert not classifier.training and classifier.classes == [str(digit) for digit in range(10)]
    assert classifier.image_size == 16
    data = load_data_set(DataConfig())
    images = torch.from_numpy(data.test.pixels).permute(0, 3, 1, 2)
    with torch.no_grad():
        top1 = (classifier(images).argmax(-1).numpy() == data.test.labels).mean() * 100
    assert top1 == pytest.approx(json.loads((run / "summary.json").read_text())["test_top1"])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_predict_writes_a_table_that_agrees_with_the_network(run: Path, tmp_path: Path, ending: str):
    data = load_data_set(DataConfig())
    for index in range(20):
        (tmp_path / "images" / str(index % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.test.pixels[index]).save(tmp_path / "images" / str(index % 3) / f"{index:03}.png")
    (tmp_path / "images" / "folder.png").mkdir()
    (tmp_path / "images" / "broken.png").write_bytes(b"not an image")
    out = tmp_path / f"predictions.{ending}"
    assert cli.predict([str(run), str(tmp_path / "images"), "--out", str(out), "--batch", "8"]) == 0
    if ending == "csv":
        with out.open() as file:
            rows = list(csv.DictReader(file))
    else:
        from pyarrow import parquet

        rows = parquet.read_table(out).to_pylist()
    assert len(rows) == 20
    with torch.no_grad():
        probabilities = semisonic.load(run)(torch.from_numpy(data.test.pixels[:20]).permute(0, 3, 1, 2)).softmax(-1)
    for row in rows:
        expected = probabilities[int(Path(row["path"]).stem)]
        assert row["class"] == row["top1_class"] == str(int(expected.argmax()))
        assert float(row["confidence"]) == pytest.approx(float(expected.max()), abs=1e-4)
        assert sum(float(row[f"top{place}_probability"]) for place in range(1, 6)) <= 1.0001
    assert cli.predict([str(run), str(tmp_path / "images"), "--out", str(out)]) == 2  # never overwrites


def test_init_starts_from_the_weights(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    fields = [*QUICK, "--no-baseline", "--steps", "1", "--log.trackers", "none", "--init", str(run)]
    assert cli.main([*fields, "--out", str(tmp_path / "a")]) == 0
    output = capfd.readouterr().out
    assert "Initialized" in output and "freshly initialized" not in output
    lines = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    start = next(line["eval/top1"] for line in lines if "eval/top1" in line)
    assert abs(start - json.loads((run / "summary.json").read_text())["test_top1"]) < 10


def test_init_reports_what_does_not_fit(tmp_path: Path, capfd: pytest.CaptureFixture):
    fields = [*QUICK, "--algorithm", "supervised", "--steps", "1", "--log.trackers", "none"]
    assert cli.main([*fields, "--model", "wrn-10-1", "--out", str(tmp_path / "a")]) == 0
    deeper = [*fields, "--model", "wrn-16-1", "--init", str(tmp_path / "a"), "--out", str(tmp_path / "b")]
    assert cli.main(deeper) == 0
    output = capfd.readouterr().out
    assert "freshly initialized: " in output and "in the checkpoint only, or of another shape: " in output


def test_init_refuses_weights_of_another_network(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    """Of which the head's bias always fits."""
    fields = [*QUICK, "--no-baseline", "--init", str(run), "--model", "wrn-10-1", "--out", str(tmp_path / "b")]
    assert cli.main(fields) == 2 and not (tmp_path / "b").exists()
    assert capfd.readouterr().err == f"error: init: no layer of {run} fits; give its network, --model small\n"


def test_max_hours_ends_with_a_checkpoint_and_resumes(tmp_path: Path, capfd: pytest.CaptureFixture):
    fields = [*QUICK, "--no-baseline", "--log.trackers", "none", "--out", str(tmp_path / "run")]
    assert cli.main([*fields, "--max-hours", "1e-9"]) == 0
    assert "max_hours" in capfd.readouterr().out and (tmp_path / "run" / "checkpoints" / "step-1").is_dir()
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["status"] == "stopped" and status["step"] == 1 and not (tmp_path / "run" / "summary.json").exists()
    assert cli.main([*fields, "--resume", "--max-hours", "null"]) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["step"] == 30


def test_bf16_and_micro_batches_train(tmp_path: Path):
    fields = [*QUICK, "--no-baseline", "--log.trackers", "none", "--precision", "bf16", "--batch.micro", "2",
              "--optim.name", "adamw", "--optim.lr", "1e-3", "--optim.clip", "1.0", "--out", str(tmp_path / "run")]  # fmt: skip
    assert cli.main(fields) == 0
    first, *_, last = (
        json.loads(line)
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        if "train/loss" in line
    )
    assert last["train/loss"] < first["train/loss"]


def test_a_stop_during_the_baseline_keeps_the_configuration(tmp_path: Path):
    out = tmp_path / "run"
    fields = [*QUICK, "--log.trackers", "none", "--algorithm.threshold", "0.7", "--out", str(out)]
    assert cli.main([*fields, "--max-hours", "1e-9"]) == 0
    assert "threshold: 0.7" in (out / "config.yaml").read_text()
    assert json.loads((out / "status.json").read_text())["status"] == "stopped"
    assert cli.main(["--resume", "--out", str(out), "--max-hours", "null"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["step"] == summary["baseline"]["step"] == 30
    (out / "status.json").unlink()  # killed between summary and status
    assert cli.main(["--resume", "--out", str(out)]) == 0
    assert json.loads((out / "status.json").read_text())["status"] == "finished"


def test_a_failed_baseline_is_the_run_s_failure(tmp_path: Path):
    assert cli.main([*QUICK, "--log.trackers", "none", "--optim.lr", "1e18", "--out", str(tmp_path / "run")]) == 3
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["status"] == "failed" and status["exit_code"] == 3


def test_a_kill_before_the_folder_was_a_run_s_is_no_obstacle(tmp_path: Path):
    out = tmp_path / "run"
    out.mkdir()
    (out / ".config.yaml.tmp").write_text("half")
    (out / "split.npz").write_bytes(b"half")
    assert cli.main([*QUICK, "--no-baseline", "--log.trackers", "none", "--steps", "2", "--out", str(out)]) == 0
    assert cli.main(["--resume", "--out", str(out)]) == 0


def test_what_a_kill_left_behind_the_last_checkpoint_is_tidied_up(tmp_path: Path):
    """The run has nothing left to train, and so no checkpoint to write, before which it would be."""
    out = tmp_path / "run"
    assert cli.main([*QUICK, "--no-baseline", "--log.trackers", "none", "--steps", "2", "--out", str(out)]) == 0
    (out / "summary.json").unlink()
    (out / "checkpoints" / ".tmp-old-step-1").mkdir()
    assert cli.main(["--resume", "--out", str(out)]) == 0
    assert (out / "summary.json").exists() and not (out / "checkpoints" / ".tmp-old-step-1").exists()


def test_init_is_part_of_the_run(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    """Stopped during the baseline, the main run still starts from the given weights."""
    fields = [*QUICK, "--log.trackers", "none", "--init", str(run), "--out", str(tmp_path / "run")]
    assert cli.main([*fields, "--max-hours", "1e-9"]) == 0
    capfd.readouterr()
    assert cli.main(["--resume", "--out", str(tmp_path / "run"), "--max-hours", "null"]) == 0
    assert "Initialized" in capfd.readouterr().out


def test_init_survives_a_resume_before_the_first_checkpoint(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out, losses = tmp_path / "run", []
    fields = [*QUICK, "--no-baseline", "--log.trackers", "none", "--log.every", "1", "--steps", "3", "--out", str(out)]
    monkeypatch.setattr("semisonic.training.trainer.Trainer.train", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main([*fields, "--init", str(run)])
    monkeypatch.undo()
    assert cli.main([*fields, "--resume"]) == 0
    losses = [
        json.loads(line)["train/loss"]
        for line in (out / "metrics.jsonl").read_text().splitlines()
        if "train/loss" in line
    ]
    assert losses[0] < 2.0  # an untrained network starts at ln 10 or above


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_nothing(tmp_path: Path, capfd: pytest.CaptureFixture):
    fields = [*QUICK, "--no-baseline", "--log.trackers", "none", "--optim.lr", "1e18", "--out", str(tmp_path / "run")]
    assert cli.main(fields) == 3
    assert "not finite at step" in capfd.readouterr().err
    assert not list((tmp_path / "run").glob("checkpoints/step-*"))
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "failed"


# Mistakes


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (["--optim.learning-rate", "0.1"], "optim.learning_rate"),
        (["--steps", "a few"], "steps"),
        (["--batch.labeled", "30", "--batch.micro", "7"], "batch.labeled"),
        (["--data.labels", "0"], "data.labels"),
        (["--data.labels", "14000"], "data.labels"),
        (["--data", "cifar10", "--data.root", "nowhere", "--model", "small"], "data.root"),
        (["--data", "folder", "--data.root", "nowhere", "--data.size", "32"], "data.root"),
        (["--out", "{run}"], "out"),
        (["--out", "{run}", "--resume", "--seed", "5"], "seed"),
        (["--out", "nothing-here", "--resume"], "--resume"),
        (["--out", "/proc/nothing"], "out"),
        (["--init", "{run}/trackers"], "neither a checkpoint nor a run"),
    ],
)
def test_a_mistake_exits_2_with_a_line_and_touches_nothing(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
    fields: list[str],
    field: str,
):
    monkeypatch.chdir(tmp_path)
    before = contents(run)
    assert cli.main([part.format(run=run) for part in fields]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert any(field in line for line in lines), lines
    assert contents(run) == before and not any(tmp_path.iterdir())


def test_the_process_exits_2_without_a_traceback(tmp_path: Path, launch: Run):
    done = launch("train.py", "--stepz", "3", "--precision", "fp1", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == 2
    assert not any(tmp_path.iterdir())


def test_debug_raises_a_mistake():
    for script in (cli.main, cli.views, cli.compare):
        with pytest.raises(UserError):
            script(["--algorithms", "supervised", "--stepz", "3", "--debug"])


def test_exit_codes_are_those_that_job_scripts_know():
    """These numbers are outside of the project too: none may ever change."""
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0, "ERROR": 1, "USER": 2, "DIVERGED": 3, "LOST": 4, "STOPPED": 75, "INTERRUPTED": 130,
    }  # fmt: skip
    script = (Path(__file__).parents[2] / "launch" / "slurm" / "train.sbatch").read_text()
    assert f'"stopped {ExitCode.STOPPED}") again' in script and f'"failed {ExitCode.LOST}") again' in script
    assert f"exit codes {ExitCode.USER} and {ExitCode.DIVERGED}" in script


def test_every_error_knows_its_exit_code():
    errors = {UserError(""): 2, Diverged(""): 3, RanksDiffer(""): 4, KeyboardInterrupt(): 130, ValueError(): 1}
    assert [exit_code(error) for error in errors] == list(errors.values())
    assert json.dumps({"exit_code": ExitCode.LOST}) == '{"exit_code": 4}'


# Answers


def test_python_m_semisonic_runs_the_same_commands(capfd: pytest.CaptureFixture):
    assert cli.dispatch([]) == cli.dispatch(["--help"]) == 0
    shown = capfd.readouterr().out
    launchers = {path.stem for path in (Path(__file__).parents[2] / "launch").glob("*.py")}
    assert launchers == set(cli.COMMANDS) and all(f"\n  {name} " in shown for name in launchers)
    assert cli.dispatch(["train", "--print-config", "--seed", "9"]) == 0 and "seed: 9" in capfd.readouterr().out
    assert cli.dispatch(["trian"]) == 2 and "trian: no such command; one of train, " in capfd.readouterr().err
    done = subprocess.run([sys.executable, "-m", "semisonic", "views", "--plan"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: --plan: is for launch/train.py\n")


@pytest.mark.parametrize("script", [cli.main, cli.views])
def test_help_fits_a_terminal(script, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert script(["-h"]) == 0
    lines = capfd.readouterr().out.splitlines()
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 80 and "Default: 0.95." in text
    assert "--optim.betas float,float AdamW only. Default: 0.9,0.999." in text
    assert ("--plan" in text) == (script is cli.main)


def test_help_ends_quietly_where_nobody_reads_on():
    script = Path(__file__).parents[2] / "launch" / "train.py"
    shown = subprocess.Popen([sys.executable, script, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert shown.stdout is not None and shown.stderr is not None
    shown.stdout.close()
    assert shown.stderr.read() == b"" and shown.wait() == 0


def test_views_refuses_what_it_does_not_do(capfd: pytest.CaptureFixture, tmp_path: Path):
    assert cli.views(["--plan", "--out", str(tmp_path)]) == 2
    assert capfd.readouterr().err == "error: --plan: is for launch/train.py\n" and not any(tmp_path.iterdir())


def test_options_named_in_texts_exist():
    root = Path(__file__).parents[2]
    files = [root / "README.md", *root.glob("engine/semisonic/*/*.py"), *root.glob("benchmarks/*.py")]
    known = {name.replace("_", "-") for algorithm in ALGORITHMS for name, *_ in describe_fields(algorithm)}
    for file in files:
        for option in re.findall(r"--([a-z-]+(?:\.[a-z-]+)+)", file.read_text()):
            assert option.removeprefix("no-") in known, f"{file}: --{option}"


def test_predict_and_evaluate_refuse_a_batch_of_nothing(run: Path, capfd: pytest.CaptureFixture):
    for script in (cli.predict, cli.evaluate):
        with pytest.raises(SystemExit) as ended:
            script([str(run), str(run), "--batch", "0"])
        assert ended.value.code == 2 and "whole number above 0" in capfd.readouterr().err


def test_help_and_lists(capfd: pytest.CaptureFixture):
    assert cli.main(["--help"]) == 0
    text = capfd.readouterr().out
    for field in ("--algorithm.threshold", "--optim.lr", "--data.labels", "--resume", "--max-hours"):
        assert field in text, field
    assert cli.main(["--list"]) == 0
    text = capfd.readouterr().out
    for name in ("fixmatch", "supervised", "digits", "fashion-mnist", "wrn-28-2", "resnet50", "randaugment"):
        assert name in text, name
    assert cli.main(["--print-config", "--seed", "9"]) == 0
    assert "seed: 9" in capfd.readouterr().out


def test_views_writes_a_grid_for_each_recipe(tmp_path: Path):
    assert cli.views(["--out", str(tmp_path), "--device", "cpu"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {"plain.png", "weak.png", "fixmatch.png"} <= names
    pixels = np.asarray(Image.open(tmp_path / "fixmatch.png"))
    first = [pixels[row * 66 : row * 66 + 64, 0:64] for row in range(8)]
    other = [pixels[row * 66 : row * 66 + 64, 70 + 66 : 70 + 66 + 64] for row in range(8)]
    assert all((a != b).any() for a, b in zip(first, other, strict=True))
    plain = np.asarray(Image.open(tmp_path / "plain.png"))
    for kernel in CHANGES:
        changed = np.asarray(Image.open(tmp_path / f"batch-{kernel}.png"))
        assert (changed[:, :64] == plain[:, :64]).all() and (changed[:, 70:] != plain[:, 70:]).any(), kernel
    assert all((plain[row * 66 : row * 66 + 64, :64] == first[row]).all() for row in range(8))
