"""One optimizer step of any algorithm in this process, through its `train_step`."""

from semisonic.check.tiny import Engine, Runner

__all__ = ["Engine", "Runner"]
