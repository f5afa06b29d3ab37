"""What a step of an algorithm does, as the reference has it."""

import pytest

from _extension.steps import observe
from semisonic.algorithms.registry import ALGORITHMS
from semisonic_kernels import collectives


@pytest.mark.parametrize(
    "name, images, forward, backward",
    [
        ("supervised", (64, 0), 64, 64),
        ("mean-teacher", (64, 64), 192, 128),
        ("vat", (64, 64), 256, 256),
        ("mixmatch", (64, 64), 320, 192),
        ("remixmatch", (64, 64), 448, 384),
        ("fixmatch", (64, 448), 960, 960),
        ("adamatch", (64, 192), 640, 640),
        ("comatch", (64, 448), 1408, 1408),
    ],
)
def test_images_are_counted_as_in_the_papers(name: str, images: tuple[int, int], forward: int, backward: int):
    found = observe(name)
    assert (found.labeled, found.unlabeled) == images
    assert (found.forward, found.backward) == (forward, backward)


def test_state_and_gathered_tensors_are_the_method_s_own():
    found = observe("flexmatch")
    assert found.state == {"learned": "int64 [50,000]"}
    assert found.gathered == {"index": "int64 [448]", "label": "int64 [448]"}
    assert observe("fixmatch").state == observe("fixmatch").gathered == {}
    assert observe("remixmatch").modules == ("rotation",)
    assert observe("mpl").modules == ("teacher",)


def test_what_a_loss_asks_the_ranks_for_is_noted_and_the_functions_are_as_before():
    before = collectives.mean
    observe.cache_clear()
    assert observe("remixmatch").exchanged == ("mean of float32 [10]",)
    assert collectives.mean is before


def test_a_step_of_every_algorithm_can_be_taken():
    assert all(observe(name).forward >= observe(name).backward > 0 for name in ALGORITHMS)
