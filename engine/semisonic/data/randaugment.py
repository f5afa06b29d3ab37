"""RandAugment as a view: DALI operators, or DALI's window and the fused kernel; same draws, same pixels.

Shape suffixes: N samples, K uniforms of one sample, L levels of operations, O operations of a pool.
"""

from collections.abc import Mapping

import numpy as np
from nvidia.dali import fn
from nvidia.dali.auto_aug.core import select
from nvidia.dali.data_node import DataNode
from torch import Tensor

from semisonic.data.operations import CODES, MATRICES, VALUES, branch, erase, hole_matrix, warp
from semisonic.data.pools import Policy, clipped_hole, draw_hole, draw_operations
from semisonic.data.views import Geometry, View, Weak, int32, place
from semisonic_kernels.augment import EQUALIZE, NONE, augment


class RandAugment(View):
    """`weak`, then a policy's operations, then its Cutout (arXiv 1909.13719 and its descendants)."""

    def __init__(self, geometry: Geometry, policy: Policy, equalize: str = "dali", operations: str = "dali"):
        self.geometry, self.policy, self.equalize = geometry, policy, equalize
        self.weak = Weak(geometry)
        self.uniforms = self.weak.uniforms + 4 * policy.levels + 4 * (policy.cutout is not None)
        pool = list(policy.operations)
        self.branches: list = []
        self.always_a_branch = False
        if operations == "dali":
            # Every geometric operation is one warp, marked by -1, a hole by -2; others are numbered by their branch.
            marks = dict.fromkeys(MATRICES, -1) | {"cutout": -2}
            others = [name for name in pool if name not in marks]
            self.branches = [branch(name, geometry.size, geometry.device, equalize) for name in others]
            codes, none = [marks.get(name) or others.index(name) for name in pool], -1
            self.always_a_branch = policy.probability == 1 and min(codes, default=0) >= 0
        else:
            codes, none = [CODES[name] for name in pool], NONE
            self.finishing = ("operations", "values", "matrices", *(["holes"] if policy.cutout else []))
        self.extended = bool(self.finishing) and max(codes, default=0) > EQUALIZE
        self._code_O = np.array([*codes, none], np.int32)  # operation -1 is the last

    def params(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> dict[str, np.ndarray]:
        first, levels = self.weak.uniforms, self.policy.levels
        params = self.weak.params(uniforms_NK[:, :first], shapes_N2)
        blocks = uniforms_NK[:, first : first + 4 * levels].reshape(-1, 4)
        encoded = self.encode(*draw_operations(self.policy, blocks), blocks[:, 1:3])
        count = len(uniforms_NK)
        code_NL, value_NL, matrix_NL23 = (array.reshape(count, levels, *array.shape[1:]) for array in encoded)
        if self.finishing:
            params |= {"operations": code_NL, "values": value_NL, "matrices": matrix_NL23}
        else:
            for name, array in (("code", code_NL), ("value", value_NL), ("matrix", matrix_NL23)):
                params |= {f"{name}{level}": np.ascontiguousarray(array[:, level]) for level in range(levels)}
        if self.policy.cutout is not None:
            start_N2, stop_N2 = draw_hole(self.policy.cutout, uniforms_NK[:, -4:], self.geometry.size)
            if self.finishing:
                params["holes"] = int32(np.concatenate([start_N2, stop_N2], axis=1))
            else:
                params["hole_start"] = start_N2.astype(np.float32)
                params["hole_shape"] = (stop_N2 - start_N2).astype(np.float32)
        return params

    def encode(
        self, operation_N: np.ndarray, magnitude_N: np.ndarray, centres_N2: np.ndarray | None = None
    ) -> tuple[np.ndarray, ...]:
        """Operations (-1: none), magnitudes and uniforms for a hole's centre (y, x) -> codes [N], their arguments [N],
        warps or holes [N, 2, 3].

        The uniforms may be those of strength and sign, where holes use neither.
        """
        value_N = magnitude_N.copy()
        matrix_N23 = np.tile(np.eye(2, 3), (len(operation_N), 1, 1))
        for index, name in enumerate(self.policy.operations):
            chosen = np.flatnonzero(operation_N == index)
            if name == "cutout" and centres_N2 is not None:
                side_C1 = np.trunc(magnitude_N[chosen, None] * self.geometry.size)
                matrix_N23[chosen] = hole_matrix(*clipped_hole(side_C1, centres_N2[chosen], self.geometry.size))
            if name not in VALUES and name not in MATRICES:
                continue
            if name in VALUES:
                value_N[chosen] = VALUES[name](magnitude_N[chosen])
                continue
            magnitude_C, size = magnitude_N[chosen], self.geometry.size
            if name.startswith("translate"):
                magnitude_C = magnitude_C * size
                magnitude_C = np.trunc(magnitude_C) if self.policy.whole_pixels else magnitude_C
            MATRICES[name](matrix_N23, chosen, magnitude_C, size)
        return self._code_O[operation_N], value_N.astype(np.float32), matrix_N23.astype(np.float32)

    def graph(self, source: DataNode, params: Mapping[str, DataNode]) -> DataNode:
        image = self.weak.graph(source, params)
        if self.finishing:
            return image
        for level in range(self.policy.levels):
            code, value, matrix = (params[f"{name}{level}"] for name in ("code", "value", "matrix"))
            # Arithmetic wants its operands on one device; predicates and warps take theirs from the host.
            image = self._level(image, code, place(value, self.geometry), matrix)
        if self.policy.cutout is not None:
            anchor, shape = params["hole_start"], params["hole_shape"]
            image = fn.erase(image, anchor=anchor, shape=shape, axis_names="HW", fill_value=list(map(float, self.fill)))
        return image

    @property
    def fill(self) -> tuple[int, int, int]:
        """The holes' colour."""
        own = self.policy.cutout.fill if self.policy.cutout else self.policy.hole_fill
        return own or self.geometry.fill

    def finish(self, images: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        if not self.finishing:
            return images
        operations, values, matrices = (params[name] for name in ("operations", "values", "matrices"))
        return augment(
            images, operations, values, matrices, params.get("holes"), self.fill, self.equalize, self.extended
        )

    def _level(self, image: DataNode, code: DataNode, value: DataNode, matrix: DataNode) -> DataNode:
        """A warp where code is -1, a hole where it is -2, else branches[code](image, value).

        Conditionals split the batch. The cost is operators times samples, not pixels: the frequent warp comes first,
        the others by halving.
        """
        if not self.branches:
            return warp(image, matrix, self.geometry.size)
        if self.always_a_branch:
            return select(self.branches, code, image, value)
        if "cutout" in self.policy.operations:
            image = self._level_with_holes(image, code, value, matrix)
        elif code < 0:
            image = warp(image, matrix, self.geometry.size)
        else:
            image = select(self.branches, code, image, value)
        return image

    def _level_with_holes(self, image: DataNode, code: DataNode, value: DataNode, matrix: DataNode) -> DataNode:
        if code < -1:
            image = erase(image, matrix, self.fill)
        elif code < 0:
            image = warp(image, matrix, self.geometry.size)
        else:
            image = select(self.branches, code, image, value)
        return image
