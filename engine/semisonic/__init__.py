"""Semisonic: a distributed, high-performance training engine for semi-supervised image classification."""

from semisonic.version import __version__

__all__ = ["__version__", "load", "register"]


def __getattr__(name: str):
    # Lazy: `import semisonic` in a launcher or a config tool must not pay for torch.
    if name == "load":
        from semisonic.inference.classifier import load_classifier

        return load_classifier
    if name == "register":
        import importlib

        return importlib.import_module("semisonic.register")
    raise AttributeError(f"module 'semisonic' has no attribute {name!r}")
