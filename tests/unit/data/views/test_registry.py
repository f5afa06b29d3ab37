"""All views: the same on a GPU, never flipped where digits are shown, and specs that are refused."""

import numpy as np
import pytest

from semisonic.data.sets.torchvision_sets import KNOWN
from semisonic.data.views import registry as augment
from semisonic.data.views.registry import build_view, view_examples
from semisonic.schema import UserError
from tests.support.augmentation import differing_values
from tests.support.views import difference, geometry, pictures, reflect, run, uniforms

pytestmark = pytest.mark.filterwarnings("ignore:The external source node")


@pytest.mark.parametrize(
    "spec", ["", "fixmtach", "weak(1)", "plain(2)", "noise(a)", "noise(1,2)", "cutouts", "augmix(1,2)", "a b"]
)
def test_unknown_spec_lists_the_valid_ones(spec):
    with pytest.raises(UserError) as error:
        build_view(spec, geometry())
    assert all(name in str(error.value) for name in augment.view_specs())


@pytest.mark.parametrize(
    "spec",
    [
        "randaugment",
        "randaugment(2)",
        "randaugment(0,9)",
        "randaugment(1.5,9)",
        "randaugment(2,31)",
        "randaugment(2,-1)",
        "noise(-0.1)",
        "augmix(0)",
        "augmix(11)",
        "simclr(-1)",
        "cutout",
        "cutout(0)",
        "cutout(1.5)",
        "cutout(nan)",
        "randaugment(nan,1)",
        "randaugment(2,9,0.5,256)",
        "randaugment(2,1..31)",
        "fixmatch(-1)",
        "fixmatch(1.5)",
        "fixmatch(nan)",
        "fixmatch(0.5,1,2)",
        "usb(16,0.5)",
        "usb(inf)",
        "cutout(16,-1)",
    ],
)
def test_arguments_out_of_range(spec):
    with pytest.raises(UserError, match=spec.split("(")[0]):
        build_view(spec, geometry())


@pytest.mark.parametrize(
    "spec", ["randaugment(1..2,9)", "randaugment(2,9,8..16)", "kekmodel(8..16)", "noise(0.1..0.2)", "augmix(1..3)"]
)
def test_what_cannot_grow_is_refused_with_what_can(spec):
    with pytest.raises(UserError, match=r"grows over a run.*randaugment\(2,1\.\.9\)"):
        build_view(spec, geometry())
    with pytest.raises(UserError, match="unknown"):
        build_view("randaugment(2,1..)", geometry())


def test_a_spec_that_grows_is_told():
    assert augment.grows("randaugment(2,1..9)") and augment.grows(" randaugment( 2, 9 .. 1 )")
    assert not augment.grows("randaugment(2,9)") and not augment.grows("weak")


def test_equalize_option_is_checked():
    with pytest.raises(UserError, match=r"data\.equalize"):
        build_view("fixmatch", geometry(), equalize="opencv")
    with pytest.raises(UserError, match=r"data\.equalize.*data\.operations=kernel"):
        build_view("fixmatch", geometry(device="gpu"), equalize="pil")
    for where in ("kernel", "auto"):
        assert build_view("fixmatch", geometry(device="gpu"), equalize="pil", operations=where).kernel_params
    with pytest.raises(UserError, match=r"data\.operations.*'auto', 'dali' or 'kernel'"):
        build_view("fixmatch", geometry(), operations="gpu")


@pytest.mark.gpu
@pytest.mark.parametrize("spec", augment.view_examples())
def test_gpu_equals_cpu(spec):
    """The same operators; the GPU may round a gray value or a histogram step the other way."""
    images = reflect(pictures(96, 32), 4)
    outputs = []
    for device, device_id in (("cpu", None), ("gpu", 0)):
        view = build_view(spec, geometry(device=device))
        outputs.append(run(view, images, view.params(uniforms(view, 96), None), device_id=device_id))
    assert difference(*outputs)[1] < 0.01


@pytest.mark.kernels("fused")
@pytest.mark.gpu
@pytest.mark.parametrize("spec", ["mpl", "ctaugment", "ctaugment-probe", "augmix", "simclr", "cutout(16)"])
def test_finished_on_a_gpu_equals_cpu(spec):
    images, outputs = reflect(pictures(96, 32), 4), []
    for device, device_id in (("cpu", None), ("gpu", 0)):
        view = build_view(spec, geometry(device=device), operations="kernel")
        outputs.append(run(view, images, view.params(uniforms(view, 96), None), device_id=device_id))
    share = differing_values(*outputs)[1]
    assert share == 0 or (spec == "simclr" and share < 0.05)  # DALI's resize rounds differently


@pytest.mark.kernels("fused")
@pytest.mark.parametrize("spec", view_examples())
def test_digits_are_not_flipped(spec):
    """Mirrored digits are other symbols: no view may flip them where the data set says so, as SVHN does."""
    assert not KNOWN["svhn"].flip
    for flip in (KNOWN["svhn"].flip, KNOWN["cifar10"].flip):
        view = build_view(spec, geometry(flip=flip))
        params = view.params(uniforms(view, 100), None)
        flipped = params["mirror"] if "mirror" in params else params.get("window", np.eye(2, 3)[None])[:, 0, 0] < 0
        assert bool(flipped.any()) == (flip and spec != "plain")
