"""In what the network of a run computes, the same on all ranks: settled once, and kept in its config.yaml."""

from semisonic.config.execution import Precision, common_precision
from semisonic.config.run_config import RunConfig
from semisonic.training.process import of_ranks


def with_precision(cfg: RunConfig, asked: str) -> tuple[RunConfig, Precision]:
    """The configuration with a precision in place of `auto`, and why it has that; to be called by all ranks.

    asked: the field as it was given, before the run that is continued said what it had come to.
    """
    if cfg.precision == "auto":
        settled = common_precision(of_ranks(cfg.arithmetic))
        return cfg.model_copy(update={"precision": settled.name}), settled
    return cfg, Precision(cfg.precision, "auto: the run was begun so" if asked == "auto" else "")
