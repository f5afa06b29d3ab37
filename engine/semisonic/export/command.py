"""The command `semisonic export`: a trained network as a file that other programs take, compared with what
`semisonic.load` computes before it has its name."""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint.atomic_files import sync_file, sync_folder, write_text
from semisonic.checkpoint.tensor_files import write_tensors
from semisonic.config.arguments import Parser, output_problem, positive
from semisonic.export.card import card, dumped, metadata
from semisonic.export.elsewhere import elsewhere
from semisonic.export.facts import facts_of
from semisonic.export.programs import NEEDED, Program, Runner, missing_packages, write_onnx, write_pt2
from semisonic.inference.classifier import Classifier, classifier_of, model_of
from semisonic.models.wrapped import GIVEN
from semisonic.plugins import load_plugins
from semisonic.records.tensors import load_tensors
from semisonic.schema import ExitCode, UserError
from semisonic.text import printable

ALLOWED = {"safetensors": 1e-5, "pt2": 1e-5, "onnx": 1e-4}
"""Formats, and how far their logits may be off, as a share of the largest logit (of 1 where that is below)."""
BATCHES = (1, 5)
"""Images that the comparison takes; both have to come out."""
CARD = "model_card.md"


@dataclass(frozen=True)
class Written:
    """What a format has put into the folder."""

    run: Runner
    """The file, read back: what it takes as images -> logits [N, C]."""
    code: list[str]
    """Lines of Python that use it."""
    notes: list[str]


def main(argv: Sequence[str]) -> int:
    """The command, from its arguments to its exit code."""
    args = _arguments(argv)
    path = checkpoints.find(args.checkpoint)
    out: Path = args.out or Path(f"{args.checkpoint.resolve().name}-{args.to}")
    _check_out(out)
    load_plugins(args.plugin)
    begin = time.perf_counter()
    checkpoint = checkpoints.load_checkpoint(path)
    if checkpoint.state["model"]["name"] == GIVEN:
        raise UserError(f"{path}: its network was given in Python, where semisonic.load(RUN, network=...) has it")
    classifier = classifier_of(checkpoint, path, args.net)
    facts = facts_of(checkpoint, path, args.net)
    normalized = args.to != "safetensors" if args.normalize is None else args.normalize
    about = metadata(classifier, facts, normalized, args.batch_max)
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    try:
        folder.chmod(0o777 & ~_umask())
        if args.to == "safetensors":
            written = _safetensors(folder, classifier, checkpoint, path, dumped(about))
        else:
            written = _program(args, folder, Program(classifier, normalized).eval(), dumped(about))
        checked = _compare(classifier, written.run, normalized, args.to, args.batch_max)
        write_text(folder / CARD, card(facts, about, written.code, written.notes, checked))
        for file in folder.iterdir():
            sync_file(file)
        sync_folder(folder)
        os.rename(folder, out)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise UserError(f"--out {out}: {error.strerror or error}; nothing was written") from error
        raise
    sync_folder(out.absolute().parent)
    _tell(out, about["input"], [*written.notes, *checked], time.perf_counter() - begin)
    return ExitCode.OK


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    text = "Writes a run's network as a file for other programs, with a model card, and compares their outputs."
    parser = Parser("semisonic export", description=text)
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="RUN", help="a run's folder (its latest checkpoint), or a checkpoint")
    add("--to", choices=tuple(ALLOWED), required=True, help="safetensors: weights under torchvision's or timm's own "
        "names; pt2: a program of torch.export; onnx: a program of ONNX")  # fmt: skip
    add("--out", type=Path, metavar="FOLDER", help="a new folder (default: RUN-FORMAT, here)")
    add("--net", choices=("ema", "raw"), default="ema", help="which weights (default: ema)")
    add("--normalize", action=argparse.BooleanOptionalAction, default=None, help="pt2 and onnx: whether the program "
        "takes uint8 images and normalizes them itself, or normalized floats (default: itself)")  # fmt: skip
    add("--batch-max", type=positive, metavar="N", help="pt2 and onnx: images at most at a time (default: any number)")
    add("--plugin", action="append", default=[], metavar="FILE.py", help="a plug-in of the run's; may be repeated")
    add("--debug", action="store_true", help="show where a mistake was found")
    args = parser.parse_args(argv)
    if args.to == "safetensors":
        given = {"--normalize": args.normalize is not None, "--batch-max": args.batch_max is not None}
        if problems := [
            f"{name}: is for pt2 and onnx; weights alone have neither" for name, is_ in given.items() if is_
        ]:
            raise UserError(problems)
    if args.to == "onnx" and (missing := missing_packages()):
        raise UserError(f"--to onnx: needs {', '.join(missing)}; pip install {' '.join(NEEDED)}")
    return args


