"""AugMix (Hendrycks et al. 2020, arXiv 1912.02781): a mixture of the image and of three chains of operations on it.

    x' = (1 - m) x + m sum_i w_i chain_i(x),   w ~ Dirichlet(1, 1, 1),  m ~ Beta(1, 1)

Shape suffixes: N samples, K uniforms of one sample, L operations of a chain, 3 chains, 4 weights.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from semisonic.data.views.applied import Applied
from semisonic.data.views.policies import AUGMIX_OPERATIONS, Policy, draw_operations
from semisonic.data.views.randaugment import RandAugment
from semisonic.data.views.view import Geometry, View, int32
from semisonic_kernels.augment import augment, augment_reference
from semisonic_kernels.augment_mix import mix_chains, mix_chains_reference

if TYPE_CHECKING:
    from semisonic.data.views.dali_operators import DataNode

CHAINS, DEEPEST = 3, 3
LEAST = 0.1
"""Smallest level of an operation, on the scale of which 10 is its whole range."""


class AugMix(View):
    """`weak`, then three chains of one to three operations each, at levels U(0.1, severity) of 10, and their mixture.

    Chains and mixture are made by fused kernels, or with `operations="dali"` by their plain-torch definitions.
    """

    kernel_params = ("operations", "values", "matrices", "weights")

    def __init__(self, geometry: Geometry, severity: float = 3.0, equalize: str = "dali", operations: str = "kernel"):
        def strength(uniform_N: np.ndarray) -> np.ndarray:
            return (LEAST + (severity - LEAST) * uniform_N) / 10

        policy = Policy(AUGMIX_OPERATIONS, levels=CHAINS * DEEPEST, strength=strength, whole_pixels=True)
        self.chain = RandAugment(geometry, policy, equalize, "kernel")
        self.geometry, self.equalize = geometry, equalize
        reference = operations == "dali"
        self.augment = augment_reference if reference else augment
        self.mix = mix_chains_reference if reference else mix_chains
        self.uniforms = self.chain.uniforms + 8

    def params(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> dict[str, np.ndarray]:
        count = len(uniforms_NK)
        params = self.chain.weak.params(uniforms_NK[:, : self.chain.weak.uniforms], shapes_N2)
        operation_N3L, magnitude_N3L = self._drawn(uniforms_NK)
        codes, values, matrices = self.chain.encode(operation_N3L.ravel(), magnitude_N3L.ravel())
        return params | {
            "operations": int32(codes.reshape(count, CHAINS, DEEPEST)),
            "values": values.reshape(count, CHAINS, DEEPEST),
            "matrices": matrices.reshape(count, CHAINS, DEEPEST, 2, 3),
            "weights": self._weights(uniforms_NK),
        }

    def _drawn(self, uniforms_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Operations of the chains, -1 beyond their depths, and magnitudes: [N, 3, L] each."""
        blocks = uniforms_NK[:, self.chain.weak.uniforms : -8].reshape(-1, 4)
        operation_N3L, magnitude_N3L = (
            drawn.reshape(len(uniforms_NK), CHAINS, DEEPEST) for drawn in draw_operations(self.chain.policy, blocks)
        )
        depth_N31 = 1 + np.floor(DEEPEST * uniforms_NK[:, -4:-1, None])
        return np.where(np.arange(DEEPEST) < depth_N31, operation_N3L, -1), magnitude_N3L

    def _weights(self, uniforms_NK: np.ndarray) -> np.ndarray:
        """Of the image and of the three chains, float32 [N, 4]."""
        share_N3 = -np.log1p(-uniforms_NK[:, -8:-5])  # exponentials, divided by their sum, are Dirichlet(1, 1, 1)
        share_N3 /= np.maximum(share_N3.sum(axis=1, keepdims=True), 1e-300)
        mixed_N1 = uniforms_NK[:, -5:-4]
        return np.hstack([1 - mixed_N1, mixed_N1 * share_N3]).astype(np.float32)

    def applied(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> list[list[Applied]]:
        found = self.chain.weak.applied(uniforms_NK[:, : self.chain.weak.uniforms], shapes_N2)
        drawn = zip(*(array.tolist() for array in (*self._drawn(uniforms_NK), self._weights(uniforms_NK))), strict=True)
        for done, (operation_3L, magnitude_3L, (own, *shares)) in zip(found, drawn, strict=True):
            done.append(Applied(f"{own:.0%} as it is"))
            for operations, magnitudes, share in zip(operation_3L, magnitude_3L, shares, strict=True):
                chain = [self.chain.applied_one(*one) for one in zip(operations, magnitudes, strict=True)]
                done.append(Applied(f"{share:.0%} {', '.join(one.text for one in chain if one)}"))
        return found

    def graph(self, source: "DataNode", params: Mapping[str, "DataNode"]) -> "DataNode":
        return self.chain.weak.graph(source, params)

    def apply_kernel(self, images: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        codes, values, matrices = (params[name].flatten(0, 1) for name in ("operations", "values", "matrices"))
        copies = torch.repeat_interleave(images, CHAINS, dim=0)
        chains = self.augment(copies, codes, values, matrices, None, self.geometry.fill, self.equalize)
        return self.mix(images, chains.unflatten(0, (-1, CHAINS)), params["weights"])
