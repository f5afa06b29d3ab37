"""CTAugment: the rule that rates move by, the probe beside an algorithm, and runs that are resumed with it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from semisonic.addons.ctaugment import CTAugment, CTAugmentConfig
from semisonic.algorithms.add_on import Base
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.supervised import Supervised
from semisonic.checkpoint import format as checkpoints
from semisonic.config.checks import find_problems
from semisonic.config.command_line import resolve
from semisonic.data.loading.calls import CALLS_AHEAD
from semisonic.schema import UserError
from semisonic_kernels.ctaugment import BINS, DECAY, MOST_BINS, first_rates
from tests.support.addons import composed, composition
from tests.support.algorithms import batch, images, make, same
from tests.support.ctaugment import scripted_batches, table_after
from tests.support.trainers import make_trainer

pytestmark = pytest.mark.filterwarnings("ignore:The external source node")


def rates_of(lag: int) -> CTAugment:
    cfg = FixMatch.Config(strong="ctaugment")
    addon = CTAugment(CTAugmentConfig(lag=lag), Base(FixMatch, cfg, FixMatch.views(cfg)))
    addon.setup(None, None)  # it needs neither
    return addon


def move(rates: CTAugment, bins: torch.Tensor, omega: torch.Tensor) -> None:
    rates.update({"bins": bins, "omega": omega})


def test_rates_move_one_sample_after_the_other_and_only_where_touched():
    rates = rates_of(4).double()
    generator = np.random.default_rng(0)
    expected = rates.rates.numpy().copy().reshape(-1)
    for _ in range(5):
        bins = generator.integers(-1, 40, (64, 2, 2))  # many samples share a bin
        omega = generator.random(64)
        before = rates.rates.clone()
        move(rates, torch.from_numpy(bins).int(), torch.from_numpy(omega))
        for touched, value in zip(bins, omega, strict=True):
            for position in touched.ravel():
                if position >= 0:
                    expected[position] = DECAY * expected[position] + (1 - DECAY) * value
        np.testing.assert_allclose(rates.rates.numpy().ravel(), expected, rtol=0, atol=1e-14)
        assert torch.equal(rates.rates.flatten()[40:], before.flatten()[40:])
        assert rates.rates.min() >= 0 and rates.rates.max() <= 1
    assert (rates.rates.flatten()[:8] < 1).all()


def test_rates_stay_between_0_and_1():
    rates = rates_of(1)
    for value in (0.0, 1.0):
        for _ in range(30):
            move(rates, torch.arange(17).repeat(40, 1), torch.full((40,), value))
        assert rates.rates.min() >= 0 and rates.rates.max() <= 1
        assert rates.rates[0].mean() == pytest.approx(value, abs=0.01)


def test_other_algorithms_stay_as_they_are():
    assert composition(FixMatch).addons == ()
    assert composition(Supervised, {"view": "ctaugment-probe"}).addons == ()


@pytest.mark.parametrize("kind", [FixMatch, Supervised])
def test_the_probe_changes_no_loss_and_observes_the_right_class(kind):
    fields = {"strong": "ctaugment"} if kind is FixMatch else {"view": "ctaugment-plain"}
    views = composition(kind, fields).views
    assert views.labeled["probe"] == "ctaugment-probe" and views.params == ("probe",)
    probed, plain = composed(kind, fields, ctaugment={"lag": 4}), make(kind)
    bins = torch.randint(-1, 300, (6, 2, 2), dtype=torch.int32)
    own = batch(params={"probe": {"bins": bins}})
    own.x["probe"] = images(6, 9)
    own.x["weak"] = images(6, 1)
    for algorithm, of in ((probed, own), (plain, batch())):
        algorithm(of).loss.backward()
    wanted = dict(plain.named_parameters())
    assert all(torch.equal(value.grad, wanted[name].grad) for name, value in probed.named_parameters())
    buffers = {name: value.clone() for name, value in probed.ema.named_buffers()}
    output = probed(own)
    assert all(torch.equal(buffers[name], value) for name, value in probed.ema.named_buffers())
    with torch.no_grad():
        logits = probed.eval().infer(own.x["probe"], module="ema")
    right = logits.softmax(-1).gather(1, own.y[:, None])[:, 0]
    assert (
        torch.allclose(output.observed["ctaugment/omega"], right)
        and not output.observed["ctaugment/omega"].requires_grad
    )
    assert torch.equal(output.observed["ctaugment/bins"], bins)
    probed.commit(output.observed)
    touched = torch.zeros(len(BINS) * MOST_BINS, dtype=torch.bool)
    touched[bins[bins >= 0].long()] = True
    moved = (probed.addons["ctaugment"].rates != first_rates()).flatten()
    assert torch.equal(moved, touched)


def trainer_of(folder: Path, *fields: str):
    own = ["--algorithm.strong", "ctaugment", "--model", "small", "--addons.ctaugment.lag", "4", "--steps", "20"]
    return make_trainer(folder, *own, *fields)


def test_a_lag_shorter_than_what_is_drawn_ahead_is_refused():
    def problems(*fields: str) -> str:
        return "\n".join(find_problems(resolve(["--algorithm.strong", "ctaugment", "--device", "cpu", *fields])[1]))

    assert problems("--addons.ctaugment.lag", str(CALLS_AHEAD)) == ""
    with pytest.raises(ValueError, match="a lag of 7 steps for calls of 2"):
        scripted_batches(2, lag=7, per_call=2)
    with pytest.raises(UserError, match=r"addons\.ctaugment\.lag: .* take at least 4"):
        resolve(["--algorithm.strong", "ctaugment", "--device", "cpu", "--addons.ctaugment.lag", "3"])
    with pytest.raises(UserError, match="take at least 40"):
        resolve(["--algorithm.strong", "ctaugment", "--device", "cpu", "--data.steps-per-call", "10"])
    with pytest.raises(UserError, match=r"algorithm\.strong.*unknown"):
        resolve(["--algorithm.strong", "ctaugment(3)", "--device", "cpu"])


def test_only_methods_with_labeled_images_and_one_network_learn_strengths():
    class Two(FixMatch):
        roles = ("student", "teacher")

    assert composition(FixMatch, {"strong": "ctaugment"}).problems() == []
    assert "algorithm.strong: ctaugment learns" in composition(Two, {"strong": "ctaugment"}).problems()[0]
    assert composition(Two).problems() == []


def stepped(trainer, until: int) -> list[torch.Tensor]:
    loader, seen = trainer.loader(), []
    while trainer.step < until:
        own = next(loader)
        seen.append(own.u["strong"].clone())
        trainer.training_step(own)
    return seen


def test_resumed_runs_are_equal_bit_for_bit(tmp_path: Path):
    """With rates that differ much, remembered across the checkpoint, which falls between rates and their draws."""

    def scattered(trainer):
        trainer.algorithm.addons["ctaugment"].rates.copy_(table_after(7))
        return trainer

    whole = scattered(trainer_of(tmp_path / "whole"))
    images = stepped(whole, 9)
    halves = scattered(trainer_of(tmp_path / "halves"))
    first = stepped(halves, 3)
    halves.save()
    halves.checkpoint_writer.finish()
    resumed = trainer_of(tmp_path / "halves")
    checkpoint = checkpoints.latest(tmp_path / "halves" / "checkpoints")
    resumed.restore(checkpoints.load_checkpoint(checkpoint))
    again = first + stepped(resumed, 9)
    assert all(torch.equal(a, b) for a, b in zip(images, again, strict=True))
    assert same(whole.algorithm.state_dict(), resumed.algorithm.state_dict(), 0)
    learned = whole.algorithm.addons["ctaugment"]
    assert not torch.equal(learned.history[0], learned.history[1]) and not torch.equal(learned.rates, table_after(7))
