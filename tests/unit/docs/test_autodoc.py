"""Docstrings of this project in autodoc."""

from _extension.autodoc import process_docstring


def test_a_docstring_is_changed_in_place():
    lines = ["A `name` of *args.", "", "    code", ""]
    process_docstring(None, "function", "f", None, None, lines)  # type: ignore[arg-type]
    assert lines == ["A ``name`` of \\*args.", "", "::", "", "        code", ""]
