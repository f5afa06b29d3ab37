"""The configuration of the small run whose step is tried."""

from semisonic.config.command_line import resolve
from semisonic.config.run_config import RunConfig
from tests.support.trials import TRIAL_RUN


def configuration(*fields: str) -> RunConfig:
    return resolve([*TRIAL_RUN, "--no-baseline", *fields])[1]
