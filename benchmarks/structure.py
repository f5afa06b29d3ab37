"""The structure of the engine, measured from its imports: rooms, floors, arrows and circles.

A room is a folder of the engine or a module beside the folders; the kernels are one room. An arrow is an import of one
room by another, lazy and typing imports included. Rooms that import each other in a circle share a floor; a room stands
one floor above the highest that it imports.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from graphlib import TopologicalSorter

import grimp

PACKAGES = ("semisonic", "semisonic_kernels")
SPLIT = ("semisonic.data",)
"""Folders whose own folders are rooms."""


@dataclass(frozen=True)
class Structure:
    """Counts of one checkout."""

    modules: int
    """Files, an __init__ included."""
    rooms: int
    floors: int
    arrows: int
    """Pairs of rooms of which one imports the other."""
    circles: list[list[str]]
    """Rooms that import each other."""


def room_of(module: str, folders: Collection[str]) -> str:
    """The room that a module stands in: semisonic.training.step is in semisonic.training.

    folders: the modules that are folders; of those in `SPLIT` each folder is a room.
    """
    parts = module.split(".")
    if parts[0] != PACKAGES[0]:
        return parts[0]
    inner = ".".join(parts[:3])
    return inner if ".".join(parts[:2]) in SPLIT and inner in folders else ".".join(parts[:2])


def room_imports(graph: grimp.ImportGraph) -> dict[str, set[str]]:
    """Every room with those that it imports. The package's own __init__ is its door, not a room."""
    folders = {module for module in graph.modules if graph.find_children(module)}
    modules = {module: room_of(module, folders) for module in graph.modules - {PACKAGES[0]}}
    for door in SPLIT:
        if door in modules.values() and not graph.find_modules_directly_imported_by(door):
            modules.pop(door, None)  # an empty __init__ above rooms is none
    rooms: dict[str, set[str]] = {room: set() for room in modules.values()}
    for module, room in modules.items():
        found = graph.find_modules_directly_imported_by(module) & modules.keys()
        rooms[room] |= {modules[other] for other in found} - {room}
    return rooms


def circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of rooms each of which reaches all others of its group."""
    reached = {room: reachable(imports, room) for room in imports}
    groups = {
        tuple(sorted(other for other in imports if other in reached[room] and room in reached[other]))
        for room in imports
        if room in reached[room]
    }
    return sorted(map(list, groups))


def reachable(imports: Mapping[str, set[str]], room: str) -> set[str]:
    """The rooms that a room imports, by way of others too; itself only where it stands in a circle."""
    found: set[str] = set()
    waiting = list(imports[room])
    while waiting:
        if (one := waiting.pop()) not in found:
            found.add(one)
            waiting += imports[one]
    return found


def floors(imports: Mapping[str, set[str]]) -> int:
    """Floors of the house, each circle taken as one room."""
    group = {room: circle[0] for circle in circles(imports) for room in circle}
    merged: dict[str, set[str]] = {}
    for room, imported in imports.items():
        own = group.get(room, room)
        merged.setdefault(own, set()).update({group.get(other, other) for other in imported} - {own})
    height: dict[str, int] = {}
    for room in TopologicalSorter(merged).static_order():
        height[room] = 1 + max((height[other] for other in merged[room]), default=0)
    return max(height.values())


def structure() -> Structure:
    """The structure of the packages that Python finds: those of the checkout that PYTHONPATH names."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    imports = room_imports(graph)
    return Structure(
        modules=len(graph.modules),
        rooms=len(imports),
        floors=floors(imports),
        arrows=sum(map(len, imports.values())),
        circles=circles(imports),
    )


if __name__ == "__main__":
    print(json.dumps(asdict(structure())))
