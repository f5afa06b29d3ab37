"""AugMix: its draws, its limit, and the mixture against Pillow."""

import numpy as np
import pytest

from semisonic.data.views import policies as pools
from semisonic.data.views.registry import build_view
from semisonic_kernels import augment as kernel
from tests.support import pil_reference
from tests.support.views import geometry, pictures, run_weak, uniforms

pytestmark = [pytest.mark.filterwarnings("ignore:The external source node"), pytest.mark.kernels("fused")]


def test_augmix_draws():
    view = build_view("augmix", geometry())
    params = view.params(uniforms(view, 20_000), None)
    weights = params["weights"].astype(float)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.quantile(1 - weights[:, 0], [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)
    shares = weights[:, 1:] / (1 - weights[:, :1])
    # Every share of Dirichlet(1, 1, 1) is Beta(1, 2): distribution function 1 - (1 - x)^2.
    for share in shares.T:
        np.testing.assert_allclose(np.quantile(share, [0.25, 0.5, 0.75]), 1 - np.sqrt([0.75, 0.5, 0.25]), atol=0.02)
    assert np.corrcoef(shares.T)[0, 1] == pytest.approx(-0.5, abs=0.03)
    applied = params["operations"] != kernel.NONE
    depth = applied.sum(axis=2)
    assert np.bincount(depth.ravel())[1:] == pytest.approx(20_000, rel=0.03) and (depth > 0).all()
    assert (applied[..., :-1] >= applied[..., 1:]).all()
    masks = params["values"][params["operations"] == kernel.POSTERIZE]
    assert set(masks) == {256 - 2**4, 256 - 2**5}  # 4 bits, or from level 2.5 of 10 on one less
    thresholds = params["values"][params["operations"] == kernel.SOLARIZE]
    assert thresholds.max() <= 256 - 2 and thresholds.min() >= 256 - 76


@pytest.mark.parametrize("where", ["dali", "kernel"])
def test_augmix_with_m_0_is_weak(where):
    view, weak = build_view("augmix", geometry(), operations=where), build_view("weak", geometry())
    values, images = uniforms(view, 30), pictures(30, 32)
    values[:, -5] = 0
    np.testing.assert_array_equal(run_weak(view, images, values), run_weak(weak, images, values[:, :4]))
    values[:, -5] = 0.9
    assert (run_weak(view, images, values) != run_weak(weak, images, values[:, :4])).mean() > 0.3


def test_augmix_equals_pillow_end_to_end():
    view = build_view("augmix(3)", geometry(), equalize="pil")
    values, images = uniforms(view, 60, seed=5), pictures(60, 32)
    ours = run_weak(view, images, values)
    weak = run_weak(build_view("weak", geometry()), images, values[:, :4])
    names = list(pools.AUGMIX_OPERATIONS)
    weights = view.params(values, None)["weights"]
    for n, image in enumerate(weak):
        operation, magnitude = pools.draw_operations(view.chain.policy, values[n, 4:-8].reshape(-1, 4))
        total = weights[n, 0] * image
        for chain in range(3):
            mixed = image
            for k in range(3 * chain, 3 * chain + 1 + int(3 * values[n, -4 + chain])):
                name, m = names[operation[k]], magnitude[k]
                mixed = pil_reference.apply(name, mixed, int(m * 32) / 32 if name.startswith("translate") else m)
            total = total + weights[n, chain + 1] * mixed
        delta = np.abs(ours[n] - total)
        assert np.quantile(delta, 0.98) <= 0.501  # Pillow may rotate a pixel to its neighbor
