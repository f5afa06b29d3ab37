"""Settings of Sphinx for the site that these pages are; `make docs` builds it."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / folder) for folder in ("engine", "kernels", "benchmarks"))]

from semisonic.version import __version__  # noqa: E402

project = "Semisonic"
project_copyright = "2026 The Semisonic authors"
version = release = __version__
language = "en"
extensions = ["myst_parser", "sphinx_copybutton", "sphinx_design", "_extension"]
exclude_patterns = ["_extension"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types in signatures, such as torch's, which are on no page here
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = "Semisonic"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
templates_path: list[str] = []
copybutton_exclude = ".linenos, .gp, .go"
