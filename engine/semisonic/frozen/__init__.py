"""Baselines on frozen features: what the weights that a run starts from come to before anything is trained.

`features` extracts them in ranks, `kept` keeps them for later runs; `neighbors`, `logistic` and `self_training` are the
baselines, and `report` is what a run tells of them.
"""
