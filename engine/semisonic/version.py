"""The version of the package, readable without importing anything else of it."""

__version__ = "0.2.0"
