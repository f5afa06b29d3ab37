"""Every algorithm by its name on the command line. Adding one is adding its file and one line here; a plug-in
registers its own."""

from semisonic.algorithms.adamatch import AdaMatch
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.comatch import CoMatch
from semisonic.algorithms.dash import Dash
from semisonic.algorithms.defixmatch import DeFixMatch
from semisonic.algorithms.enaet import EnAET
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.flexmatch import FlexMatch
from semisonic.algorithms.freematch import FreeMatch
from semisonic.algorithms.ict import ICT
from semisonic.algorithms.mean_teacher import MeanTeacher
from semisonic.algorithms.mixmatch import MixMatch
from semisonic.algorithms.mpl import MPL
from semisonic.algorithms.pi_model import PiModel
from semisonic.algorithms.policy_mixmatch import PolicyMixMatch
from semisonic.algorithms.pretext import Pretext
from semisonic.algorithms.pseudo_label import PseudoLabel
from semisonic.algorithms.refixmatch import ReFixMatch
from semisonic.algorithms.remixmatch import ReMixMatch
from semisonic.algorithms.rotnet import RotNet
from semisonic.algorithms.shrinkmatch import ShrinkMatch
from semisonic.algorithms.simclr import SimCLR
from semisonic.algorithms.simmatch import SimMatch
from semisonic.algorithms.softmatch import SoftMatch
from semisonic.algorithms.supervised import Supervised
from semisonic.algorithms.temporal_ensembling import TemporalEnsembling
from semisonic.algorithms.uda import UDA
from semisonic.algorithms.vat import VAT
from semisonic.registry import Registry

ALGORITHMS: Registry[type[Algorithm]] = Registry(
    "algorithm",
    {
        "adamatch": AdaMatch,
        "comatch": CoMatch,
        "dash": Dash,
        "defixmatch": DeFixMatch,
        "enaet": EnAET,
        "fixmatch": FixMatch,
        "flexmatch": FlexMatch,
        "freematch": FreeMatch,
        "ict": ICT,
        "mean-teacher": MeanTeacher,
        "mixmatch": MixMatch,
        "mpl": MPL,
        "pi-model": PiModel,
        "policy-mixmatch": PolicyMixMatch,
        "pseudo-label": PseudoLabel,
        "refixmatch": ReFixMatch,
        "remixmatch": ReMixMatch,
        "rotnet": RotNet,
        "shrinkmatch": ShrinkMatch,
        "simclr": SimCLR,
        "simmatch": SimMatch,
        "softmatch": SoftMatch,
        "supervised": Supervised,
        "temporal-ensembling": TemporalEnsembling,
        "uda": UDA,
        "vat": VAT,
    },
)

DEFAULT = "fixmatch"
"""The algorithm of a configuration that names none."""
BASELINE = "supervised"
"""The one that shows what the unlabeled images bring."""
PRETEXT = "simclr"
"""The pretext task of a pre-training that names none."""


def is_pretext(name: str) -> bool:
    """Whether an algorithm learns features for other runs to start from."""
    return issubclass(ALGORITHMS[name], Pretext)
