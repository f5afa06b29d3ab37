"""The studies that are declared, by name."""

from semisonic.studies import ema, history, mixup, policies
from semisonic.studies.declaration import Study

CATALOG: dict[str, Study] = {study.name: study for study in (ema.STUDY, mixup.STUDY, policies.STUDY, history.STUDY)}
