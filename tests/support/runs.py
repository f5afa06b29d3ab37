"""Short runs, and whether two runs came to the same."""

from pathlib import Path

import torch
from safetensors.torch import load_file


def difference(one: torch.Tensor, two: torch.Tensor) -> float:
    """Largest difference relative to the largest value."""
    one, two = torch.as_tensor(one, dtype=torch.float64), torch.as_tensor(two, dtype=torch.float64)
    return float((one - two).abs().max() / one.abs().max().clamp(min=1e-30))


def compare(one: dict, two: dict, tolerance: float, slack: float = 10) -> None:
    """Losses, gradients and the whole state of two runs; gradients and state with `slack` times the tolerance."""
    assert one["seen"] == two["seen"] and one["split"] == two["split"]
    assert difference(one["loss"], two["loss"]) < tolerance
    assert difference(one["rate"], two["rate"]) < 1e-12
    for step, (a, b) in enumerate(zip(one["gradients"], two["gradients"], strict=True)):
        assert a.keys() == b.keys()
        scale = max(float(value.abs().max()) for value in a.values())
        for name in a:
            assert float((a[name] - b[name]).abs().max()) < slack * tolerance * scale, (step, name)
    assert one["state"].keys() == two["state"].keys()
    for name, value in one["state"].items():
        other = two["state"][name]
        # Zero but for rounding, as a bias before a BatchNorm is.
        zero = float((value.double() - other.double()).abs().max()) < 1e-13
        assert difference(value, other) < slack * tolerance or torch.equal(value, other) or zero, name


def second_half(whole: dict, half: int) -> dict:
    """What is left of a result after so many steps."""
    series = ("loss", "mask", "rate", "seen", "gradients")
    # Each role of several has gradients of its own in every step.
    per_step = len(whole["gradients"]) // len(whole["loss"])
    return {**whole, **{name: whole[name][half * (per_step if name == "gradients" else 1) :] for name in series}}


def tensors(run: Path, step: int = 40) -> dict[str, bytes]:
    """The bytes of every tensor of a checkpoint, by name."""
    folder = run / "checkpoints" / f"step-{step}"
    found = load_file(folder / "model.safetensors") | load_file(folder / "optimizer.safetensors")
    return {name: bytes(value.numpy().tobytes()) for name, value in found.items()}


SHORT_RUN = [
    "--device", "cpu", "--threads", "1", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--model", "wrn-10-1",
    "--steps", "40", "--checkpoint.every", "20", "--checkpoint.keep", "5", "--eval.every", "40", "--log.every", "5",
]  # fmt: skip
"""Fields of a run of seconds with a checkpoint in its middle."""

QUICK = ["--device", "cpu", "--threads", "1", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--steps", "30",
         "--checkpoint.every", "20", "--eval.every", "10", "--log.every", "10", "--eval.batch", "128",
         "--frozen", "off"]  # fmt: skip
"""Fields of the quickest run that does everything, on the digits."""
