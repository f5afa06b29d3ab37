"""A run's folder: what is in it, what may be in it already, and what may change when a run continues."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from semisonic import cli, faults
from semisonic.config import migrations
from semisonic.data.sets.registry import load_data_set
from semisonic.data.sets.splits import make_split
from semisonic.runs.run import begin_run
from semisonic.runs.run_folder import as_begun, check_resumable, check_split, continued, create
from semisonic.schema import UserError
from semisonic.training.build import with_classes
from tests.support.command_line import config
from tests.support.runs import QUICK


def test_a_run_s_folder_holds_everything(run: Path):
    for name in ("config.yaml", "split.npz", "metrics.jsonl", "summary.json", "status.json", "confusion.png", "trackers/semisonic",
                 "checkpoints/step-30", "checkpoints/step-20", "supervised/summary.json"):  # fmt: skip
        assert (run / name).exists(), name
    files = [path for path in run.rglob("*") if path.is_file() and "trackers" not in path.parts]
    checkpoint = {
        f"checkpoints/.tmp-{path.parent.name}/{path.name}" for path in files if path.parent.name.startswith("step-")
    }
    others = {str(path.relative_to(run)) for path in files if not path.parent.name.startswith("step-")}
    # Each has points at which its write can fail; a new file gets a line in `faults.FILES`.
    assert [name for name in checkpoint | others if faults.file_of(Path(name)) is None] == []
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
    evaluations = [line for line in lines if "test/top1" in line]
    assert [line["step"] for line in evaluations] == [10, 20, 30]
    assert {"test/top5", "test/loss", "test_raw/top1", "held_out/top1"} <= evaluations[-1].keys()
    assert len(evaluations[-1]["test/per_class"]) == 10
    with Image.open(run / "confusion.png") as picture:
        assert min(picture.size) > 300


def test_a_kill_before_the_folder_was_a_run_s_is_no_obstacle(tmp_path: Path):
    out = tmp_path / "run"
    out.mkdir()
    (out / ".config.yaml.tmp").write_text("half")
    (out / "split.npz").write_bytes(b"half")
    assert cli.main([*QUICK, "--no-baseline", "--log.trackers", "none", "--steps", "2", "--out", str(out)]) == 0
    assert cli.main(["--resume", "--out", str(out)]) == 0


@pytest.mark.parametrize("below", ["", "run"])
def test_a_link_that_leads_to_no_folder_is_named(below: str, tmp_path: Path):
    link = tmp_path / "link"
    link.symlink_to("/not/mounted")
    with pytest.raises(UserError) as caught:
        check_resumable(config("--out", link / below), resume=False)
    assert caught.value.messages == [
        f"out: {link} is a link to /not/mounted, where no folder is; make that, or choose another folder with --out"
    ]


def test_the_command_that_an_older_run_was_started_with_continues_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Today's defaults of fields that came later are not the run's; what was asked for is."""
    monkeypatch.setattr(migrations, "ADDED", {0: {"ema.buffers": "averaged"}})
    command = ["--no-baseline", "--out", str(tmp_path)]
    asked = config(*command)
    saved = yaml.safe_load(asked.dump() + "auxiliary: {rotation: 0.0}")
    del saved["schema"], saved["ema"]["buffers"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(saved))
    assert asked.ema.buffers == "copied" and as_begun(asked).ema.buffers == "averaged"
    cfg = continued(asked)
    assert cfg == config("--resume", *command) and cfg.ema.buffers == "averaged"
    assert check_resumable(cfg, resume=True)
    data = load_data_set(cfg.data)
    split = make_split(cfg.data, data.train.labels, 10, cfg.seed)
    assert begin_run(cfg, split, data) == [
        "Begun by an earlier version (schema 0), and going on as it was: ema.buffers=averaged, precision=fp32",
        "data: the version that began this run kept no fingerprint of its images; from now on the run has that of today's",
    ]
    assert as_begun(config("--no-baseline", "--out", tmp_path / "new")).ema.buffers == "copied"


