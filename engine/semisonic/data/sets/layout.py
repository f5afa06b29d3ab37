"""Which folders of `data.root` hold the labeled, the unlabeled and the test images, told by their names.

What looks like another layout than it would be read as is refused, with what was probably meant: a folder of splits
read as one of classes trains a network that tells training images from test images.
"""

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.class_names import WAY_OUT
from semisonic.data.sets.spellings import PLAIN, Role, role_of
from semisonic.data.sets.walk import (
    Broken,
    count_of,
    entries_of,
    is_folder,
    is_image,
    is_passed_over,
    is_written,
    unreadable,
)

_IF_CLASSES = f"if they are the classes, {WAY_OUT}"
_IMAGES_ALONE = "holds images, but no class folders"
_LIKE_A_SPLIT = re.compile(r"train|test|val|label|split|fold|dev", re.IGNORECASE)
_SHOWN = 8  # names


@dataclass
class Layout:
    """Where the parts of a folder are; a part that is missing is None."""

    labeled: Path
    classes: list[str] = field(default_factory=list)
    """Class folders in `labeled`, sorted."""
    unlabeled: Path | None = None
    test: Path | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class Folder:
    """The entries of one folder: names, sorted, without what is hidden or of tools."""

    path: Path
    folders: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    """By their names."""
    broken: dict[str, Broken] = field(default_factory=dict)
    """Links that lead nowhere and may have led to folders."""
    error: str = ""
    """Why it cannot be listed."""
    written: bool = False
    """Whether it is a run, or another folder that this program wrote."""


def read_folder(path: Path) -> Folder:
    """Never raises for what it finds."""
    found = Folder(path)
    try:
        entries = entries_of(os.fspath(path))
    except OSError as error:
        advice = "; a CSV is given as data.csv" if path.suffix.lower() == ".csv" else ""
        advice = "; unpack it" if path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".7z") else advice
        found.error = f"cannot read the folder {path}: {unreadable(os.fspath(path), error)}{advice}"
        return found
    found.folders, found.images = sorted(entries.folders), sorted(entries.images)
    found.broken = {os.path.basename(broken.path): broken for broken in entries.broken}
    found.written = is_written(entries.others, entries.folders, entries.images)
    return found


