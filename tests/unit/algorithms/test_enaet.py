"""EnAET against its equations: MixMatch, the decoders and the consistency of transformed images."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.enaet import EnAET
from semisonic.algorithms.mixmatch import MixMatch
from semisonic.config.command_line import resolve
from semisonic.models.ema import EmaConfig
from semisonic.models.wide_resnet import WideResNet
from semisonic.schema import UserError
from tests.support.algorithms import CLASSES, SIZE, batch_for, gradients, images, info, same, tiny_network

OFF = {"slopes": (0, 0, 0, 0, 0), "consistency": 0, "patch": 0}


def wide_network() -> nn.Module:
    return WideResNet(3, 1, 1, CLASSES)


def make(kind: type[Algorithm], network=tiny_network, step: int = 50, **fields: object) -> Algorithm:
    torch.manual_seed(0)
    algorithm = kind(kind.Config(**{"block": 2} | fields), network, info(), EmaConfig(decay=0.9)).double()
    algorithm.step.fill_(step)
    return algorithm


def test_without_decoders_and_consistency_it_is_mixmatch():
    enaet = make(EnAET, ramp=0.5, **OFF).eval()
    mixmatch = make(MixMatch, ramp=0.5).eval()
    mixmatch.load_state_dict({name: value for name, value in enaet.state_dict().items() if "decoders" not in name})
    batch = batch_for(enaet)
    one, two = gradients(enaet, batch), gradients(mixmatch, batch)
    assert same({name: one[name] for name in two}, two)
    assert not any(value.any() for name, value in one.items() if name.startswith("decoders"))
    for name in ("loss_labeled", "loss_unlabeled", "labeled_accuracy", "pseudo_label_correct"):
        torch.testing.assert_close(enaet.loss(batch).metrics[name], mixmatch.loss(batch).metrics[name])


@pytest.mark.parametrize("network", [tiny_network, wide_network])
def test_it_equals_its_equations(network):
    """Written anew view by view, with BatchNorm in evaluation mode."""
    algorithm = make(EnAET, network, slopes=(1, 2, 3, 4, 5), most=(0.4, 0.9, 9, 9, 9), consistency=1.7, ramp=0).eval()
    batch = batch_for(algorithm)
    output, log_p = algorithm.loss(batch), lambda x: algorithm.network(x).log_softmax(-1)

    pixels, (changed, theta) = batch.u["weak1"], algorithm.transform(batch.u["weak1"], batch.draws)
    row, column = (batch.draws["patch"] * SIZE).long().unbind(1)
    filled = pixels.clone()
    for k in range(12):  # a side of round(6 / 4) = 2 px: from one before the center to the center
        box = filled[k, :, max(row[k] - 1, 0) : row[k] + 1, max(column[k] - 1, 0) : column[k] + 1]
        box.copy_(box.float().mean((1, 2), keepdim=True).round())
    shown = [*changed, algorithm.normalize(filled)]
    views = [algorithm.normalize(pixels), algorithm.normalize(batch.u["weak2"]), shown[-1]]
    q = (sum(log_p(view).exp() for view in views) / 3).detach() ** 2
    q = q / q.sum(-1, keepdim=True)

    plain = torch.cat([algorithm.normalize(batch.x["weak"]), *views])
    targets = torch.cat([F.one_hot(batch.y, CLASSES).double(), q, q, q])
    _, partner, lam = algorithm.plan(batch._replace(u={**batch.u, "patch": filled}), None)
    lam = torch.maximum(lam, 1 - lam).double().unsqueeze(1)
    mixed = lam.view(-1, 1, 1, 1) * plain + (1 - lam.view(-1, 1, 1, 1)) * plain[partner]
    targets = lam * targets + (1 - lam) * targets[partner]
    labeled = -(targets[:6] * log_p(mixed[:6])).sum(-1).mean()
    unlabeled = (targets[6:] - log_p(mixed[6:]).exp()).square().mean()

    network = algorithm.network
    encode = network.trunk if hasattr(network, "trunk") else network.features
    decoding = torch.zeros(())
    for k, (weight, decoder) in enumerate(zip((0.4, 0.9, 1.5, 2.0, 2.5), algorithm.decoders, strict=True)):
        found = decoder(torch.cat([encode(views[0]), encode(shown[k])]))
        assert found.shape == theta[k].shape
        decoding = decoding + weight * (found - theta[k]).square().mean()
    divergence = sum((q * (q.log() - log_p(image))).sum(-1).mean() for image in shown) / 6
    torch.testing.assert_close(output.loss, labeled + 75 * unlabeled + decoding + 1.7 * divergence, rtol=1e-6, atol=0)
    torch.testing.assert_close(output.metrics["loss_consistency"], divergence, rtol=1e-6, atol=0)
    assert output.metrics["loss_decoders"].shape == (5,)


def test_weights_rise_to_their_limits():
    algorithm = make(EnAET, step=0)
    assert not algorithm.decoder_weights().any()
    algorithm.step.fill_(5)  # of 100
    torch.testing.assert_close(algorithm.decoder_weights(), torch.tensor([0.5, 0.375, 0.25, 0.1, 0.025]))
    algorithm.step.fill_(90)
    torch.testing.assert_close(algorithm.decoder_weights(), torch.tensor([1, 0.75, 0.5, 0.2, 0.05]))


def test_the_identity_has_the_canonical_parameters():
    algorithm = make(EnAET)
    batch = batch_for(algorithm)
    half = {name: torch.full_like(draw, 0.5) for name, draw in batch.draws.items()}
    half["projective"][:, 9] = 0.1
    changed, theta = algorithm.transform(batch.u["weak1"], half)
    for image in changed:
        torch.testing.assert_close(image, algorithm.normalize(batch.u["weak1"]), rtol=0, atol=1e-6)
    wanted = [[1, 0, -0.8, 0, 1, -0.8, 0, 0], [1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    for found, expected in zip(theta, wanted, strict=True):
        torch.testing.assert_close(found, torch.tensor(expected).double().expand(12, -1))


def test_the_three_warps_of_one_draw_differ():
    algorithm = make(EnAET)
    batch = batch_for(algorithm)
    changed, theta = algorithm.transform(batch.u["weak1"], batch.draws)
    pairs = [(a, b) for a in range(5) for b in range(a)]
    assert all((changed[a] - changed[b]).abs().amax((1, 2, 3)).min() > 1e-3 for a, b in pairs)
    assert theta[1][:, :5].equal(theta[2]) and theta[2][:, :4].equal(theta[3])


@pytest.mark.parametrize("network", [tiny_network, wide_network])
def test_decoders_teach_the_encoder(network):
    """The gradient of their loss alone reaches the encoder, and no other decoder."""
    algorithm = make(EnAET, network)
    batch = batch_for(algorithm)
    changed, theta = algorithm.transform(batch.u["weak1"], batch.draws)
    original = algorithm.normalize(batch.u["weak1"])
    losses = algorithm.decode(
        algorithm.encode(original), algorithm.encode(torch.cat(changed)).split(len(original)), theta
    )
    losses[3].backward()
    first = algorithm.network.conv if network is tiny_network else algorithm.network.stem
    assert first.weight.grad.abs().max() > 0
    taught = {
        name.split(".")[1]
        for name, p in algorithm.decoders.named_parameters(prefix="decoders")
        if p.grad is not None and p.grad.any()
    }
    assert taught == {"3"} and algorithm.network.head.weight.grad is None


def test_decoders_learn_what_was_done():
    """A few steps on one batch, on the decoders' losses alone, more than halve each of them that can be learned."""
    algorithm = make(EnAET, wide_network, step=100, weight=0, consistency=0, degrees=30, quarter_turns=False).float()
    batch = batch_for(algorithm)
    optimizer = torch.optim.Adam(algorithm.parameters(), 3e-3)
    found = []
    for _ in range(60):
        output = algorithm(batch)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        found.append(output.metrics["loss_decoders"])
    assert (found[-1] < 0.5 * found[0]).all(), (found[0], found[-1])


