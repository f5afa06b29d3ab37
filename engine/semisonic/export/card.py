"""model_card.md: what a file of weights is, how it came to be and how it is used. Text of the run's files is
escaped."""

from collections.abc import Sequence
from typing import Any

from semisonic.export.facts import Facts
from semisonic.inference.classifier import Classifier
from semisonic.text import dump_json, markdown_text
from semisonic.version import __version__

NAMED = 100
"""Classes that a card names; the file's metadata have all."""


def metadata(classifier: Classifier, facts: Facts, normalized: bool, most: int | None) -> dict[str, Any]:
    """What a program reads of the file: everything that its use takes."""
    return {
        "semisonic": __version__,
        "network": facts.network,
        "classes": classifier.classes,
        "image_size": classifier.image_size,
        "input": _input(classifier, normalized) + ("" if most is None else f"; at most {most:,} at a time"),
        "normalized_inside": normalized,
        "mean": [round(float(value) / 255, 7) for value in classifier.mean.flatten()],
        "std": [round(float(value) / 255, 7) for value in classifier.std.flatten()],
        # Without the place of the weights that it is for: paths are the owner's matter.
        "preprocess": {name: value for name, value in classifier.preprocess.items() if name != "shown_for"},
        "batch_max": most,
        "algorithm": facts.method,
        "step": facts.step,
    }


def card(facts: Facts, about: dict[str, Any], code: Sequence[str], notes: Sequence[str], checked: Sequence[str]) -> str:
    """code: lines of Python that use the file. notes, checked: sentences about it, and about how it was compared."""
    classes, size = about["classes"], about["image_size"]
    named = ", ".join(markdown_text(name) for name in classes[:NAMED])
    more = f" and {len(classes) - NAMED:,} more, which the file's metadata name" if len(classes) > NAMED else ""
    lines = [
        f"# {markdown_text(facts.network)}: {len(classes):,} classes, {size} px",
        "",
        *(f"- {line}" for line in _about(facts)),
        f"- Classes, in the order of the logits: {named}{more}",
        f"- Input: {about['input']}",
        f"- What an image is made into: {_preprocessing(about)}",
        *(f"- {note}" for note in notes),
        *(f"- {line}" for line in checked),
        "",
        "```python",
        *code,
        "```",
        "",
    ]
    return "\n".join(lines)


def _about(facts: Facts) -> list[str]:
    data = markdown_text(facts.data) + (f", folder {markdown_text(facts.folder)}" if facts.folder else "")
    counts = "numbers of images not known: the checkpoint lies apart from its run"
    if facts.labeled is not None:
        counts = f"{facts.labeled:,} labeled images, {facts.unlabeled:,} in the unlabeled pool"
    return [
        f"Data: {data}; {counts}",
        f"Method: {markdown_text(facts.method)}, {facts.step:,} steps, with Semisonic",
        f"Accuracy: {_accuracy(facts)}",
        f"Weights began: {_began(facts)}",
    ]


def _accuracy(facts: Facts) -> str:
    found = facts.accuracy
    if found is None:
        return "not measured at this step"
    text = f"{found.top1:.2f} % on {f'{found.images:,} ' if found.images else ''}{found.on}"
    if found.interval is not None:
        text += f" (95 % interval {found.interval[0]:.2f} to {found.interval[1]:.2f} %)"
    return text


def _began(facts: Facts) -> str:
    if not facts.began:
        return "random"
    told = {name: markdown_text(text) for name, text in facts.began.items()}
    source = f", from {told['source']}" if "source" in told else ""
    source += f" (SHA-256 {told['sha256'][:16]})" if "sha256" in told else ""
    license = told.get("license", "not known: look at where they are from")
    return f"{told.get('name', 'not named')}{source}; license: {license}"


def _input(classifier: Classifier, normalized: bool) -> str:
    shape = f"[N, 3, {classifier.image_size}, {classifier.image_size}]"
    if normalized:
        return f"uint8 {shape}, RGB; the network normalizes them itself"
    mean, std = (", ".join(f"{float(v):.4g}" for v in part.flatten()) for part in (classifier.mean, classifier.std))
    return (
        f"float32 {shape}, RGB, normalized: (pixel - mean) / deviation, pixels 0 to 255, mean {mean}, deviation {std}"
    )


def _preprocessing(about: dict[str, Any]) -> str:
    size, preprocess = about["image_size"], about["preprocess"]
    crop, how = preprocess.get("crop", 0.875), preprocess.get("interpolation", "bilinear")
    if preprocess["view"] == "plain":
        return f"the central square of {crop:g} of the shorter side, resized to {size} x {size} ({how}, antialiased)"
    border = preprocess["border"]
    inside = f"resized to {size - 2 * border} x {size - 2 * border} ({how}, antialiased)"
    return f"the whole image, {inside}" + (f", with {border} black pixels around it" if border else "")


def dumped(about: dict[str, Any]) -> str:
    return dump_json(about)
