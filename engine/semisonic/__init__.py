"""Semisonic: a distributed, high-performance training engine for semi-supervised image classification."""

from typing import TYPE_CHECKING, Any

from semisonic.version import __version__

if TYPE_CHECKING:
    from semisonic import register
    from semisonic.api import Result, train
    from semisonic.inference.classifier import load_classifier as load
    from semisonic.schema import UserError

__all__ = ["Result", "UserError", "__version__", "load", "register", "train"]


def __getattr__(name: str) -> Any:
    # Lazy: `import semisonic` in a launcher or a config tool must not pay for torch.
    if name == "load":
        from semisonic.inference.classifier import load_classifier

        return load_classifier
    if name in ("Result", "train"):
        from semisonic import api

        return getattr(api, name)
    if name == "UserError":
        from semisonic.schema import UserError

        return UserError
    if name == "register":
        import importlib

        return importlib.import_module("semisonic.register")
    raise AttributeError(f"module 'semisonic' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