def test_decoders_of_a_wide_network_have_a_last_stage_of_their_own():
    algorithm = make(EnAET, wide_network)
    network = algorithm.network
    stage = dict(network.blocks[-1].named_parameters())
    for decoder in algorithm.decoders:
        own = dict(decoder.stage[0].named_parameters())
        assert {name: p.shape for name, p in own.items()} == {name: p.shape for name, p in stage.items()}
        assert not any(own[name] is p for name, p in stage.items())
    first, second = (algorithm.decoders[k].stage[0].conv1.weight for k in (0, 1))
    assert not first.equal(second) and not first.equal(network.blocks[-1].conv1.weight)
    given = images(2, 1).double()
    assert network.top(network.trunk(given)).equal(network.features(given))
    torch.testing.assert_close(network.eval().last_stage()(network.trunk(given)), network.features(given))


def test_the_guess_carries_no_gradient_and_one_forward_tracks():
    algorithm = make(EnAET, wide_network)
    batch = batch_for(algorithm)
    target = algorithm.guess(batch)
    assert not target.requires_grad
    torch.testing.assert_close(target.sum(-1), torch.ones(12, dtype=torch.float64))
    algorithm.loss(batch)
    counts = {
        name: value.item() for name, value in algorithm.state_dict().items() if name.endswith("num_batches_tracked")
    }
    assert {value for name, value in counts.items() if not name.startswith("ema.")} == {1}
    assert {value for name, value in counts.items() if name.startswith("ema.")} == {0}


def test_without_the_patch_there_are_two_views():
    algorithm = make(EnAET, patch=0)
    batch = batch_for(algorithm)
    assert batch.draws["lam"].shape == batch.draws["partner"].shape == (12, 2) and "patch" not in batch.draws
    assert torch.isfinite(algorithm.loss(batch).loss)
    assert batch_for(make(EnAET)).draws["lam"].shape == (12, 3)


def test_impossible_shares_and_corners_are_refused():
    assert EnAET.problems(EnAET.Config(), 16, 16) == []
    assert EnAET.problems(EnAET.Config(), 12, 12)[0].startswith("algorithm.block: blocks of 8 labeled images")
    assert EnAET.problems(EnAET.Config(shift=0.24), 8, 8) == [
        "algorithm.shift: corners may meet at 0.24; take less than 0.2"
    ]


def test_five_weights_on_the_command_line():
    cfg = resolve(["--algorithm", "enaet", "--algorithm.slopes", "1,2,3,4,5", "--device", "cpu"])[1]
    assert cfg.algorithm.slopes == (1, 2, 3, 4, 5)
    for given, complaint in (("1,2", "are too few values"), ("1,2,3,4,5,6", "are too many values")):
        with pytest.raises(UserError) as error:
            resolve(["--algorithm", "enaet", "--algorithm.slopes", given, "--device", "cpu"])
        assert error.value.messages == [f"algorithm.slopes: {given} {complaint}"]
    with pytest.raises(UserError) as error:
        resolve(["--algorithm", "enaet", "--algorithm.slopes", ",".join("1" * 9999), "--device", "cpu"])
    assert len(error.value.messages[0]) < 150
