"""Plug-ins: files that the user names with --plugin, and installed packages with an entry point `semisonic.plugins`.

A plug-in registers what it adds when it is imported; see `semisonic.register`. It is code, so a file is run only where
the user names it: one that is named in a checkpoint or a config.yaml alone is asked for, never run. A package was
chosen by installing it.
"""

import hashlib
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from semisonic.records.reading import shown
from semisonic.schema import Config, UserError, given_path
from semisonic.text import name_of

GROUP = "semisonic.plugins"
"""Entry points of packages: each names a module that registers when it is imported, or a function that does."""
SHOWN = 12
"""Digits of a hash that messages show."""


class Plugin(Config):
    """A plug-in that a run was made with: a file (path and sha256), or a package (package and version)."""

    path: str | None = None
    """As the command line named it."""
    sha256: str | None = None
    """Of the file's content."""
    package: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        if self.package is not None:
            return f"the package {self.package} {self.version}"
        return f"{Path(self.path or '').name} (sha256 {(self.sha256 or '')[:SHOWN]}...)"


_modules: dict[str, ModuleType] = {}
"""Plug-in files that were run in this process, by the hash of their content."""
_loaded: dict[str, Plugin] = {}
"""The same, as they were named first."""


def load_plugins(paths: Iterable[str | Path] = ()) -> tuple[Plugin, ...]:
    """Runs every installed plug-in and every file, each content once in a process; returns what a run records of them.

    paths: files, or several with commas between them. Raises `UserError` with a line for each that cannot be read or
    that fails.
    """
    found: dict[str, Plugin] = {}
    problems: list[str] = []
    cause: BaseException | None = None
    for file in [part for path in paths for part in str(path).split(",") if part]:
        try:
            plugin = _load_file(given_path("--plugin", file))
        except UserError as error:
            problems += error.messages
            cause = error.__cause__
        else:
            found.setdefault(plugin.sha256 or "", plugin)
    if problems:
        raise UserError(problems) from cause
    return (*installed_plugins(), *found.values())


def plugin_files(argv: Sequence[str]) -> list[str]:
    """What a command line names with --plugin, once or more."""
    found = []
    for token, following in pairwise([*argv, ""]):
        name, has_value, value = token.partition("=")
        if name == "--plugin" and (has_value or not following.startswith("--")):
            found.append(value if has_value else following)
    return found


def loaded_plugins() -> tuple[Plugin, ...]:
    """All that `load_plugins` has run in this process."""
    return (*installed_plugins(), *_loaded.values())


def require_plugins(
    recorded: Iterable[Plugin | Mapping[str, Any]], given: Sequence[Plugin], made: str = "it", exact: bool = True
) -> None:
    """Raises `UserError` with a line for each recorded plug-in that is not among those that were given.

    made: what the record is of, for the message, such as a run's folder. exact: the content of a file must be
    the same; otherwise a file of the same name will do. Of a package any version does.
    """
    problems = []
    if not isinstance(recorded, list | tuple):
        raise UserError(f"plugins: {made}: {shown(recorded)}; a list is needed")
    for entry in recorded:
        plugin = entry if isinstance(entry, Plugin) else _recorded(entry, made)
        problem = _missing(plugin, given, exact)
        if problem:
            problems.append(f"plugins: {made} was made with {plugin}; {problem}")
    if problems:
        raise UserError(problems)


def _recorded(entry: Any, made: str) -> Plugin:
    """A plug-in as a run recorded it. Raises `UserError` for what is no such record."""
    try:
        plugin = Plugin.model_validate(entry)
    except ValidationError as error:
        said = name_of(error.errors()[0]["msg"])
        raise UserError(f"plugins: {made}: {shown(entry)} is no record of a plug-in ({said})") from error
    if (plugin.package is None) == (plugin.path is None or plugin.sha256 is None):
        raise UserError(f"plugins: {made}: {shown(entry)}: a path and its sha256 are needed, or a package")
    return plugin


def _missing(wanted: Plugin, given: Sequence[Plugin], exact: bool) -> str | None:
    """What to do about a plug-in that is missing among those given; None where it is not."""
    if wanted.package is not None:
        # Another version is none of ours to refuse: the user has upgraded it, and may use nothing of it in this run.
        return None if any(plugin.package == wanted.package for plugin in given) else "install it"
    files = [plugin for plugin in given if plugin.path is not None]
    if any(plugin.sha256 == wanted.sha256 for plugin in files):
        return None
    named = [plugin for plugin in files if Path(plugin.path or "").name == Path(wanted.path or "").name]
    if named and exact:
        return f"{named[0].path} has another content (sha256 {(named[0].sha256 or '')[:SHOWN]}...); give the same file"
    return None if named else "name it with --plugin FILE"


@cache
def installed_plugins() -> tuple[Plugin, ...]:
    """Runs the plug-ins of all installed packages, once in a process. Raises `UserError` naming those that fail."""
    found, problems = {}, []
    cause: Exception | None = None
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        plugin = _package_of(entry)
        try:
            loaded = entry.load()
            if callable(loaded):
                loaded()
        except Exception as error:  # a package's code can fail with anything
            problems.append(f"{plugin}: its plug-in {entry.name} failed: {_one_line(error)}; uninstall or repair it")
            cause = error
        found[plugin.package] = plugin
    if problems:
        raise UserError(problems) from cause
    return tuple(found.values())


def _package_of(entry: EntryPoint) -> Plugin:
    package = entry.dist
    return Plugin(package=package.name, version=package.version) if package else Plugin(package=entry.name)


def _load_file(path: Path) -> Plugin:
    option = f"--plugin {path}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{option}: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    plugin = Plugin(path=str(path), sha256=digest)
    if digest not in _modules:
        _modules[digest] = _run(path, content, f"semisonic_plugin_{digest[:16]}", option)
        _loaded[digest] = plugin
    return plugin


def _run(path: Path, content: bytes, name: str, option: str) -> ModuleType:
    """Runs a file's content as a module of that name, which is the one that was hashed, whatever the file is now."""
    module = ModuleType(name)
    module.__file__ = str(path.absolute())
    sys.modules[name] = module  # dataclasses and pydantic look their annotations up there
    try:
        exec(compile(content, module.__file__, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        line = line_in(module.__file__, error)
        raise UserError(f"{option}: {f'line {line}: ' if line else ''}{_one_line(error)}") from error
    return module


def line_in(file: str, error: BaseException) -> int | None:
    """The line of a file that an error came from: the last one of the file itself; None where it was not in it."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None


def _one_line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {' '.join(text.split())}".rstrip(": ")
