"""The views of an image by their specs, such as "weak" or "randaugment(2,9)".

`view.py` says what a view is; each kind has a file of its own.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

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
    def build(geometry: Geometry, arguments: list[float], equalize: str, operations: str) -> View:
        policy = POLICIES[name]
        if policy.cutout is not None:
            policy = replace(policy, cutout=policy.cutout.of(arguments))
        return RandAugment(geometry, policy, equalize, operations)

    return build


def _randaugment(signed: bool) -> Builder:
    return lambda geometry, arguments, equalize, operations: RandAugment(
        geometry, randaugment_policy(arguments, signed), equalize, operations
    )


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
    hole = Cutout().of(arguments) if arguments and arguments[0] >= 1 else None
    if hole is None:
        raise ValueError("write the side in whole pixels, then maybe a color, e.g. cutout(16) or cutout(16,127)")
    return RandAugment(geometry, Policy({"identity": None}, levels=0, cutout=hole), equalize, operations)


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
            "weak, 2 operations of the paper's list, uniform magnitudes, Cutout of up to half the width in the mean "
            "color, or fixmatch(SIDE,COLOR): below 1 a share of the width, else pixels; one gray value or three",
            arguments=4,
            example="fixmatch",
        ),
        "usb": ViewKind(
            _policy("usb"),
            "as fixmatch with 3 operations, Cutout filled with (125, 123, 114), or usb(SIDE,COLOR)",
            arguments=4,
            example="usb",
        ),
        "kekmodel": ViewKind(
            _policy("kekmodel"),
            "weak, 2 operations each with p = 0.5 at 9 magnitudes, a 16-pixel Cutout filled with 127, or "
            "kekmodel(SIDE,COLOR)",
            arguments=4,
            example="kekmodel",
        ),
        "mpl": ViewKind(
            _policy("mpl"),
            "weak, 2 of 15 operations (with inversion and gray Cutout) at magnitude 16 of 10, each with p = 0.5",
            example="mpl",
        ),
        "randaugment": ViewKind(
            _randaugment(signed=False),
            "weak, N operations at global magnitude M of 0..30, factors 0.1 + 0.18 M; M may grow over the run, "
            "randaugment(2,1..9); no Cutout, or that of randaugment(N,M,SIDE,COLOR)",
            form="randaugment(N,M)",
            arguments=None,
            example="randaugment(2,9)",
        ),
        "randaugment-signed": ViewKind(
            _randaugment(signed=True),
            "as randaugment with factors 1 +- 0.09 M, from 0 on: what randaugment once was",
            form="randaugment-signed(N,M)",
            arguments=None,
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
            "weak, then a square hole of that side in the data set's mean color, or in that of cutout(PIXELS,COLOR)",
            form="cutout(PIXELS)",
            arguments=4,
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
    first, last = ([numbers[end] for numbers in arguments] for end in (0, -1))
    try:
        view = kind.build(geometry, first, equalize, operations)
        return view.growing_to(kind.build(geometry, last, equalize, operations)) if _grows(arguments) else view
    except ValueError as error:
        raise UserError(f"augmentation {spec!r}: {error}") from error


def grows(spec: str) -> bool:
    """Whether this view changes over the run, such as "randaugment(2,1..9)". UserError for an unknown spec."""
    return _grows(_parse(spec)[1])


def _grows(arguments: list[list[float]]) -> bool:
    return any(len(numbers) > 1 for numbers in arguments)


def single_operation(
    name: str, magnitude: float, geometry: Geometry, equalize: str = "dali", operations: str = "dali"
) -> View:
    """A view that is the crop of `weak` and then exactly one operation of `OPERATIONS` at `magnitude`."""
    policy = Policy({name: Range(magnitude, magnitude)}, levels=1)
    return RandAugment(geometry, policy, equalize, operations)


def _parse(spec: str) -> tuple[str, list[list[float]]]:
    """ "noise(0.2)" -> ("noise", [[0.2]]); "randaugment(2,1..9)" -> ("randaugment", [[2], [1, 9]])."""
    match = re.fullmatch(r"\s*([a-z0-9_-]+)\s*(?:\(([^()]*)\))?\s*", spec)
    if match is None:
        raise _unknown(spec)
    try:
        arguments = match[2].split(",") if match[2] else []
        return match[1], [[float(number) for number in argument.split("..", 1)] for argument in arguments]
    except ValueError:
        raise _unknown(spec) from None


def _unknown(spec: str) -> UserError:
    close = VIEWS.close_to(spec.partition("(")[0].strip())
    hint = f"did you mean {VIEWS[close].form or close}? " if close else ""
    return UserError(f"augmentation {spec!r} is unknown; {hint}choose one of {', '.join(view_specs())}")
