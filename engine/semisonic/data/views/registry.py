"""The views of an image by their specs, such as "weak" or "randaugment(2,9)".

`view.py` says what a view is; each kind has a file of its own.
"""

import re

from semisonic.data.views.augmix import LEAST, AugMix
from semisonic.data.views.ctaugment import CTAugment
from semisonic.data.views.policies import POLICIES, Cutout, Policy, Range, randaugment_policy
from semisonic.data.views.randaugment import RandAugment
from semisonic.data.views.simclr import SimCLR
from semisonic.data.views.view import Geometry, Plain, View, Weak
from semisonic.schema import UserError

VIEW_SPECS = {
    "plain": "the central window, no randomness",
    "whole": "the whole image, resized to the square, no randomness",
    "weak": "random crop (reflect-padded, or resized from a file), and a flip where the data set allows it",
    "fixmatch": "weak, 2 operations of the paper's list, uniform magnitudes, Cutout of up to half the width",
    "usb": "as fixmatch with 3 operations, Cutout filled with (125, 123, 114)",
    "kekmodel": "weak, 2 operations each with p = 0.5 at 9 magnitudes, a 16-pixel Cutout filled with 127",
    "mpl": "weak, 2 of 15 operations (with inversion and gray Cutout) at magnitude 16 of 10, each with p = 0.5",
    "randaugment(N,M)": "weak, N operations at global magnitude M of 0..30, no Cutout",
    "ctaugment": "weak, 2 of 19 operations at strengths learned from the model, Cutout of half the width",
    "ctaugment-plain": "as ctaugment without Cutout",
    "ctaugment-probe": "as ctaugment-plain with uniform strengths; a labeled one is added where ctaugment is used",
    "augmix(SEVERITY)": "weak, mixed with three chains of up to 3 operations at levels up to SEVERITY of 10; plain "
    "`augmix` is augmix(3)",
    "simclr(STRENGTH)": "resized crop, flip where allowed, color jitter (p = 0.8), gray (p = 0.2); plain `simclr` is "
    "simclr(0.5)",
    "cutout(PIXELS)": "weak, then a square hole of that side in the data set's mean color",
    "noise(STD)": "weak, then Gaussian noise in normalized units; plain `noise` is noise(0.15)",
}
"""What `build_view` accepts, with one line each."""

EXAMPLES = [
    *("plain", "weak", "fixmatch", "usb", "kekmodel", "mpl", "randaugment(2,9)"),
    *("ctaugment", "ctaugment-probe", "augmix", "simclr", "cutout(16)", "noise"),
]
"""One view of every kind."""


def build_view(spec: str, geometry: Geometry, equalize: str = "dali", operations: str = "dali") -> View:
    """The view of a spec of `VIEW_SPECS`, e.g. "fixmatch" or "randaugment(2,9)".

    `operations` says where RandAugment's operations and Cutout run: "dali", as DALI operators, or "kernel" (also
    "auto"), in `apply_kernel`; draws and pixels are the same. `equalize` chooses between DALI's histogram equalization
    (OpenCV's formula) and Pillow's ("pil"; on a GPU only in the kernel), whose integer steps saturate up to a quarter
    of the pixels of a small image. UserError for an unknown spec, arguments out of range, or Pillow's formula as a
    DALI operator on a GPU.
    """
    if equalize not in ("dali", "pil"):
        raise UserError(f"data.equalize: {equalize!r} is not valid; choose 'dali' or 'pil'")
    if operations not in ("auto", "dali", "kernel"):
        raise UserError(f"data.operations: {operations!r} is not valid; choose 'auto', 'dali' or 'kernel'")
    if equalize == "pil" and operations == "dali" and geometry.device == "gpu":
        raise UserError("data.equalize: 'pil' is no DALI operator on a GPU; choose data.operations=kernel, or 'dali'")
    name, arguments = _parse(spec)
    if name == "plain" and not arguments:
        return Plain(geometry)
    if name == "whole" and not arguments:
        return Plain(geometry, whole=True)
    if name == "weak" and not arguments:
        return Weak(geometry)
    if name in POLICIES and not arguments:
        return RandAugment(geometry, POLICIES[name], equalize, operations)
    if name == "randaugment":
        return RandAugment(geometry, randaugment_policy(spec, arguments), equalize, operations)
    if name in ("ctaugment", "ctaugment-plain", "ctaugment-probe") and not arguments:
        return CTAugment(geometry, name.endswith("probe"), name == "ctaugment", equalize, operations)
    if name in ("augmix", "simclr", "cutout") and len(arguments) <= 1:
        return _with_argument(spec, name, arguments, geometry, equalize, operations)
    if name == "noise" and len(arguments) <= 1:
        noise_std = arguments[0] if arguments else 0.15
        if noise_std < 0:
            raise UserError(f"augmentation {spec!r}: the standard deviation must be at least 0")
        return Weak(geometry, noise_std)
    raise _unknown(spec)


def _with_argument(
    spec: str, name: str, arguments: list[float], geometry: Geometry, equalize: str, operations: str
) -> View:
    if name == "augmix":
        severity = arguments[0] if arguments else 3.0
        if not LEAST <= severity <= 10:
            raise UserError(f"augmentation {spec!r}: the severity must be {LEAST} to 10, e.g. augmix(3)")
        return AugMix(geometry, severity, equalize, operations)
    if name == "simclr":
        strength = arguments[0] if arguments else 0.5
        if not 0 <= strength <= 2.5:
            raise UserError(f"augmentation {spec!r}: the strength must be 0 to 2.5, e.g. simclr(0.5)")
        return SimCLR(geometry, strength, operations)
    if not arguments or not 1 <= arguments[0] == int(arguments[0]):
        raise UserError(f"augmentation {spec!r}: write the side in whole pixels, e.g. cutout(16)")
    policy = Policy({"identity": None}, levels=0, cutout=Cutout(pixels=int(arguments[0])))
    return RandAugment(geometry, policy, equalize, operations)


def single_operation(
    name: str, magnitude: float, geometry: Geometry, equalize: str = "dali", operations: str = "dali"
) -> View:
    """A view that is the crop of `weak` and then exactly one operation of `OPERATIONS` at `magnitude`."""
    policy = Policy({name: Range(magnitude, magnitude)}, levels=1)
    return RandAugment(geometry, policy, equalize, operations)


def _parse(spec: str) -> tuple[str, list[float]]:
    """ "noise(0.2)" -> ("noise", [0.2])."""
    match = re.fullmatch(r"\s*([a-z-]+)\s*(?:\(([^()]*)\))?\s*", spec)
    if match is None:
        raise _unknown(spec)
    try:
        return match[1], [float(argument) for argument in match[2].split(",")] if match[2] else []
    except ValueError:
        raise _unknown(spec) from None


def _unknown(spec: str) -> UserError:
    return UserError(f"augmentation {spec!r} is unknown; choose one of {', '.join(VIEW_SPECS)}")
