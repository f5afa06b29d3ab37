"""Trials of whether a step fits into memory."""

from functools import cache

import torch

from semisonic.config.run_config import RunConfig
from semisonic.data.sets.base import DataConfig, DataSet
from semisonic.data.sets.registry import load_data_set
from semisonic.data.sets.splits import Split, make_split
from semisonic.runs.memory_fit import Trial
from semisonic.training.build import build_algorithm


@cache
def digits() -> tuple[DataSet, Split]:
    data = load_data_set(DataConfig())
    return data, make_split(DataConfig(), data.train.labels, len(data.classes), 0)


def trial_of(cfg: RunConfig, kind: type[Trial] = Trial) -> Trial:
    data, split = digits()
    return kind(lambda cfg: build_algorithm(cfg, data, split), data, split, torch.device("cpu"))