def _check_out(out: Path) -> None:
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"--out {out}: already exists; name another folder")
    if problem := output_problem("--out", out):
        raise UserError(problem)


def _umask() -> int:
    """Of the process; temporary folders are made without regard to it."""
    mask = os.umask(0o77)
    os.umask(mask)
    return mask


def _safetensors(
    folder: Path, classifier: Classifier, checkpoint: checkpoints.Checkpoint, path: Path, about: str
) -> Written:
    """`model.safetensors`, which the library's own network is loaded from, strictly."""
    found = elsewhere(classifier, model_of(checkpoint, path))
    file = folder / "model.safetensors"
    write_tensors(file, found.state, {"format": "pt", "semisonic": about})
    network = found.make()
    network.load_state_dict(load_tensors(file), strict=True)
    network.eval()
    code = [
        *found.imports,
        "from safetensors.torch import load_file",
        *found.code,
        'network.load_state_dict(load_file("model.safetensors"))',
        "logits = network.eval()(images)",
    ]
    return Written(lambda images: network(images).float(), code, found.notes)


def _program(args: argparse.Namespace, folder: Path, program: Program, about: str) -> Written:
    write: Callable[..., Runner] = {"pt2": write_pt2, "onnx": write_onnx}[args.to]
    code = {
        "pt2": ["import torch", 'network = torch.export.load("model.pt2").module()', "logits = network(images)"],
        "onnx": ["import onnxruntime", 'session = onnxruntime.InferenceSession("model.onnx")',
                 '(logits,) = session.run(["logits"], {"images": images.numpy()})'],
    }  # fmt: skip
    return Written(write(folder, program, args.batch_max, about), code[args.to], [])


@torch.no_grad()
def _compare(classifier: Classifier, run: Runner, normalized: bool, to: str, most: int | None) -> list[str]:
    """What was found, in a line. Raises `UserError` where the outputs are not those of `semisonic.load`."""
    draw, size = torch.Generator().manual_seed(0), classifier.image_size
    sizes, worst, largest = sorted({min(count, most or count) for count in BATCHES}), 0.0, 1.0
    for count in sizes:
        images = torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=draw)
        expected = classifier(images)
        found = run(images if normalized else (images.float() - classifier.mean) / classifier.std)
        if found.shape != expected.shape:
            raise UserError(f"--to {to}: gives {list(found.shape)} for {count} images, not {list(expected.shape)}")
        worst = max(worst, _distance(found, expected))
        largest = max(largest, float(expected.abs().max()))
    said = f"{worst:.1e} on logits up to {largest:.3g}, in batches of {' and '.join(map(str, sizes))} random images"
    if not worst <= ALLOWED[to] * largest:  # nan too
        raise UserError(f"--to {to}: its logits differ from semisonic.load's by {said}; nothing was written")
    return [f"Compared with semisonic.load: the largest difference is {said}"]


def _distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max())


def _tell(out: Path, takes: str, lines: Sequence[str], seconds: float) -> None:
    for file in sorted(out.iterdir()):
        print(printable(f"{file}  {file.stat().st_size / 1e6:.2f} MB"))
    print(printable(f"Input: {takes}"))
    for line in lines:
        print(printable(line))
    print(f"In {seconds:.1f} s")
