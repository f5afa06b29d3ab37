"""Every algorithm by its name on the command line. Adding one is adding its file and one line here."""

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.flexmatch import FlexMatch
from semisonic.algorithms.supervised import Supervised

ALGORITHMS: dict[str, type[Algorithm]] = {
    "fixmatch": FixMatch,
    "flexmatch": FlexMatch,
    "supervised": Supervised,
}
