"""The page of all algorithms."""

import re

from _extension.algorithms_page import algorithm_sections, algorithm_steps
from semisonic.algorithms.registry import ALGORITHMS


def test_every_algorithm_has_a_row_and_a_section():
    steps = algorithm_steps().partition("## State")[0]
    assert re.findall(r"^\| \[`([\w-]+)`\]\(#\1\)", steps, re.MULTILINE) == list(ALGORITHMS)
    headings = re.findall(r"^## (.+)$", algorithm_sections(), re.MULTILINE)
    assert headings == ["Weak and strong views", *ALGORITHMS]


def test_a_section_has_equations_settings_and_own_fields_and_links_to_shared_ones():
    section = algorithm_sections().partition("## flexmatch\n")[2].partition("\n## ")[0]
    assert "T_c     = tau * M(beta_c)" in section and "4.97 ± 0.06" in section
    assert re.findall(r"^`algorithm\.(\w+)`$", section, re.MULTILINE) == ["threshold", "warm_up", "mapping"]
    assert "Also `weight`, `weak`, `strong`, `weak_pass`, `labeled_view`" in section


def test_every_field_of_every_algorithm_is_documented():
    definitions = re.findall(r"^: (.+)$", algorithm_sections(), re.MULTILINE)
    assert len(definitions) > 100
    assert [line for line in definitions if not re.search(r"\. \S", line)] == []
