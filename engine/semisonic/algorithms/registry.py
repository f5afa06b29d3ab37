"""Every algorithm by its name on the command line. Adding one is adding its file and one line here."""

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.mpl import MPL
from semisonic.algorithms.supervised import Supervised
from semisonic.algorithms.uda import UDA

ALGORITHMS: dict[str, type[Algorithm]] = {
    "fixmatch": FixMatch,
    "mpl": MPL,
    "supervised": Supervised,
    "uda": UDA,
}
