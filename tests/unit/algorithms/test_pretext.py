"""What pretext tasks share: the linear probe, micro-batches, and pre-training that another algorithm starts from."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from semisonic import cli
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.rotnet import RotNet
from semisonic.algorithms.simclr import SimCLR
from semisonic.checkpoint import format as checkpoints
from semisonic.config.command_line import resolve
from semisonic.schema import UserError
from tests.support.algorithms import frozen, gradients, images, make, same
from tests.support.pretext import QUICK, given

each = pytest.mark.parametrize("kind", [RotNet, SimCLR])


@each
def test_labeled_images_train_the_probe_and_nothing_else(kind: type[Algorithm]):
    """Bit for bit, in training mode: pre-training uses no label and no labeled image."""
    algorithm, other = make(kind), make(kind)
    one = gradients(algorithm, given(kind))
    two = gradients(other, given(kind, x={"weak": images(6, 9)}, y=torch.tensor([3, 3, 1, 1, 0, 2])))
    probe = {"network.head.weight", "network.head.bias"}
    assert all(torch.equal(one[name], two[name]) == (name not in probe) for name in one)
    assert torch.equal(algorithm.network.norm.running_mean, other.network.norm.running_mean)
    assert algorithm.network.norm.num_batches_tracked == 1
    algorithm.eval().zero_grad()  # the probe sees what the evaluation sees
    features = algorithm.network.features(algorithm.normalize(given(kind).x["weak"])).detach()
    F.cross_entropy(algorithm.network.head(features), given(kind).y).backward()
    torch.testing.assert_close(one["network.head.weight"], algorithm.network.head.weight.grad)


def test_micro_batches_of_rotnet_sum_to_the_batch_and_simclr_refuses_them():
    algorithm = frozen(make(RotNet))
    whole = gradients(algorithm, given(RotNet))
    algorithm.zero_grad()
    for half in (0, 1):
        full = given(RotNet)
        micro = given(RotNet, x={"weak": full.x["weak"].chunk(2)[half]}, y=full.y.chunk(2)[half],
                      u={"view": full.u["view"].chunk(2)[half]})  # fmt: skip
        (algorithm.loss(micro).loss / 2).backward()
    assert same(whole, {name: p.grad for name, p in algorithm.named_parameters()})
    with pytest.raises(UserError, match=r"batch.micro: simclr couples all samples of a batch; use 1"):
        resolve(["--algorithm", "simclr", "--algorithm.view", "fixmatch", "--batch.micro", "2", "--no-baseline"])


VIEW = ["--algorithm.view", "fixmatch"]


@pytest.mark.parametrize("fields", [VIEW, ["--algorithm", "rotnet"]], ids=["simclr", "rotnet"])
def test_a_pretrained_network_starts_another_algorithm(fields: list[str], tmp_path: Path, capfd: pytest.CaptureFixture):
    out = tmp_path / "pretrained"
    assert cli.pretrain([*QUICK, *fields, "--out", str(out)]) == 0
    assert not (out / "supervised").exists()  # the recipe's baseline is none of pre-training
    given = checkpoints.load_checkpoint(out).model
    head = "projector" if fields is VIEW else "rotation"
    assert any(name.startswith(f"{head}.") for name in given)
    assert cli.main([*QUICK, "--no-baseline", "--algorithm", "fixmatch", "--init", str(out), "--optim.lr", "1e-30",
                     "--optim.weight-decay", "0", "--out", str(tmp_path / "run")]) == 0  # fmt: skip
    output = capfd.readouterr().out
    assert "Initialized" in output and "freshly initialized" not in output
    trained = checkpoints.load_checkpoint(tmp_path / "run").model
    for name in ("layers.0.weight", "head.weight"):
        assert torch.equal(trained[f"network.{name}"], given[f"ema.{name}"])


def test_pretrain_takes_pretext_tasks_only(capfd: pytest.CaptureFixture):
    assert cli.pretrain([*QUICK, "--algorithm", "fixmatch"]) == 2
    error = capfd.readouterr().err.strip()
    assert error == "error: algorithm.name: fixmatch is no pretext task; use rotnet or simclr, or semisonic train"
    assert cli.pretrain(["--algorithm.view", "fixmatch", "--print-config"]) == 0
    printed = capfd.readouterr().out
    assert "name: simclr" in printed and "baseline: false" in printed


def test_pretrain_explains_itself(capfd: pytest.CaptureFixture):
    assert cli.pretrain(["--help"]) == 0
    text = capfd.readouterr().out
    for part in (
        "semisonic pretrain",
        "linear probe",
        "--init RUN",
        "--algorithm.temperature",
        "--addons.auxiliary.rotation",
    ):
        assert part in text, part


def test_pretraining_goes_on_with_its_own_algorithm(tmp_path: Path):
    written = tmp_path / "config.yaml"
    written.write_text(resolve(["--algorithm", "rotnet", "--no-baseline"])[1].dump())
    assert resolve(["--config", str(written)], "simclr")[1].algorithm.name == "rotnet"
    assert resolve(["--algorithm", "rotnet"], "simclr")[1].algorithm.name == "rotnet"
