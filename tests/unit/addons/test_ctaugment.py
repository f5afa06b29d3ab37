"""CTAugment: the rule that rates move by, the draws by them, its operations against Pillow's, and the feedback from the
steps to the drawing."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from semisonic.addons import ctaugment
from semisonic.addons.ctaugment import CTAugmentRates, probing
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.supervised import Supervised
from semisonic.checkpoint import format as checkpoints
from semisonic.config.checks import find_problems
from semisonic.config.command_line import resolve
from semisonic.data.loading.calls import CALLS_AHEAD, Placement
from semisonic.data.loading.draws import uniforms as counted
from semisonic.data.loading.feedback import Feedback
from semisonic.data.views import ctaugment as views
from semisonic.data.views.registry import build_view
from semisonic.models.norm import running_statistics
from semisonic.schema import UserError
from semisonic_kernels.ctaugment import BINS, DECAY, MOST_BINS, OPERATION_BINS, first_rates
from tests.support.algorithms import batch, gradients, images, make, same, tiny_network
from tests.support.trainers import make_trainer
from tests.support.views import FILL, geometry, pictures, run_weak, uniforms

pytestmark = pytest.mark.filterwarnings("ignore:The external source node")
NAMES = list(OPERATION_BINS)


# --- the rates ---------------------------------------------------------------------------------------------


def test_every_operation_has_its_bins():
    assert len(OPERATION_BINS) == 19 and OPERATION_BINS["identity"] == ()
    assert OPERATION_BINS["posterize"] == (8,) and OPERATION_BINS["rescale"] == (17, 6)
    assert all(
        bins == (17,) for name, bins in OPERATION_BINS.items() if name not in ("identity", "posterize", "rescale")
    )
    assert first_rates().sum(1).tolist() == BINS


def test_rates_move_one_sample_after_the_other_and_only_where_touched():
    rates = CTAugmentRates(4).double()
    generator = np.random.default_rng(0)
    expected = rates.rates.numpy().copy().reshape(-1)
    for _ in range(5):
        bins = generator.integers(-1, 40, (64, 2, 2))  # many samples share a bin
        omega = generator.random(64)
        before = rates.rates.clone()
        rates.update(torch.from_numpy(bins).int(), torch.from_numpy(omega))
        for touched, value in zip(bins, omega, strict=True):
            for position in touched.ravel():
                if position >= 0:
                    expected[position] = DECAY * expected[position] + (1 - DECAY) * value
        np.testing.assert_allclose(rates.rates.numpy().ravel(), expected, rtol=0, atol=1e-14)
        assert torch.equal(rates.rates.flatten()[40:], before.flatten()[40:])
        assert rates.rates.min() >= 0 and rates.rates.max() <= 1
    assert (rates.rates.flatten()[:8] < 1).all()


def test_rates_stay_between_0_and_1():
    rates = CTAugmentRates(1)
    for value in (0.0, 1.0):
        for _ in range(30):
            rates.update(torch.arange(17).repeat(40, 1), torch.full((40,), value))
        assert rates.rates.min() >= 0 and rates.rates.max() <= 1
        assert rates.rates[0].mean() == pytest.approx(value, abs=0.01)


# --- the draws ---------------------------------------------------------------------------------------------


def test_probabilities_keep_what_reaches_the_threshold():
    table = first_rates().numpy()
    table[0, :4] = 0.5, 0.782, 0.799, 0.9  # (0.782 + 0.01) / 1.01 < 0.8 < (0.799 + 0.01) / 1.01
    table[1] = 0
    found = views.probabilities(table)
    share = np.array([0, 0, 0.809, 0.91, *[1.01] * 13])
    np.testing.assert_allclose(found[0], share / share.sum(), rtol=1e-6)
    np.testing.assert_allclose(found[1], 1 / 17)
    posterize = next(p for p, bins in enumerate(BINS) if bins == 8)
    assert (found[posterize, 8:] == 0).all() and found[posterize, :8] == pytest.approx(1 / 8)


def test_draws_follow_the_rates():
    table = first_rates().numpy()
    rotate = views._FIRST[NAMES.index("rotate")]
    table[rotate] = 0.1
    table[rotate, [3, 16]] = 0.9, 1.0
    view = build_view("ctaugment", geometry(), operations="kernel").with_table(table)
    operation, level, position = view._draw(np.random.default_rng(0).random((60_000, 8)))
    counts = np.bincount(operation, minlength=19)
    assert ((counts - 60_000 / 19) ** 2 / (60_000 / 19)).sum() < 18 + 4 * np.sqrt(36)
    levels = level[operation == NAMES.index("rotate"), 0]
    bins, counts = np.unique(np.floor(levels * 17), return_counts=True)
    assert bins.tolist() == [3, 16] and counts[0] / counts.sum() == pytest.approx(0.91 / (0.91 + 1.01), abs=0.03)
    within = levels * 17 - np.floor(levels * 17)
    np.testing.assert_allclose(np.quantile(within, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.03)
    rescale = operation == NAMES.index("rescale")
    first = views._FIRST[NAMES.index("rescale")] * MOST_BINS
    assert np.unique(position[rescale, 1] - first - MOST_BINS).tolist() == [0, 1, 2, 3, 4, 5]
    assert (position[~rescale, 1] == -1).all() and (position[operation == NAMES.index("identity")] == -1).all()


def test_a_probe_draws_uniformly_says_its_bins_and_has_no_hole():
    view = build_view("ctaugment-probe", geometry(), operations="kernel")
    assert view.loss_params == ("bins",) and not view.adaptive and "holes" not in view.kernel_params
    params = view.params(uniforms(view, 30_000), None)
    assert params["bins"].shape == (30_000, 2, 2)
    counts = np.bincount(params["bins"][params["bins"] >= 0], minlength=len(BINS) * MOST_BINS).reshape(-1, MOST_BINS)
    for row, bins in zip(counts, BINS, strict=True):
        assert (row[bins:] == 0).all() and (row[:bins] > 0.7 * row[:bins].mean()).all()
    for name in ("ctaugment", "ctaugment-plain"):
        assert "bins" not in build_view(name, geometry()).params(uniforms(build_view(name, geometry()), 2), None)


# --- the operations, against Pillow ------------------------------------------------------------------------


def pillow(name, image, levels, center):
    level, width = levels[0], image.width
    blends = {
        "auto_contrast": ImageOps.autocontrast,
        "blur": lambda x: x.filter(ImageFilter.BLUR),
        "equalize": ImageOps.equalize,
        "invert": ImageOps.invert,
        "smooth": lambda x: x.filter(ImageFilter.SMOOTH),
    }
    factors = {"brightness": "Brightness", "color": "Color", "contrast": "Contrast", "sharpness": "Sharpness"}
    move = 0.3 * (2 * level - 1)
    coefficients = {
        "shear_x": (1, move, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, move, 1, 0),
        "translate_x": (1, 0, move * width, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, move * width),
    }
    if name in blends:
        return Image.blend(image, blends[name](image), level)
    if name in factors:
        return getattr(ImageEnhance, factors[name])(image).enhance(0.1 + 1.9 * level)
    if name in coefficients:
        return image.transform(image.size, Image.Transform.AFFINE, coefficients[name])
    if name == "posterize":
        return ImageOps.posterize(image, 1 + int(7.999 * level))
    if name == "solarize":
        return ImageOps.solarize(image, int(255.999 * level))
    if name == "rotate":
        return image.rotate(round(45 * (2 * level - 1)))
    if name == "rescale":
        methods = ("LANCZOS", "BICUBIC", "BILINEAR", "BOX", "HAMMING", "NEAREST")
        edge = 0.25 * level * width
        method = getattr(Image.Resampling, methods[int(5.99 * levels[1])])
        return image.resize(image.size, method, (edge, edge, width - edge, width - edge))
    if name == "cutout":
        half, pixels = (1 + int(0.499 * width * level)) // 2, np.asarray(image).copy()
        top, left = (max(0, int(c * width) - half) for c in center)
        pixels[top : int(center[0] * width) + half, left : int(center[1] * width) + half] = FILL
        return Image.fromarray(pixels)
    return image


@pytest.mark.parametrize("name", NAMES)
def test_operations_match_pillow(name):
    """One operation after the identity; both levels at many places."""
    view = build_view("ctaugment-plain", geometry(pad=0, flip=False), equalize="pil", operations="kernel")
    values, pixels = uniforms(view, 36, seed=3), pictures(36, 32)
    values[:, 4], values[:, 12] = (NAMES.index("identity") + 0.5) / 19, (NAMES.index(name) + 0.5) / 19
    ours = run_weak(view, pixels, values)
    levels = view._draw(values[:, 12:20])[1]
    theirs = [
        np.asarray(pillow(name, Image.fromarray(image), level, center))
        for image, level, center in zip(pixels, levels, values[:, 17:19], strict=True)
    ]
    delta = np.abs(ours.astype(int) - np.stack(theirs))
    # Blends may fall short of a whole number, Pillow rotates in fixed point and rounds between rows and columns.
    assert delta.mean() < 0.5 and np.quantile(delta, 0.95) <= (2 if name == "rescale" else 0 if name == "rotate" else 1)
    if name != "identity":
        assert (ours != pixels).mean() > 0.02


def test_strong_views_end_with_a_hole_of_half_the_width():
    view, plain = (build_view(n, geometry(), operations="kernel") for n in ("ctaugment", "ctaugment-plain"))
    holes = view.params(uniforms(view, 4000), None)["holes"]
    sides = holes[:, 2:] - holes[:, :2]
    assert sides.max() == 16 and sides.min() == 8
    values, pixels = uniforms(view, 8), pictures(8, 32)
    ours, without = run_weak(view, pixels, values), run_weak(plain, pixels, values[:, :-4])
    holes = view.params(values, None)["holes"]
    for image, (top, left, bottom, right) in zip(without, holes, strict=True):
        image[top:bottom, left:right] = FILL
    np.testing.assert_array_equal(ours, without)


@pytest.mark.parametrize("where", ["dali", "kernel"])
def test_both_ways_give_the_same_pixels(where):
    view = build_view("ctaugment", geometry(), operations=where)
    other = build_view("ctaugment", geometry(), operations="kernel")
    values, pixels = uniforms(view, 20), pictures(20, 32)
    np.testing.assert_array_equal(run_weak(view, pixels, values), run_weak(other, pixels, values))


# --- the algorithm with its probe --------------------------------------------------------------------------


def test_other_algorithms_stay_as_they_are():
    assert probing(FixMatch, FixMatch.Config()) is FixMatch
    assert probing(Supervised, Supervised.Config(view="ctaugment-probe")) is Supervised


@pytest.mark.parametrize("kind", [FixMatch, Supervised])
def test_the_probe_changes_no_loss_and_observes_the_right_class(kind):
    fields = {"strong": "ctaugment"} if kind is FixMatch else {"view": "ctaugment-plain"}
    cfg = kind.Config(**fields)
    whole = probing(kind, cfg, lag=4)
    assert whole.views(cfg).labeled["probe"] == "ctaugment-probe" and whole.views(cfg).params == ("probe",)
    probed, plain = make(whole, **fields), make(kind)
    bins = torch.randint(-1, 300, (6, 2, 2), dtype=torch.int32)
    own = batch(params={"probe": {"bins": bins}})
    own.x["probe"] = images(6, 9)
    own.x["weak"] = images(6, 1)
    found, wanted = gradients(probed, own), gradients(plain, batch())
    assert same(found, wanted, 0)
    buffers = {name: value.clone() for name, value in probed.ema.named_buffers()}
    output = probed.loss(own)
    assert all(torch.equal(buffers[name], value) for name, value in probed.ema.named_buffers())
    with torch.no_grad():
        logits = probed.eval().infer(own.x["probe"], module="ema")
    right = logits.softmax(-1).gather(1, own.y[:, None])[:, 0]
    assert torch.allclose(output.observed["probe_omega"], right) and not output.observed["probe_omega"].requires_grad
    assert torch.equal(output.observed["probe_bins"], bins)
    probed.update(output.observed)
    touched = torch.zeros(len(BINS) * MOST_BINS, dtype=torch.bool)
    touched[bins[bins >= 0].long()] = True
    moved = (probed.augment.rates != first_rates()).flatten()
    assert torch.equal(moved, touched)


def test_running_statistics_are_those_of_evaluation():
    network = tiny_network()
    pixels = torch.randn(4, 3, 6, 6)
    network(pixels)
    kept = network.norm.running_mean.clone()
    with running_statistics():
        found = network(pixels)
    assert torch.equal(found, network.eval()(pixels)) and torch.equal(network.norm.running_mean, kept)
    assert not torch.equal(network.train()(pixels), found)


# --- the feedback ------------------------------------------------------------------------------------------


def table_after(steps: int) -> torch.Tensor:
    """Very different rates after every step, so that a draw by the wrong ones shows."""
    generator = torch.Generator().manual_seed(steps)
    return first_rates() * torch.rand(len(BINS), MOST_BINS, generator=generator)


def trainer_of(folder: Path, *fields: str):
    own = ["--algorithm.strong", "ctaugment", "--model", "small", "--data.ctaugment-lag", "4", "--steps", "20"]
    return make_trainer(folder, *own, *fields)


class Scripted:
    """A remembered table that the test sets."""

    def __init__(self, lag: int):
        self.lag, self.rates = lag, table_after(0)
        self.history = first_rates().repeat(lag + 1, 1, 1)


def scripted_batches(steps: int, lag: int, per_call: int, start: int = 0, pause: float = 0.0) -> list[torch.Tensor]:
    from semisonic.contract import Views
    from semisonic.data.loading.loader import Loader, Sampling
    from tests.support.data import CPU, data_set, split

    remembered = Scripted(lag)
    for number in range(max(0, start - lag), start + 1):
        remembered.rates = table_after(number)
        remembered.history[number % (lag + 1)] = remembered.rates
    feedback = Feedback(remembered, start)
    views = Views(labeled={"weak": "weak"}, unlabeled={"strong": "ctaugment"}, params=("strong",))
    sampling, placement = Sampling(0, 4, 8, start=start), Placement(CPU, steps_per_call=per_call)
    loader = Loader(data_set(), split(), views, sampling, placement, feedback)
    found = []
    for step in range(start, steps):
        found.append(next(loader).params["strong"]["values"].clone())
        time.sleep(pause)
        remembered.rates = table_after(step + 1)
        feedback.send(step + 1)
    return found


def test_a_step_draws_by_the_rates_of_lag_steps_before():
    """Whatever the speed of the steps, the steps per call, and where the run is resumed."""
    lag, steps = 8, 20
    found = scripted_batches(steps, lag, per_call=1)
    view = build_view("ctaugment", geometry(16, pad=2), operations="kernel")
    for step, values in enumerate(found):
        numbers = np.arange(8 * step, 8 * step + 8)
        drawn = counted(0, "view/unlabeled/strong", numbers, view.uniforms)
        table = table_after(max(0, step - lag)).numpy()
        np.testing.assert_array_equal(values.numpy(), view.with_table(table).params(drawn, None)["values"])
    for others in (scripted_batches(steps, lag, 2, pause=0.01), scripted_batches(steps, lag, 1, start=11)):
        assert all(torch.equal(a, b) for a, b in zip(found[-len(others) :], others, strict=True))


def test_a_batch_without_its_step_is_an_error_and_not_a_deadlock():
    remembered = Scripted(4)
    feedback = Feedback(remembered)
    assert np.array_equal(feedback.table(4), table_after(0).numpy())
    with pytest.raises(RuntimeError, match="batch of step 5 is drawn by the rates after 1 steps"):
        feedback.table(5)


@pytest.mark.gpu
def test_tables_leave_the_gpu_without_waiting():
    remembered = Scripted(4)
    remembered.rates, remembered.history = remembered.rates.cuda(), remembered.history.cuda()
    feedback = Feedback(remembered)
    tables = [table_after(number).cuda() for number in range(1, 10)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number, table in enumerate(tables, start=1):
            remembered.rates.copy_(table)
            feedback.send(number)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for number in range(5, 10):
        assert np.array_equal(feedback.table(number + 4), table_after(number).numpy())
        assert torch.equal(remembered.history[number % 5].cpu(), table_after(number))


def test_a_lag_shorter_than_what_is_drawn_ahead_is_refused():
    def problems(*fields: str) -> str:
        return "\n".join(find_problems(resolve(["--algorithm.strong", "ctaugment", "--device", "cpu", *fields])[1]))

    assert problems("--data.ctaugment-lag", str(CALLS_AHEAD)) == ""
    with pytest.raises(ValueError, match="a lag of 7 steps for calls of 2"):
        scripted_batches(2, lag=7, per_call=2)
    with pytest.raises(UserError, match=r"data\.ctaugment_lag: .* take at least 4"):
        resolve(["--algorithm.strong", "ctaugment", "--device", "cpu", "--data.ctaugment-lag", "3"])
    with pytest.raises(UserError, match="take at least 40"):
        resolve(["--algorithm.strong", "ctaugment", "--device", "cpu", "--data.steps-per-call", "10"])
    with pytest.raises(UserError, match=r"algorithm\.strong.*unknown"):
        resolve(["--algorithm.strong", "ctaugment(3)", "--device", "cpu"])


def test_only_methods_with_labeled_images_and_one_network_learn_strengths():
    class Two(FixMatch):
        roles = ("student", "teacher")

    cfg = FixMatch.Config(strong="ctaugment")
    assert ctaugment.ctaugment_problems(FixMatch, cfg, lag=4, ahead=4) == []
    assert "algorithm.strong: ctaugment learns" in ctaugment.ctaugment_problems(Two, cfg, lag=4, ahead=4)[0]
    assert ctaugment.ctaugment_problems(Two, FixMatch.Config(), lag=1, ahead=4) == []


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
        trainer.algorithm.augment.rates.copy_(table_after(7))
        return trainer

    whole = scattered(trainer_of(tmp_path / "whole"))
    images = stepped(whole, 9)
    halves = scattered(trainer_of(tmp_path / "halves"))
    first = stepped(halves, 3)
    halves.save()
    halves.writer.finish()
    resumed = trainer_of(tmp_path / "halves")
    checkpoint = checkpoints.latest(tmp_path / "halves" / "checkpoints")
    resumed.restore(checkpoints.load_checkpoint(checkpoint))
    again = first + stepped(resumed, 9)
    assert all(torch.equal(a, b) for a, b in zip(images, again, strict=True))
    assert same(whole.algorithm.state_dict(), resumed.algorithm.state_dict(), 0)
    history = whole.algorithm.augment.history
    assert not torch.equal(history[0], history[1]) and not torch.equal(whole.algorithm.augment.rates, table_after(7))
