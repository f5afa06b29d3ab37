"""One id, one element: the theme wraps tables and formulas, and gives the wrappers the ids of what is inside."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


class IdsStayInside(SphinxPostTransform):
    """Takes the ids of a wrapper away that the element in it has as well: links go on leading to the element."""

    formats = ("html",)
    default_priority = 501  # the theme wraps at 500

    def run(self, **kwargs: Any) -> None:
        """Called by Sphinx for each page."""
        for wrapper in self.document.findall(nodes.container):
            inside = {name for child in wrapper.children if isinstance(child, nodes.Element) for name in child["ids"]}
            wrapper["ids"] = [name for name in wrapper["ids"] if name not in inside]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_post_transform(IdsStayInside)
