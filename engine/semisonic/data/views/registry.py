"""The views of an image by their specs, such as "weak" or "randaugment(2,9)".

`view.py` says what a view is; each kind has a file of its own.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from semisonic.data.views.augmix import LEAST, AugMix
from semisonic.data.views.ctaugment import CTAugment
from semisonic.data.views.policies import POLICIES, Cutout, Policy, Range, randaugment_policy
from semisonic.data.views.randaugment import RandAugment
from semisonic.data.views.simclr import SimCLR
from semisonic.data.views.view import Geometry, Plain, View, Weak
from semisonic.registry import Registry
from semisonic.schema import UserError

Builder = Callable[[Geometry, list[float], str, str], View]
"""(geometry, the numbers in brackets, `equalize`, `operations`) -> the view. Raises ValueError with what is wrong with
the numbers, and what would be valid."""


@dataclass(frozen=True)
class ViewKind:
    """What stands behind a name of a spec."""

    build: Builder
    summary: str
    """One line about it."""
    form: str | None = None
    """How it is written where it takes numbers, such as "noise(STD)"; None: as its name."""
    arguments: int | None = 0
    """How many numbers it takes at most; None: `build` counts them itself."""
    example: str | None = None
    """One of the kind, for the grids of views; None: it is not shown."""


def _plain(whole: bool) -> Builder:
    return lambda geometry, arguments, equalize, operations: Plain(geometry, whole=whole)


def _weak(geometry: Geometry, arguments: list[float], equalize: str, operations: str) -> View:
    return Weak(geometry)


def _policy(name: str) -> Builder:
    return lambda geometry, arguments, equalize, operations: RandAugment(geometry, POLICIES[name], equalize, operations)


def _randaugment(geometry: Geometry, arguments: list[float], equalize: str, operations: str) -> View:
    return RandAugment(geometry, randaugment_policy(arguments), equalize, operations)


def _ctaugment(probe: bool, cutout: bool) -> Builder:
    return lambda geometry, arguments, equalize, operations: CTAugment(geometry, probe, cutout, equalize, operations)


def _augmix(geometry: Geometry, arguments: list[float], equalize: str, operations: str) -> View:
    severity = arguments[0] if arguments else 3.0
    if not LEAST <= severity <= 10:
        raise ValueError(f"the severity must be {LEAST} to 10, e.g. augmix(3)")
    return AugMix(geometry, severity, equalize, operations)


def _simclr(geometry: Geometry, arguments: list[float], equalize: str, operations: str) -> View:
    strength = arguments[0] if arguments else 0.5
    if not 0 <= strength <= 2.5:
        raise ValueError("the strength must be 0 to 2.5, e.g. simclr(0.5)")
    return SimCLR(geometry, strength, operations)


def _cutout(geometry: Geometry, arguments: list[float], equalize: str, operations: str) -> View:
    if not arguments or not 1 <= arguments[0] == int(arguments[0]):
        raise ValueError("write the side in whole pixels, e.g. cutout(16)")
    policy = Policy({"identity": None}, levels=0, cutout=Cutout(pixels=int(arguments[0])))
    return RandAugment(geometry, policy, equalize, operations)


def _noise(geometry: Geometry, arguments: list[float], equalize: str, operations: str) -> View:
    noise_std = arguments[0] if arguments else 0.15
    if noise_std < 0:
        raise ValueError("the standard deviation must be at least 0")
    return Weak(geometry, noise_std)


VIEWS: Registry[ViewKind] = Registry(
    "view",
    {
        "plain": ViewKind(_plain(whole=False), "the central window, no randomness", example="plain"),
        "whole": ViewKind(_plain(whole=True), "the whole image, resized to the square, no randomness"),
        "weak": ViewKind(
            _weak,
            "random crop (reflect-padded, or resized from a file), and a flip where the data set allows it",
            example="weak",
        ),
        "fixmatch": ViewKind(
            _policy("fixmatch"),
            "weak, 2 operations of the paper's list, uniform magnitudes, Cutout of up to half the width",
            example="fixmatch",
        ),
        "usb": ViewKind(
            _policy("usb"), "as fixmatch with 3 operations, Cutout filled with (125, 123, 114)", example="usb"
        ),
        "kekmodel": ViewKind(
            _policy("kekmodel"),
            "weak, 2 operations each with p = 0.5 at 9 magnitudes, a 16-pixel Cutout filled with 127",
            example="kekmodel",
        ),
        "mpl": ViewKind(
            _policy("mpl"),
            "weak, 2 of 15 operations (with inversion and gray Cutout) at magnitude 16 of 10, each with p = 0.5",
            example="mpl",
        ),
        "randaugment": ViewKind(
            _randaugment,
            "weak, N operations at global magnitude M of 0..30, no Cutout",
            form="randaugment(N,M)",
            arguments=None,
            example="randaugment(2,9)",
        ),
        "ctaugment": ViewKind(
            _ctaugment(probe=False, cutout=True),
            "weak, 2 of 19 operations at strengths learned from the model, Cutout of half the width",
            example="ctaugment",
        ),
        "ctaugment-plain": ViewKind(_ctaugment(probe=False, cutout=False), "as ctaugment without Cutout"),
        "ctaugment-probe": ViewKind(
            _ctaugment(probe=True, cutout=False),
            "as ctaugment-plain with uniform strengths; a labeled one is added where ctaugment is used",
            example="ctaugment-probe",
        ),
        "augmix": ViewKind(
            _augmix,
            "weak, mixed with three chains of up to 3 operations at levels up to SEVERITY of 10; plain `augmix` is "
            "augmix(3)",
            form="augmix(SEVERITY)",
            arguments=1,
            example="augmix",
        ),
        "simclr": ViewKind(
            _simclr,
            "resized crop, flip where allowed, color jitter (p = 0.8), gray (p = 0.2); plain `simclr` is simclr(0.5)",
            form="simclr(STRENGTH)",
            arguments=1,
            example="simclr",
        ),
        "cutout": ViewKind(
            _cutout,
            "weak, then a square hole of that side in the data set's mean color",
            form="cutout(PIXELS)",
            arguments=1,
            example="cutout(16)",
        ),
        "noise": ViewKind(
            _noise,
            "weak, then Gaussian noise in normalized units; plain `noise` is noise(0.15)",
            form="noise(STD)",
            arguments=1,
            example="noise",
        ),
    },
)
"""Every kind of view by the name that its specs begin with."""


def register_view(
    name: str, build: Builder, summary: str, form: str | None = None, arguments: int = 0, example: str | None = None
) -> None:
    """Adds a kind of view; the arguments are `ViewKind`'s. By default the grids show it where its name is a spec.

    Raises ValueError for a name that is taken or cannot be one.
    """
    if example is None and form is None:
        example = name
    VIEWS.register(name, ViewKind(build, summary, form, arguments, example))


def view_specs() -> dict[str, str]:
    """What `build_view` accepts, with one line each."""
    return {kind.form or name: kind.summary for name, kind in VIEWS.items()}


def view_examples() -> list[str]:
    """One view of every kind."""
    return [kind.example for kind in VIEWS.values() if kind.example is not None]


def build_view(spec: str, geometry: Geometry, equalize: str = "dali", operations: str = "dali") -> View:
    """The view of a spec of `view_specs`, e.g. "fixmatch" or "randaugment(2,9)".

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
    kind = VIEWS.get(name)
    if kind is None or (kind.arguments is not None and len(arguments) > kind.arguments):
        raise _unknown(spec)
    try:
        return kind.build(geometry, arguments, equalize, operations)
    except ValueError as error:
        raise UserError(f"augmentation {spec!r}: {error}") from error


def single_operation(
    name: str, magnitude: float, geometry: Geometry, equalize: str = "dali", operations: str = "dali"
) -> View:
    """A view that is the crop of `weak` and then exactly one operation of `OPERATIONS` at `magnitude`."""
    policy = Policy({name: Range(magnitude, magnitude)}, levels=1)
    return RandAugment(geometry, policy, equalize, operations)


def _parse(spec: str) -> tuple[str, list[float]]:
    """ "noise(0.2)" -> ("noise", [0.2])."""
    match = re.fullmatch(r"\s*([a-z0-9_-]+)\s*(?:\(([^()]*)\))?\s*", spec)
    if match is None:
        raise _unknown(spec)
    try:
        return match[1], [float(argument) for argument in match[2].split(",")] if match[2] else []
    except ValueError:
        raise _unknown(spec) from None


def _unknown(spec: str) -> UserError:
    close = VIEWS.close_to(spec.partition("(")[0].strip())
    hint = f"did you mean {VIEWS[close].form or close}? " if close else ""
    return UserError(f"augmentation {spec!r} is unknown; {hint}choose one of {', '.join(view_specs())}")