def class_folders(name: str, folder: Path, leave_out: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """The names of the class folders in a folder, sorted, and what is wrong with it, each line beginning with `name`.

    leave_out: folders that are for something else.
    """
    found = read_folder(folder)
    if found.error:
        return [], [f"{name}: {found.error}"]
    if found.written:
        return [], [f"{name}: {folder} is a folder that semisonic wrote, not one of images"]
    names = [n for n in found.folders if n not in leave_out]
    problems = [lost(name, broken) for own, broken in sorted(found.broken.items()) if own not in leave_out]
    if not names and not problems:
        what = _IMAGES_ALONE if found.images else "holds no class folders"
        problems = [f"{name}: {folder} {what}; one folder of images a class is needed"]
    return names, problems


def lost(name: str, broken: Broken) -> str:
    """The mistake of an entry that cannot be read; `name`: of the field that leads there."""
    return f"{name}: cannot read {broken.path}: {broken.reason}; mend it, or take it out"


def find_layout(cfg: DataConfig) -> Layout:
    """Where the parts of `data.root` are, without walking through the images."""
    assert cfg.root is not None
    root = cfg.root
    top = read_folder(root)
    if top.error or top.written:
        return Layout(root, problems=class_folders("data.root", root)[1])
    named = _no_classes(root, top, cfg.classes)
    parts, problems = _parts(root, named)
    problems += [lost("data.root", top.broken[own]) for own in parts.values() if own in top.broken]
    layout = Layout(root / parts.get(Role.LABELED, ""), problems=problems)
    if Role.UNLABELED in parts:
        layout.unlabeled = root / parts[Role.UNLABELED]
    own_test = parts.get(Role.TEST)
    layout.test = cfg.test_root if cfg.test_root else root / own_test if own_test else None
    if problems:
        return layout

    flat = Role.LABELED not in parts
    given_test = _lying_in(top, cfg.test_root)
    leave_out = _for_something_else(named) | given_test if flat else set()
    layout.classes, more = class_folders("data.root", layout.labeled, leave_out)
    if not flat and more and _IMAGES_ALONE in more[0]:
        more[0] += f"; where {layout.labeled.name} is a class itself, list all classes as data.classes"
    problems += more
    if own_test and cfg.test_root is None and (more := _test_problems(root, own_test, top.folders)):
        if cfg.test == "none":
            layout.test = None
        else:
            problems += more
    if not problems and not cfg.classes:
        doubts = _doubts(cfg, layout, flat, [n for n in top.folders if n not in parts.values()])
        (problems if cfg.doubts == "refuse" else layout.notes).extend(doubts)
    understood = [
        f"{own}/ as {_MEANT[role]}"
        for role, own in parts.items()
        if own not in PLAIN and (role is not Role.TEST or layout.test == root / own)
    ]
    if understood:
        layout.notes.append(f"read in {root}: {', '.join(understood)}")
    used = {own for role, own in parts.items() if role is not Role.TEST or layout.test == root / own} | given_test
    unused = [n for n in top.folders if n not in used and (not flat or n in leave_out)]
    if unused:
        layout.notes.append(f"not used in {root}: {', '.join(f'{name}/' for name in unused)}")
    return layout


_MEANT = {Role.LABELED: "the labeled images", Role.UNLABELED: "unlabeled images", Role.TEST: "the test images"}


def _no_classes(root: Path, top: Folder, classes: Collection[str]) -> list[str]:
    """The folders at the top whose names say what they are for, sorted. What `data.classes` lists is a class, however
    it is called, unless all of them lie in a folder of labeled images, of which one may be called `train` itself."""
    names = sorted((*top.folders, *top.broken))
    if not set(names).intersection(classes):
        return names
    labeled = [name for name in top.folders if role_of(name) is Role.LABELED]
    if any(set(classes) <= set(read_folder(root / name).folders) for name in labeled):
        return names
    return [name for name in names if name not in classes]


def _lying_in(top: Folder, test_root: Path | None) -> set[str]:
    """The folder at the top that `data.test_root` is, if one is."""
    if test_root is None:
        return set()
    place = os.path.realpath(test_root)
    return {name for name in top.folders if os.path.realpath(top.path / name) == place}


def _parts(root: Path, names: Sequence[str]) -> tuple[dict[Role, str], list[str]]:
    """The folder for each of labeled, unlabeled and test, of those that are there; and a line where two are for one."""
    by_role: dict[Role, list[str]] = {}
    for name in names:
        if role := role_of(name):
            by_role.setdefault(role, []).append(name)
    if Role.LABELED in by_role:
        pool = by_role.pop(Role.POOL, [])
        if pool:
            by_role.setdefault(Role.UNLABELED, []).extend(pool)
    by_role.pop(Role.POOL, None)
    validation = by_role.pop(Role.VALIDATION, [])
    if validation and Role.TEST not in by_role:
        by_role[Role.TEST] = validation
    problems = [
        f"data.root: {root} has both {own[0]}/ and {own[1]}/; keep one of them"
        for own in by_role.values()
        if len(own) > 1
    ]
    return {role: own[0] for role, own in by_role.items()}, problems


def _for_something_else(names: Sequence[str]) -> set[str]:
    """Those beside class folders that are none."""
    return {name for name in names if role_of(name) not in (None, Role.POOL)}


def _test_problems(root: Path, own: str, beside: Sequence[str]) -> list[str]:
    """What is wrong with the folder of test images; beside: all folders at the top."""
    _, problems = class_folders("data.root", root / own)
    if problems and _IMAGES_ALONE in problems[0]:
        problems[0] += (
            f"; where their classes are not known, rename {own}/ to unlabeled/, or give data.test=none; where {own} is "
            "a class itself, put all class folders into train/"
        )
        if validation := [name for name in beside if role_of(name) is Role.VALIDATION and name != own]:
            problems[0] += f"; to test on {validation[0]}/, give data.test_root={root / validation[0]}"
    return problems


def _doubts(cfg: DataConfig, layout: Layout, flat: bool, others: Sequence[str]) -> list[str]:
    """What speaks for another layout than the one that the names say; others: folders at the top without a role."""
    root = layout.labeled
    if len(layout.classes) == 1 and (problem := _one_inside_another(root, layout.classes[0])):
        return [problem]
    if problem := _split_among_classes(cfg.root or root, root, layout.classes):
        return [problem]
    if flat:
        problem = _same_inside(root, layout.classes)
        return [problem] if problem else []
    if layout.test is not None:
        return []
    assert cfg.root is not None
    own = set(layout.classes)
    for name in others:
        inside = set(read_folder(cfg.root / name).folders)
        if len(inside & own) > 1 and inside <= own:
            return [
                f"data.root: {name}/ has the class folders of {root.name}/ and would not be used; call it test/ or "
                f"unlabeled/, or give data.test_root; to leave it out, give data.root={root}, or set data.doubts=warn"
            ]
    return []


def _split_among_classes(top: Path, labeled: Path, names: Sequence[str]) -> str | None:
    """A folder among those of the labeled classes that is rather another part of the data."""
    for name in names:
        role = role_of(name)
        if role is Role.UNLABELED:
            return (
                f"data.root: {labeled / name} would be a class; move images without a label to {top / 'unlabeled'}; "
                f"{_IF_CLASSES}"
            )
        if role not in (None, Role.POOL) and (shared := set(names).intersection(read_folder(labeled / name).folders)):
            return (
                f"data.root: {labeled / name} would be a class, and holds {_listed(sorted(shared))}; move it to "
                f"{top / name}; {_IF_CLASSES}"
            )
    return None


def _one_inside_another(root: Path, only: str) -> str | None:
    """Of a folder with one folder in it: what that holds, where it looks like the one that was meant."""
    inside = read_folder(root / only)
    if inside.images or not inside.folders:
        return None
    roles = [name for name in inside.folders if role_of(name)]
    if not roles and len(inside.folders) < 2:
        return None
    return (
        f"data.root: {root} has {only}/ alone, which holds {_listed(roles or inside.folders)}; if these are what to "
        f"read, it is data.root={root / only}" + ("" if role_of(root.name) is None else f", or move them up to {root}")
    )


def _same_inside(root: Path, names: Sequence[str]) -> str | None:
    """Where all class folders hold the same folders and no images: what they probably are."""
    shared: set[str] | None = None
    least = 10**9
    for name in names:
        inside = _folders_alone(root / name)
        if not inside:
            return None
        shared = inside if shared is None else shared & inside
        least = min(least, len(inside))
    if shared is None or len(shared) < 2 or len(names) < 2:
        return None
    roles = {role_of(name) for name in shared}
    if Role.LABELED in roles and roles & {Role.TEST, Role.VALIDATION}:
        splits = sorted(name for name in shared if role_of(name))
        return (
            f"data.root: every folder in {root} holds {_listed(splits)}; splits come first, then classes: "
            f"{splits[0]}/{names[0]} in place of {names[0]}/{splits[0]}; {_IF_CLASSES}"
        )
    doubtful = any(_LIKE_A_SPLIT.search(name) for name in names)
    if len(shared) < least or not (doubtful or _all_equal(root, names, shared)):
        return None
    return (
        f"data.root: {_listed(names)} in {root} all hold {_listed(sorted(shared))}, as splits do and classes do not; "
        f"call them train/, test/ and unlabeled/, or give data.root={root / names[0]} and data.test_root; {_IF_CLASSES}"
    )


def _folders_alone(path: Path) -> set[str]:
    """The folders in a folder; none where there is an image beside them, at whose first the reading stops."""
    names = set()
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if is_passed_over(entry.name):
                    continue
                if is_folder(entry):
                    names.add(entry.name)
                elif is_image(entry.name):
                    return set()
    except OSError:
        return set()  # which the listing reports
    return names


def _all_equal(root: Path, names: Sequence[str], shared: set[str]) -> bool:
    return all(_folders_alone(root / name) == shared for name in names)


def _listed(names: Sequence[str]) -> str:
    more = f" and {count_of(len(names) - _SHOWN, 'other')}" if len(names) > _SHOWN else ""
    return ", ".join(f"{name}/" for name in names[:_SHOWN]) + more
