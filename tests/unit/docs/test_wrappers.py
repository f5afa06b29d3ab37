"""Ids of tables and formulas, which the theme wraps."""

from docutils import nodes
from docutils.utils import new_document
from furo import WrapTableAndMathInAContainerTransform as Wrap

from _extension.wrappers import IdsStayInside


def test_a_wrapper_leaves_the_ids_to_what_it_wraps():
    document = new_document("page")
    document += [nodes.table("", ids=["one"], classes=["results"]), nodes.math_block("", "x", ids=["two"])]
    document += nodes.container("", nodes.paragraph("", "three", ids=["inside"]), ids=["outside"])
    for transform in sorted((IdsStayInside, Wrap), key=lambda one: one.default_priority):
        transform(document).run()
    wrappers = list(document.findall(nodes.container))
    assert [wrapper["ids"] for wrapper in wrappers] == [[], [], ["outside"]]
    assert [wrapper[0]["ids"] for wrapper in wrappers] == [["one"], ["two"], ["inside"]]
    assert wrappers[0]["classes"] == ["table-wrapper", "results"]  # the style of the page names both
