"""Every graph of DALI's that a GPU would run, defined and written out where there is none.

DALI checks names and types of operators and their arguments as a graph is defined, and what is left as it is written
out. Each graph is made for images in memory, fed by the host or on the GPU, and for files; with the operations of
RandAugment in the fused kernel and as DALI operators.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from unittest import mock

import numpy as np

from aot import Row, larger
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.data.sets.registry import DATA_SETS, image_size
from semisonic.data.views.registry import VIEWS, build_view
from semisonic.data.views.view import Geometry
from semisonic.recipes import RECIPES

ABOUT = "DALI's GPU graphs of every recipe, algorithm and view: whether they can be written out, and their operators"
VERSIONS = ("dali cuda13", "dali cuda12")
SECONDS = 600.0
SPECS = {
    "randaugment-signed": "randaugment-signed(2,9)", "randaugment, growing": "randaugment(2,1..9)",
    "fixmatch, own hole": "fixmatch(0.5,127)", "cutout, colored": "cutout(16,10,20,30)",
}  # fmt: skip
"""Views beside one of each kind."""
KINDS = {f"view {name}": kind.example or SPECS.get(name, name) for name, kind in VIEWS.items()}
KINDS |= {f"view {name}": spec for name, spec in SPECS.items()}
CASES = (
    *(f"recipe {name}" for name in RECIPES), *(f"algorithm {name}" for name in ALGORITHMS), *KINDS,
)  # fmt: skip
SAMPLES = 4
FILL = (125, 123, 114)


@dataclass(frozen=True)
class Source:
    """Where images come from."""

    name: str
    geometry: Geometry
    stream: int | None = None
    """Number of the CUDA stream of images on the GPU."""


def resident(size: int) -> tuple[Source, Source]:
    """Images in memory: of the host, and of the GPU."""
    geometry = Geometry(size=size, pad=size // 8, flip=True, fill=FILL, device="gpu")
    return Source("memory", geometry), Source("GPU memory", geometry, stream=1)


def files(size: int) -> tuple[Source, ...]:
    """Image files: as without weights, and as two kinds of weights expect them."""
    geometry = Geometry(size=size, pad=0, flip=True, fill=FILL, encoded=True, device="gpu")
    return (
        Source("files", geometry),
        Source("files, bicubic", replace(geometry, interpolation="bicubic", crop=0.9)),
        Source("files, bilinear center", replace(geometry, crop=1.0)),
    )


@dataclass(frozen=True)
class Graph:
    """A stream's pipeline."""

    source: Source
    operations: str
    views: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"{'+'.join(self.views)} of {self.source.name}, operations {self.operations}"


@cache
def written(graph: Graph) -> int:
    """Writes the graph out; returns its number of operators. Raises what DALI raises."""
    from semisonic.data.loading.stream import fed_params, feeding, view_graphs

    geometry, views, arrays = graph.source.geometry, [], []
    shapes = np.full((SAMPLES, 2), 2 * geometry.size) if geometry.encoded else None
    for spec in graph.views:
        view = build_view(spec, geometry, operations=graph.operations)
        params = view.params(np.full((SAMPLES, view.uniforms), 0.5), shapes)
        views.append((view, fed_params(view, params)))
        arrays += [params[name] for name in views[-1][1]]
    pipeline = view_graphs(
        lambda number: None, feeding(geometry, graph.source.stream), lambda number: tuple(arrays), len(arrays), views,
        batch_size=SAMPLES, num_threads=1, device_id=None, prefetch_queue_depth=2,
    )  # fmt: skip
    pipeline.serialize()
    return len(pipeline._ops)


def graphs_of(sources: Sequence[Source], streams: Mapping[str, Mapping[str, str]]) -> Iterator[Graph]:
    for source in sources:
        for operations in ("kernel", "dali"):
            yield from (Graph(source, operations, tuple(views.values())) for views in streams.values() if views)


def streams_of(cfg: Any) -> dict[str, Mapping[str, str]]:
    """The views of all streams of a run, and what evaluates it."""
    views = cfg.views
    own = {name: stream.views for name, stream in views.streams.items()}
    return {"labeled": views.labeled, "unlabeled": views.unlabeled, **own, "evaluation": {"plain": "plain"}}


def configured(*fields: str) -> Any:
    """A configuration of data that need not be there."""
    from semisonic.config.command_line import resolve

    with mock.patch("semisonic.data.sets.registry.data_problems", lambda cfg: []):
        return resolve(["--device", "cpu", "--log.trackers", "none", *fields])[1]


def sources_of(cfg: Any) -> Sequence[Source]:
    """Those that a recipe's data set can have."""
    name, size = cfg.data.name, image_size(cfg.data)
    return files(size) if name == "folder" or DATA_SETS[name].files else resident(size)


def graphs(case: str) -> Iterator[Graph]:
    """All graphs of a row."""
    kind, _, name = case.partition(" ")
    if kind == "recipe":
        cfg = configured("--recipe", name)
        return graphs_of(sources_of(cfg), streams_of(cfg))
    if kind == "algorithm":
        cfg = configured("--data", "cifar10", "--algorithm", name)
        return graphs_of([resident(32)[1], files(224)[0]], streams_of(cfg))
    return graphs_of([*resident(32), *files(224)], {"view": {"view": KINDS[case]}})


def row_of(found: Iterator[Graph]) -> Row:
    """How many graphs there are, their operators together, and what DALI refuses."""
    operators, errors, count = 0, [], 0
    for graph in found:
        count += 1
        try:
            operators += written(graph)
        except Exception as error:  # of many types; each breaks the rule of its row
            errors.append(f"{graph.text}: {type(error).__name__}: {' '.join(str(error).split())[-300:]}")
    return {"graphs": count, "operators": operators, "errors": errors}


def rows(names: Sequence[str]) -> dict[str, Row]:
    written.cache_clear()  # which the rows share
    return {name: row_of(graphs(name)) for name in names}


def broken(name: str, row: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {error}" for error in row["errors"]] + ([] if row["graphs"] else [f"{name}: there is no graph"])


def grown(name: str, row: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    return larger(name, row, stored)
