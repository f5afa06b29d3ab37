"""Trials of whether a step fits into memory."""

from functools import cache

import torch

from semisonic.config.run_config import RunConfig
from semisonic.data.sets.base import DataConfig, DataSet
from semisonic.data.sets.registry import load_data_set
from semisonic.data.sets.splits import Split, make_split
from semisonic.runs.memory_fit import Trial
from semisonic.training.build import build_algorithm

TRIAL_RUN = ["--device", "cpu", "--threads", "1", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--steps", "4",
          "--checkpoint.every", "4", "--eval.every", "4", "--log.every", "2", "--log.trackers", "none", "--algorithm.threshold",
          "0.12"]  # fmt: skip
"""Fields of a run of four steps."""


@cache
def digits() -> tuple[DataSet, Split]:
    data = load_data_set(DataConfig())
    return data, make_split(DataConfig(), data.train.labels, len(data.classes), 0)


def trial_of(cfg: RunConfig, kind: type[Trial] = Trial) -> Trial:
    data, split = digits()
    return kind(lambda cfg: build_algorithm(cfg, data, split), data, split, torch.device("cpu"))
