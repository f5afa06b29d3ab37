"""The studies that are declared, by name."""

from semisonic.studies import ema, history, interleave, mixup, mpl, policies
from semisonic.studies.declaration import Study

CATALOG: dict[str, Study] = {
    module.STUDY.name: module.STUDY for module in (ema, interleave, mixup, policies, mpl, history)
}
