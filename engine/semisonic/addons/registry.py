"""Every add-on by its name in the configuration, in the order in which they join an algorithm."""

from semisonic.addons.aum import AUM
from semisonic.addons.auxiliary import Auxiliary
from semisonic.addons.ctaugment import CTAugment
from semisonic.addons.prior import Prior
from semisonic.algorithms.add_on import AddOn
from semisonic.registry import Registry

ADD_ONS: Registry[type[AddOn]] = Registry(
    "add-on",
    {
        "auxiliary": Auxiliary,
        "ctaugment": CTAugment,
        "aum": AUM,
        "prior": Prior,
    },
)
