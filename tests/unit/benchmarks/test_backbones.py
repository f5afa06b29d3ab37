"""The benchmark of large networks: what it counts, and the runs that it compares."""

import torch

import backbones
from variants import configuration

MEBIBYTE = 2**20


def test_memory_is_the_peak_above_what_lay_there_before():
    kept = torch.empty(3 * MEBIBYTE, dtype=torch.uint8)

    def step() -> None:
        first = torch.empty(2 * MEBIBYTE, dtype=torch.uint8)
        del first
        second, third = (torch.empty(size * MEBIBYTE, dtype=torch.uint8) for size in (1, 4))
        del second, third

    assert backbones.step_memory(step, torch.device("cpu")) == 5 * MEBIBYTE
    assert len(kept) == 3 * MEBIBYTE


def test_cases_differ_in_what_they_compare_only():
    args = backbones.parser().parse_args(["--model", "efficientnet_b4", "--precision", "bf16", "--micro", "2"])
    found = [configuration(backbones.make_plan(args, ["--threads", "1"], *case)) for case in backbones.CASES]
    assert [(cfg.graphs, cfg.recompute) for cfg in found] == backbones.CASES
    same = {cfg.model_copy(update={"compile": "off", "recompute": False}).dump() for cfg in found}
    assert len(same) == 1 and found[0].batch.micro == 2
