"""Lets the engine be imported where DALI is not installed, for steps that load no data."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from typing import Any


class Absent:
    """Stands for anything of a package that is not installed, so that modules which import it can be imported."""

    def __getattr__(self, name: str) -> "Absent":
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "Absent":
        return self

    def __or__(self, other: Any) -> "Absent":
        return self

    __ror__ = __or__


class _AbsentDali(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name == "nvidia" or name == "nvidia.dali" or name.startswith("nvidia.dali."):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = types.ModuleType(spec.name)

        def attribute(name: str) -> Absent:
            if name.startswith("__"):
                raise AttributeError(name)
            return Absent()

        module.__getattr__ = attribute  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def dali_is_installed() -> bool:
    try:
        return importlib.util.find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:
        return False


def do_without_dali() -> None:
    """Where DALI is not installed, lets the engine be imported all the same: for steps that load no data."""
    if not dali_is_installed():
        sys.meta_path.append(_AbsentDali())
