"""RandAugment as a view: DALI operators, or DALI's window and the fused kernel; same draws, same pixels.

Shape suffixes: N samples, K uniforms of one sample, L levels of operations, O operations of a policy.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from semisonic.data.views.applied import FORMS, Applied, of_holes
from semisonic.data.views.operations import CODES, HOLED, MATRICES, VALUES, WARPED, hole_matrix
from semisonic.data.views.policies import Policy, clipped_hole, draw_hole, draw_operations
from semisonic.data.views.view import Geometry, View, Weak, int32
from semisonic_kernels.augment import EQUALIZE, NONE, augment

if TYPE_CHECKING:
    from semisonic.data.views.dali_operators import DataNode


class RandAugment(View):
    """`weak`, then a policy's operations, then its Cutout (arXiv 1909.13719 and its descendants)."""

    def __init__(self, geometry: Geometry, policy: Policy, equalize: str = "dali", operations: str = "dali"):
        self.geometry, self.policy, self.equalize = geometry, policy, equalize
        self.weak = Weak(geometry)
        self.last: float | None = None
        """Strength at the run's last step, where it grows."""
        self.uniforms = self.weak.uniforms + 4 * policy.levels + 4 * (policy.cutout is not None)
        names = list(policy.operations)
        self.branches: list[str] = []
        """Operations with a DALI operator of their own."""
        if operations == "dali":
            # Every geometric operation is one warp; what is neither that nor a hole is numbered.
            marks = dict.fromkeys(MATRICES, WARPED) | {"cutout": HOLED}
            self.branches = [name for name in names if name not in marks]
            codes, none = [marks.get(name) or self.branches.index(name) for name in names], WARPED
        else:
            codes, none = [CODES[name] for name in names], NONE
            self.kernel_params = ("operations", "values", "matrices", *(["holes"] if policy.cutout else []))
        self.warps = policy.probability < 1 or min(codes, default=WARPED) < 0
        self.extended = bool(self.kernel_params) and max(codes, default=0) > EQUALIZE
        self._code_O = np.array([*codes, none], np.int32)  # operation -1 is the last

    def growing_to(self, last: View) -> View:
        end = last.policy if isinstance(last, RandAugment) else self.policy
        if end.fixed is None or replace(end, fixed=self.policy.fixed) != self.policy:
            raise ValueError("only M grows over a run, e.g. randaugment(2,1..9)")
        other = copy.copy(self)
        other.last, other.grows = end.fixed, True
        return other

    def at(self, share: float) -> View:
        first, last = self.policy.fixed, self.last
        if first is None or last is None:
            return self
        other = copy.copy(self)
        # So that both ends are exact, and equal ones give a constant.
        other.policy = replace(self.policy, fixed=last if share >= 1 else first + share * (last - first))
        return other

    def params(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> dict[str, np.ndarray]:
        levels = self.policy.levels
        params = self.weak.params(uniforms_NK[:, : self.weak.uniforms], shapes_N2)
        encoded = self.encode(*self._drawn(uniforms_NK))
        count = len(uniforms_NK)
        code_NL, value_NL, matrix_NL23 = (array.reshape(count, levels, *array.shape[1:]) for array in encoded)
        if self.kernel_params:
            params |= {"operations": code_NL, "values": value_NL, "matrices": matrix_NL23}
        else:
            for name, array in (("code", code_NL), ("value", value_NL), ("matrix", matrix_NL23)):
                params |= {f"{name}{level}": np.ascontiguousarray(array[:, level]) for level in range(levels)}
        if self.policy.cutout is not None:
            start_N2, stop_N2 = self._hole(uniforms_NK)
            if self.kernel_params:
                params["holes"] = int32(np.concatenate([start_N2, stop_N2], axis=1))
            else:
                params["hole_start"] = start_N2.astype(np.float32)
                params["hole_shape"] = (stop_N2 - start_N2).astype(np.float32)
        return params

    def _drawn(self, uniforms_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the operations of all samples, one after the other: as `draw_operations`, and uniforms for holes' centers
        (y, x), [N L, 2]."""
        first = self.weak.uniforms
        blocks = uniforms_NK[:, first : first + 4 * self.policy.levels].reshape(-1, 4)
        return (*draw_operations(self.policy, blocks), blocks[:, 1:3])

    def _hole(self, uniforms_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert self.policy.cutout is not None
        return draw_hole(self.policy.cutout, uniforms_NK[:, -4:], self.geometry.size)

    def applied(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> list[list[Applied]]:
        count = len(uniforms_NK)
        operation_N, magnitude_N, _ = self._drawn(uniforms_NK)
        done = [self.applied_one(*drawn) for drawn in zip(operation_N.tolist(), magnitude_N.tolist(), strict=True)]
        levels = [
            [done[sample * self.policy.levels + level] for level in range(self.policy.levels)]
            for sample in range(count)
        ]
        holes: list[list[Applied]] = [[] for _ in range(count)]
        if self.policy.cutout is not None:
            holes = of_holes(np.concatenate(self._hole(uniforms_NK), axis=1))
        weak = self.weak.applied(uniforms_NK[:, : self.weak.uniforms], shapes_N2)
        parts = zip(weak, levels, holes, strict=True)
        return [[*first, *filter(None, then), *last] for first, then, last in parts]

    def applied_one(self, operation: int, magnitude: float) -> Applied | None:
        """One operation of those of the policy at a magnitude; -1: none."""
        if operation < 0:
            return None
        name = list(self.policy.operations)[operation]
        if name == "cutout":
            magnitude = float(np.trunc(magnitude * self.geometry.size))
        if name == "posterize":
            magnitude = min(max(magnitude, 1), 8)
        return Applied(name, magnitude if name in FORMS and self.policy.operations[name] is not None else None)

    def encode(
        self, operation_N: np.ndarray, magnitude_N: np.ndarray, centers_N2: np.ndarray | None = None
    ) -> tuple[np.ndarray, ...]:
        """Operations (-1: none), magnitudes and uniforms for a hole's center (y, x) -> codes [N], their arguments [N],
        warps or holes [N, 2, 3].

        The uniforms may be those of strength and sign, where holes use neither.
        """
        value_N = magnitude_N.copy()
        matrix_N23 = np.tile(np.eye(2, 3), (len(operation_N), 1, 1))
        for index, name in enumerate(self.policy.operations):
            chosen = np.flatnonzero(operation_N == index)
            if name == "cutout" and centers_N2 is not None:
                side_C1 = np.trunc(magnitude_N[chosen, None] * self.geometry.size)
                matrix_N23[chosen] = hole_matrix(*clipped_hole(side_C1, centers_N2[chosen], self.geometry.size))
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

    def graph(self, source: "DataNode", params: Mapping[str, "DataNode"]) -> "DataNode":
        image = self.weak.graph(source, params)
        if self.kernel_params:
            return image
        from semisonic.data.views import dali_operators as dali

        size, device, holes = self.geometry.size, self.geometry.device, "cutout" in self.policy.operations
        apply = dali.Level(self.branches, size, device, self.equalize, self.fill, self.warps, holes)
        for level in range(self.policy.levels):
            image = apply(image, params[f"code{level}"], params[f"value{level}"], params[f"matrix{level}"])
        if self.policy.cutout is not None:
            image = dali.erase(image, params["hole_start"], params["hole_shape"], self.fill)
        return image

    @property
    def fill(self) -> tuple[int, int, int]:
        """The holes' color."""
        own = self.policy.cutout.fill if self.policy.cutout else self.policy.hole_fill
        return own or self.geometry.fill

    def apply_kernel(self, images: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        if not self.kernel_params:
            return images
        operations, values, matrices = (params[name] for name in ("operations", "values", "matrices"))
        return augment(
            images, operations, values, matrices, params.get("holes"), self.fill, self.equalize, self.extended
        )
