"""Every algorithm by its name on the command line. Adding one is adding its file and one line here."""

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.ict import ICT
from semisonic.algorithms.mixmatch import MixMatch
from semisonic.algorithms.policy_mixmatch import PolicyMixMatch
from semisonic.algorithms.supervised import Supervised

ALGORITHMS: dict[str, type[Algorithm]] = {
    "fixmatch": FixMatch,
    "ict": ICT,
    "mixmatch": MixMatch,
    "policy-mixmatch": PolicyMixMatch,
    "supervised": Supervised,
}
