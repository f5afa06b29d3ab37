"""A trained network as one program that needs neither this package nor the library that it came from: a torch.export
archive (.pt2), or ONNX. The number of images is free, their size is the run's.

Shape suffixes: N images, S side in pixels.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from semisonic.inference.classifier import Classifier
from semisonic.schema import UserError
from semisonic.text import name_of

Runner = Callable[[Tensor], Tensor]
"""What was written, read back: the program's own inputs [N, 3, S, S] -> logits [N, C]."""

ABOUT = "semisonic.json"
"""In a .pt2 archive, what the program is; in ONNX, the same under the key `semisonic`."""
NEEDED = ("onnx", "onnxscript", "onnxruntime")
INPUT, OUTPUT = "images", "logits"
LARGEST = 2**31 - 2**24
"""Bytes of a file of ONNX; weights beyond that lie in a file beside it."""


class Program(nn.Module):
    """Images -> logits. normalized: takes uint8 [N, 3, S, S] and normalizes them; else normalized floats."""

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: Classifier, normalized: bool):
        super().__init__()
        self.network, self.normalized, self.size = classifier.network, normalized, classifier.image_size
        if normalized:
            self.register_buffer("mean", classifier.mean, persistent=False)
            self.register_buffer("std", classifier.std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if self.normalized:
            images = (images.float() - self.mean) / self.std
        return self.network(images).float()


def missing_packages() -> list[str]:
    """What ONNX needs and is not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


def write_pt2(folder: Path, program: Program, most: int | None, about: str) -> Runner:
    """Writes `model.pt2`, and reads it back."""
    path = folder / "model.pt2"
    with _traceable():
        exported = torch.export.export(program, (_example(program, most),), dynamic_shapes=_dynamic(most))
    _without_places(exported)
    torch.export.save(exported, path, extra_files={ABOUT: about})
    read = torch.export.load(path).module()
    return lambda images: read(images)


def write_onnx(folder: Path, program: Program, most: int | None, about: str) -> Runner:
    """Writes `model.onnx`, and reads it back in onnxruntime."""
    import onnxruntime

    path = folder / "model.onnx"
    weights = sum(value.numel() * value.element_size() for value in program.state_dict().values())
    with _traceable():
        exported = torch.export.export(program, (_example(program, most),), dynamic_shapes=_dynamic(most))
        _without_places(exported)
        made = torch.onnx.export(exported, input_names=[INPUT], output_names=[OUTPUT], verbose=False)
    assert made is not None  # as of an exported program
    for node in made.model.graph.all_nodes():  # torch says there, too, where an operation stands in the code
        node.metadata_props.clear()
    made.model.metadata_props["semisonic"] = about
    made.save(path, external_data=weights > LARGEST)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])


def _without_places(exported: torch.export.ExportedProgram) -> None:
    """Where each operation stands in the code is left out: these are paths of this machine, with its user's name."""
    for module in exported.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)


def _example(program: Program, most: int | None) -> Tensor:
    count = 2 if most is None else min(2, most)
    side = program.size
    return torch.zeros(count, 3, side, side, dtype=torch.uint8 if program.normalized else torch.float32)


def _dynamic(most: int | None) -> tuple[dict[int, object] | None]:
    """Of the program's inputs: their first axis, from 1 to `most`. One image at most is no free number."""
    return (None,) if most == 1 else ({0: torch.export.Dim("batch", min=1, max=most)},)


@contextmanager
def _traceable() -> Iterator[None]:
    """Inside, attention is what its layers say, not a fused kernel of this machine's torch; what torch cannot export
    is a `UserError`."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    except UserError:
        raise
    except Exception as error:  # whatever tracing raises of a network's code
        line = name_of(str(error).strip().partition("\n")[0])
        raise UserError(f"--to: torch cannot export this network ({type(error).__name__}: {line})") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
