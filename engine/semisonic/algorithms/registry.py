"""Every algorithm by its name on the command line. Adding one is adding its file and one line here."""

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.flexmatch import FlexMatch
from semisonic.algorithms.mean_teacher import MeanTeacher
from semisonic.algorithms.mixmatch import MixMatch
from semisonic.algorithms.pi_model import PiModel
from semisonic.algorithms.pseudo_label import PseudoLabel
from semisonic.algorithms.supervised import Supervised
from semisonic.algorithms.temporal_ensembling import TemporalEnsembling
from semisonic.algorithms.vat import VAT

ALGORITHMS: dict[str, type[Algorithm]] = {
    "fixmatch": FixMatch,
    "flexmatch": FlexMatch,
    "mean-teacher": MeanTeacher,
    "mixmatch": MixMatch,
    "pi-model": PiModel,
    "pseudo-label": PseudoLabel,
    "supervised": Supervised,
    "temporal-ensembling": TemporalEnsembling,
    "vat": VAT,
}
