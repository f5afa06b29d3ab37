"""RotNet and SimCLR: kernels, pretext tasks, pre-training and auxiliary losses."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

from semisonic import cli
from semisonic.addons.pretext_losses import AuxiliaryConfig, with_auxiliary
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.algorithms.rotnet import RotNet
from semisonic.algorithms.simclr import SimCLR
from semisonic.algorithms.supervised import Supervised
from semisonic.checkpoint import format as checkpoints
from semisonic.config.command_line import resolve
from semisonic.contract import Batch
from semisonic.models.ema import EmaConfig
from semisonic.schema import UserError
from semisonic.training.build import build_trainer
from semisonic.training.trainer import Trainer
from semisonic_kernels.contrastive import contrastive_loss, nt_xent, nt_xent_reference
from semisonic_kernels.rotate import rotate, rotate_reference, rotations, rotations_reference
from tests.support.algorithms import batch, batch_for, frozen, gradients, images, info, make, same, tiny_network

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


# Quarter turns


def by_hand(pixels: Tensor, turns: Tensor) -> Tensor:
    turned = [torch.rot90(image, k, (1, 2)) for image, k in zip(pixels.cpu(), turns.tolist(), strict=True)]
    return torch.stack(turned).to(pixels.device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("call", [rotate.__wrapped__, rotate_reference])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_rotate_is_rot90_of_each_image(call, layout: torch.memory_format, device: str):
    turns = torch.tensor([0, 1, 2, 3, 3, 1, 5], device=device)
    for pixels in (images(7, 1), images(7, 2).double()):
        pixels = pixels.to(device).to(memory_format=layout)
        turned = call(pixels, turns)
        assert torch.equal(turned, by_hand(pixels, turns)) and turned.dtype == pixels.dtype
        assert turned.is_contiguous(memory_format=layout)
        assert torch.equal(call(turned, 4 - turns % 4), pixels)  # k and 4 - k: where it began


@pytest.mark.parametrize("call", [rotations.__wrapped__, rotations_reference])
def test_rotations_are_all_four_of_each(call):
    pixels = images(3, 1).to(memory_format=torch.channels_last)
    turned = call(pixels)
    assert torch.equal(turned, torch.cat([by_hand(pixels, torch.full((3,), k)) for k in range(4)]))
    assert turned.is_contiguous(memory_format=torch.channels_last)


def test_the_gradient_of_a_rotation_turns_back():
    pixels, turns = images(4, 1).double().requires_grad_(), torch.arange(4)
    weights = torch.rand(pixels.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for call in (rotate.__wrapped__, rotate_reference):
        (grad,) = torch.autograd.grad((weights * call(pixels, turns)).sum(), pixels)
        assert torch.equal(grad, by_hand(weights, 4 - turns))


@pytest.mark.slow
@pytest.mark.kernels("fused")
def test_compiled_kernels_equal_their_references():
    pixels, turns = images(5, 1), torch.tensor([0, 1, 2, 3, 1])
    one, two = (views(8).requires_grad_() for _ in range(2))
    assert torch.equal(rotate(pixels, turns), rotate_reference(pixels, turns))
    losses = [call(given, given, 0, 0.3) for call, given in ((nt_xent, one), (nt_xent_reference, two))]
    torch.testing.assert_close(*losses)
    sum(losses).backward()
    torch.testing.assert_close(one.grad, two.grad)


def test_kernels_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="must be square"):
        rotate(torch.rand(2, 3, 4, 5), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"turns must be int64 \[2\]"):
        rotate(torch.rand(2, 3, 4, 4), torch.zeros(2))
    with pytest.raises(ValueError, match="must be square"):
        rotations(torch.rand(3, 4, 4))
    unit = views(4)
    for wrong, message in (
        ((unit[:3], unit), r"floating \[2 N, D\]"),
        ((unit, unit[:, :2]), "the pool must be"),
        ((unit, unit, 1), "start 1 leaves no 4 views"),
        ((unit, unit, 0, 0.0), "temperature must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            nt_xent(*wrong)


# NT-Xent


def views(count: int, width: int = 5, seed: int = 0) -> Tensor:
    bits = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, dtype=torch.float64, generator=bits), dim=1)


def xent_by_hand(z: Tensor, temperature: float) -> Tensor:
    """Pair by pair, as the paper writes it."""
    count, terms = len(z), []
    for i in range(count):
        j = (i + count // 2) % count
        others = [torch.exp(z[i] @ z[k] / temperature) for k in range(count) if k != i]
        terms.append(-torch.log(torch.exp(z[i] @ z[j] / temperature) / torch.stack(others).sum()))
    return torch.stack(terms).mean()


@pytest.mark.parametrize("call", [nt_xent.__wrapped__, nt_xent_reference])
def test_nt_xent_is_the_paper_s_formula(call):
    one, two = (views(10).requires_grad_() for _ in range(2))
    loss, expected = call(one, one, 0, 0.2), xent_by_hand(two, 0.2)
    torch.testing.assert_close(loss, expected)
    loss.backward(), expected.backward()
    torch.testing.assert_close(one.grad, two.grad)


@pytest.mark.parametrize("call", [nt_xent.__wrapped__, nt_xent_reference])
def test_nt_xent_of_equal_views_and_orthogonal_negatives(call):
    eye = torch.eye(6, dtype=torch.float64)
    for temperature in (0.1, 0.5, 2.0):
        expected = math.log(1 + (2 * 6 - 2) * math.exp(-1 / temperature))
        assert call(torch.cat([eye, eye]), torch.cat([eye, eye]), 0, temperature).item() == pytest.approx(expected)


def test_nt_xent_does_not_depend_on_the_order_of_the_views():
    first, second = views(6, seed=1), views(6, seed=2)
    torch.testing.assert_close(contrastive_loss(3 * first, second), contrastive_loss(second, first))


@pytest.mark.parametrize("call", [nt_xent.__wrapped__, nt_xent_reference])
def test_the_ranks_shares_add_up_to_the_whole(call):
    """Two ranks, each with both views of its samples, against one; value, and gradient as summed by the gather."""
    whole = views(12)
    alone, shared = (whole.clone().requires_grad_() for _ in range(2))
    call(alone, alone, 0, 0.4).backward()
    order = torch.tensor([0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11])  # rank 0's samples are 0..2
    pool = shared[order]
    losses = [call(pool[6 * rank : 6 * rank + 6], pool, 6 * rank, 0.4) for rank in range(2)]
    torch.testing.assert_close(sum(losses) / 2, call(alone, alone, 0, 0.4))
    (sum(losses) / 2).backward()
    torch.testing.assert_close(shared.grad, alone.grad)


# Pretext tasks

UNLABELED = {RotNet: {"view": images(12, 3)}, SimCLR: {"view_1": images(12, 3), "view_2": images(12, 4)}}
each = pytest.mark.parametrize("kind", [RotNet, SimCLR])


def given(kind: type[Algorithm], **changes: object) -> Batch:
    return batch(**({"u": UNLABELED[kind]} | changes))


def test_rotnet_is_cross_entropy_on_four_rotations():
    algorithm = frozen(make(RotNet))
    pixels, losses, turns_seen = UNLABELED[RotNet]["view"], [], []
    for k in range(4):
        turned = algorithm.normalize(torch.rot90(pixels, k, (2, 3)))
        labels = torch.full((12,), k)
        losses.append(F.cross_entropy(algorithm.rotation(algorithm.network.features(turned)), labels))
        turns_seen += labels.tolist()
    assert all(turns_seen.count(k) == 12 for k in range(4))  # equally frequent
    found, _ = algorithm.pretext(given(RotNet))
    torch.testing.assert_close(found, torch.stack(losses).mean())


def test_simclr_is_nt_xent_of_projected_features():
    algorithm = frozen(make(SimCLR, temperature=0.3, dimensions=7))
    z = torch.cat([
        algorithm.projector(algorithm.network.features(algorithm.normalize(view))) for view in UNLABELED[SimCLR].values()
    ])  # fmt: skip
    assert z.shape == (24, 7)
    found, _ = algorithm.pretext(given(SimCLR))
    torch.testing.assert_close(found, xent_by_hand(F.normalize(z, dim=1), 0.3))


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


# launch/pretrain.py

QUICK = ["--device", "cpu", "--threads", "1", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--steps", "2",
         "--eval.batch", "128", "--log.trackers", "none"]  # fmt: skip
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
    assert error == "error: algorithm.name: fixmatch is no pretext task; use rotnet or simclr, or launch/train.py"
    assert cli.pretrain(["--algorithm.view", "fixmatch", "--print-config"]) == 0
    printed = capfd.readouterr().out
    assert "name: simclr" in printed and "baseline: false" in printed


def test_pretrain_explains_itself(capfd: pytest.CaptureFixture):
    assert cli.pretrain(["--help"]) == 0
    text = capfd.readouterr().out
    for part in ("launch/pretrain.py", "linear probe", "--init RUN", "--algorithm.temperature", "--auxiliary.rotation"):
        assert part in text, part


def test_pretraining_goes_on_with_its_own_algorithm(tmp_path: Path):
    written = tmp_path / "config.yaml"
    written.write_text(resolve(["--algorithm", "rotnet", "--no-baseline"])[1].dump())
    assert resolve(["--config", str(written)], "simclr")[1].algorithm.name == "rotnet"
    assert resolve(["--algorithm", "rotnet"], "simclr")[1].algorithm.name == "rotnet"


# Auxiliary losses

BOTH = AuxiliaryConfig(rotation=0.5, simclr=2.0, rotation_view="weak", view="fixmatch", temperature=0.3)


def test_without_weights_the_algorithm_is_the_algorithm_itself():
    for kind in ALGORITHMS.values():
        assert with_auxiliary(kind, AuxiliaryConfig(view="weak", temperature=0.1)) is kind
        assert with_auxiliary(kind, BOTH) is with_auxiliary(kind, BOTH.model_copy()) is not kind


def trainer(*fields: str) -> Trainer:
    cfg = resolve([*QUICK, "--no-baseline", "--algorithm.threshold", "0.12", *fields])[1]
    return build_trainer(cfg)


def test_the_weights_0_reproduce_the_run_bit_for_bit():
    """Also against auxiliary losses that are there but whose weight is next to nothing: they change no other draw."""
    states, losses = [], []
    for fields in ([], ["--auxiliary.rotation", "0", "--auxiliary.simclr", "0", "--auxiliary.view", "weak"],
                   ["--auxiliary.rotation", "1e-300", "--auxiliary.simclr", "1e-300", "--auxiliary.view", "fixmatch"]):  # fmt: skip
        run = trainer(*fields)
        loader = run.loader()
        losses.append([run.training_step(next(loader)).loss.item() for _ in range(3)])
        states.append({k: v for k, v in run.algorithm.state_dict().items() if not k.startswith("auxiliary_")})
    assert losses[0] == losses[1] == losses[2]
    for other in states[1:]:
        assert other.keys() == states[0].keys()
        assert all(torch.equal(value, states[0][name]) for name, value in other.items())


def test_auxiliary_losses_are_added_and_only_the_algorithm_s_forward_tracks():
    torch.manual_seed(0)
    kind = with_auxiliary(FixMatch, BOTH)
    algorithm = frozen(kind(FixMatch.Config(threshold=0.3), tiny_network, info(), EmaConfig()).double())
    plain = frozen(make(FixMatch, threshold=0.3))
    assert all(torch.equal(value, algorithm.state_dict()[name]) for name, value in plain.state_dict().items())
    of = batch_for(algorithm)
    output = algorithm.loss(of)
    turns = (4 * of.draws["auxiliary_turns"][:, 0]).long()
    turned = algorithm.normalize(by_hand(of.u["auxiliary_rotated"], turns))
    rotation = F.cross_entropy(algorithm.auxiliary_rotation(algorithm.network.features(turned)), turns)
    pair = [algorithm.normalize(of.u[f"auxiliary_{k}"]) for k in (1, 2)]
    z = torch.cat([algorithm.auxiliary_projector(algorithm.network.features(view)) for view in pair])
    contrast = xent_by_hand(F.normalize(z, dim=1), 0.3)
    torch.testing.assert_close(output.loss, plain.loss(of).loss + 0.5 * rotation + 2.0 * contrast)
    assert output.metrics["loss_auxiliary_rotation"].item() == pytest.approx(rotation.item())
    algorithm.train()
    algorithm.loss(of)
    assert algorithm.network.norm.num_batches_tracked == 1


@pytest.mark.parametrize("name", [name for name, kind in ALGORITHMS.items() if kind.roles == ("network",)])
def test_every_algorithm_computes_its_own_loss_beside_auxiliary_ones(name: str):
    """Also those whose own views are all that the batch has, such as MixMatch."""
    kind = ALGORITHMS[name]
    cfg = kind.Config(**({"block": 2} if "block" in kind.Config.model_fields else {}))
    torch.manual_seed(0)
    plain = kind(cfg, tiny_network, info()).double()
    extended = with_auxiliary(kind, BOTH)(cfg, tiny_network, info()).double()
    extended.load_state_dict(plain.state_dict(), strict=False)
    of = batch_for(extended)
    own = of._replace(u={view: of.u[view] for view in plain.views(cfg).unlabeled})
    found, expected = extended.loss(of).metrics, plain.loss(own).metrics
    assert expected.keys() < found.keys()
    assert all(torch.equal(found[metric], value) for metric, value in expected.items())


def test_an_extended_algorithm_keeps_the_contract():
    torch._dynamo.reset()
    torch.manual_seed(0)
    kind = with_auxiliary(FixMatch, BOTH)
    algorithm = kind(kind.Config(), tiny_network, info())
    other = copy.deepcopy(algorithm)
    counter = CompileCounterWithBackend("aot_eager")
    algorithm.forward = torch.compile(algorithm.forward, fullgraph=True, dynamic=False, backend=counter)
    for seed in range(2):
        algorithm(batch_for(algorithm, seed)).loss.backward()
    assert counter.frame_count == 1
    assert [name for name, p in algorithm.named_parameters() if p.grad is None] == []
    assert algorithm.network.norm.num_batches_tracked == 2
    other.load_state_dict(algorithm.state_dict())
    assert torch.equal(other.eval()(batch_for(other)).loss, other(batch_for(other)).loss)


def test_every_part_of_the_engine_sees_the_auxiliary_views(tmp_path: Path, capfd: pytest.CaptureFixture):
    fields = ["--auxiliary.rotation", "1", "--auxiliary.simclr", "1", "--auxiliary.view", "usb"]
    cfg = resolve([*QUICK, "--no-baseline", "--algorithm", "supervised", *fields])[1]
    assert set(cfg.algorithm_class.views(cfg.algorithm).unlabeled) == {
        "auxiliary_rotated",
        "auxiliary_1",
        "auxiliary_2",
    }
    assert cfg.supervised_baseline().algorithm_class is Supervised
    assert not Supervised.views(Supervised.Config()).unlabeled
    out = tmp_path / "run"
    assert cli.main([*QUICK, "--no-baseline", "--algorithm", "supervised", *fields, "--out", str(out)]) == 0
    first = checkpoints.load_checkpoint(out).model
    assert {name for name in first if name.startswith("auxiliary_rotation.")} == {
        "auxiliary_rotation.weight", "auxiliary_rotation.bias"}  # fmt: skip
    assert sum(name.startswith("auxiliary_projector.") for name in first) == 4
    optimizer = checkpoints.load_checkpoint(out).optimizer
    assert any("auxiliary_projector" in name for name in optimizer)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["--auxiliary.rotation", "1", "--auxiliary.rotation-view", "nope"], "auxiliary.rotation_view: augmentation 'nope'"),
        (["--auxiliary.simclr", "1", "--auxiliary.view", "nope"], "auxiliary.view: augmentation 'nope'"),
        (["--algorithm", "rotnet", "--algorithm.view", "rotnet"], "algorithm.view: augmentation 'rotnet'"),
        (["--auxiliary.simclr", "-1"], "auxiliary.simclr: '-1' is not valid"),
        (["--auxiliary.simclr", "1", "--auxiliary.view", "weak", "--batch.micro", "2"],
         "batch.micro: auxiliary.simclr couples all samples of a batch; use 1"),
    ],
)  # fmt: skip
def test_mistakes_name_their_field(fields: list[str], message: str):
    with pytest.raises(UserError) as caught:
        resolve(fields)
    assert any(line.startswith(message) for line in caught.value.messages), caught.value.messages


def test_algorithms_with_several_networks_refuse_auxiliary_losses(monkeypatch: pytest.MonkeyPatch):
    class Two(FixMatch):
        roles = ("student", "teacher")

    monkeypatch.setitem(ALGORITHMS, "fixmatch", Two)
    with pytest.raises(UserError, match=r"auxiliary.rotation: fixmatch has several networks"):
        resolve(["--auxiliary.rotation", "1"])
    resolve([])
