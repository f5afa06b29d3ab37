"""What somebody has who installs the wheel, outside of any checkout: the command, and training from Python."""

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.support.wheel import build, install

Shell = Callable[..., str]

SCRIPT = """
import numpy as np, torch, semisonic
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

bunch = load_digits()
images, labels = (bunch.images * 15).astype(np.uint8), bunch.target.copy()
labels[200:] = -1
tiny = dict(steps=10, device="cpu", threads=1, batch={"labeled": 8, "unlabeled_ratio": 2}, eval={"every": 5},
            log={"every": 5}, checkpoint={"every": 5}, quiet=True)

result = semisonic.train(data=(images, labels), network="small", out="arrays", **tiny)
assert len(result.history) == 2 and result.folder.name == "arrays"

pairs = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
result = semisonic.train(data=pairs, network="small", out="pairs", **tiny)
assert result.metrics["labels"] == 160

def network(classes):
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(72, classes))

def stop(entry):
    raise KeyboardInterrupt

own = dict(data=(images, labels), network=network, out="own", **tiny)
try:
    semisonic.train(callback=stop, **own)
except KeyboardInterrupt:
    pass
else:
    raise AssertionError("not interrupted")
own["callback"] = None
try:
    semisonic.train(**own)
except semisonic.UserError as error:
    assert "own is not empty" in str(error), error
result = semisonic.train(resume=True, **own)
assert [entry["step"] for entry in result.history] == [5, 10], result.history
batch = torch.zeros(2, 3, 8, 8)
assert semisonic.load("own", network=network)(batch).equal(result.classifier(batch))
print("done", semisonic.__file__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def shell(installed: Path, tmp_path: Path) -> Shell:
    """Runs a command of the environment in an empty folder; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RANK")}

    def run(program: str, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [str(installed / program), *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_the_command_of_the_wheel(shell: Shell, tmp_path: Path, installed: Path):
    assert "semisonic train " in shell("semisonic") and shell("semisonic") == shell("python", "-m", "semisonic")
    assert "did you mean train?" in shell("semisonic", "tarin", code=2)
    tiny = "--steps 60 --device cpu --threads 1 --batch.labeled 8 --batch.unlabeled-ratio 2 --eval.every 30"
    said = shell("semisonic", "train", *tiny.split(), "--no-baseline", "--out", "run")
    assert "In run; more metrics: semisonic evaluate run" in said
    assert "400 test images of digits" in shell("semisonic", "evaluate", "run")
    code = (
        "from PIL import Image; import os; os.mkdir('images'); Image.new('RGB', (20, 16), 'red').save('images/a.png')"
    )
    shell("python", "-c", code)
    assert "1 predictions in predictions.csv" in shell("semisonic", "predict", "run", "images")
    assert (tmp_path / "predictions.csv").read_text().count("\n") == 2


@pytest.mark.slow
def test_the_labeling_page_of_the_wheel(shell: Shell):
    """Its scripts, styles and templates are in it."""
    own = sorted(file.name for file in (ROOT / "engine/semisonic/daily/page/static").iterdir())
    code = (
        "from semisonic.daily.page import server; page = server.render('daily/page/page.html.j2'); "
        "server.render('daily/page/open.html.j2', url='/'); assert '/static/app.js' in page; "
        "print(*sorted(server.static_files()))"
    )
    assert shell("python", "-c", code).split() == own


@pytest.mark.slow
def test_the_wheel_holds_all_that_is_no_python(installed: Path):
    """Templates, styles and scripts of the pages."""
    source = ROOT / "engine"
    (wheel,) = installed.parent.parent.glob("semisonic-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    others = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.suffix in (".j2", ".js", ".css", ".svg")
    }
    assert len(others) > 20 and others <= held


@pytest.mark.slow
def test_a_wheel_is_built_again_byte_for_byte(installed: Path, tmp_path: Path):
    """Elsewhere, later, from files of other times: the same bytes."""
    copy = tmp_path / "elsewhere"
    for name in ("engine", "kernels"):
        shutil.copytree(
            ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copy
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    again = build(copy, tmp_path)
    (first,) = installed.parent.parent.glob("semisonic-*.whl")
    assert again.name == first.name and again.read_bytes() == first.read_bytes()
    assert {"semisonic/py.typed", "semisonic_kernels/py.typed"} <= set(zipfile.ZipFile(again).namelist())


@pytest.mark.slow
def test_training_from_python_with_the_wheel(shell: Shell, tmp_path: Path, installed: Path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done, file = shell("python", "script.py").splitlines()[-1].split()
    assert done == "done" and Path(file).is_relative_to(installed.parent)