@pytest.mark.parametrize("recipe", ["folder", "cifar10"])
def test_a_default_that_changed_since_is_no_obstacle(recipe: str, tmp_path: Path, no_files: None):
    """A run of schema 1 without start-up goes on so, by its command, whether its recipe has one by now or not."""
    command = ["--recipe", recipe, "--data.root", tmp_path, "--device", "cpu", "--out", tmp_path / "run"]
    asked = config(*command)
    saved = yaml.safe_load(asked.dump()) | {"schema": 1}
    saved["ema"]["start_up"] = "none"
    del saved["model"]["norm_start_up"]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(saved))
    assert (asked.ema.start_up, asked.model.norm_start_up) == (("tf", 10.0) if recipe == "folder" else ("none", 0.0))
    cfg = continued(asked)
    assert (cfg.ema.start_up, cfg.model.norm_start_up) == ("none", 0.0) and check_resumable(cfg, resume=True)
    with pytest.raises(UserError, match=r"ema\.start_up: 'mean_teacher', but"):
        check_resumable(continued(config(*command, "--ema.start-up", "mean_teacher")), resume=True)


def test_an_augmentation_that_is_called_otherwise_now_is_what_it_was(tmp_path: Path):
    """A run of schema 3 keeps the factors that its RandAugment had, with the command that it was begun with."""
    command = ["--no-baseline", "--algorithm.strong", "randaugment(2,9)", "--out", tmp_path]
    asked = config(*command)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(yaml.safe_load(asked.dump()) | {"schema": 3}))
    cfg = continued(asked)
    assert cfg.algorithm.strong == "randaugment-signed(2,9)" and check_resumable(cfg, resume=True)
    assert config("--resume", "--out", tmp_path).algorithm.strong == cfg.algorithm.strong
    with pytest.raises(UserError, match=r"algorithm\.strong: 'randaugment\(2,8\)', but"):
        check_resumable(
            continued(config("--no-baseline", "--algorithm.strong", "randaugment(2,8)", "--out", tmp_path)), True
        )
    (tmp_path / "config.yaml").write_text(asked.dump())
    assert continued(asked).algorithm.strong == "randaugment(2,9)"


def test_another_split_in_the_place_of_a_run_s_is_refused(tmp_path: Path):
    cfg = config("--no-baseline", "--out", tmp_path)
    data = load_data_set(cfg.data)
    split = make_split(cfg.data, data.train.labels, 10, cfg.seed)
    create(cfg, split, data)
    check_split(cfg, split)
    with pytest.raises(UserError, match=r"data: the images or labels are not those that .*split.npz was drawn from"):
        check_split(cfg, replace(split, labeled=split.labeled[1:]))


def test_the_classes_that_a_run_has_settled_are_those_of_the_command_that_began_it(tmp_path: Path):
    begun = config("--no-baseline", "--out", tmp_path)
    (tmp_path / "config.yaml").write_text(with_classes(begun, load_data_set(begun.data)).dump())
    assert begun.data.classes == () and as_begun(begun).data.classes == tuple("0123456789")
    assert config("--resume", "--out", tmp_path) == as_begun(begun)
    assert check_resumable(as_begun(begun), resume=True)
    with pytest.raises(UserError, match=r"data\.classes: "):
        check_resumable(as_begun(config("--no-baseline", "--data.classes", "a,b", "--out", tmp_path)), resume=True)


def test_a_run_does_not_become_shorter_than_its_baseline(tmp_path: Path):
    cfg = config("--baseline", "--steps", "50", "--optim.schedule", "constant", "--out", tmp_path)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    (tmp_path / "supervised" / "checkpoints" / "step-50").mkdir(parents=True)
    (tmp_path / "supervised" / "checkpoints" / "latest").write_text("step-50\n")
    assert check_resumable(cfg, resume=True)
    with pytest.raises(UserError, match=r"steps: 40, but the baseline of .* has done 50"):
        check_resumable(cfg.model_copy(update={"steps": 40}), resume=True)
