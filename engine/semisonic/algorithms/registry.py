"""Every algorithm by its name on the command line. Adding one is adding its file and one line here."""

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.remixmatch import ReMixMatch
from semisonic.algorithms.rotnet import RotNet
from semisonic.algorithms.simclr import SimCLR
from semisonic.algorithms.supervised import Supervised

ALGORITHMS: dict[str, type[Algorithm]] = {
    "fixmatch": FixMatch,
    "remixmatch": ReMixMatch,
    "rotnet": RotNet,
    "simclr": SimCLR,
    "supervised": Supervised,
}
