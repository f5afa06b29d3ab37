"""Scores of suspicion as ranks, and how well a ranking finds errors. Legend: N images."""

import numpy as np
from scipy.stats import rankdata


def rank(score_N: np.ndarray, higher_is_worse: bool = True) -> np.ndarray:
    """Ranks from 0 (surest) to 1 (most suspicious), float64; equal scores share their mean rank.

    Raises ValueError for a score that is no number.
    """
    score = np.asarray(score_N, np.float64)
    if np.isnan(score).any():
        raise ValueError(f"score: {int(np.isnan(score).sum())} of {len(score)} are not numbers")
    place = rankdata(score if higher_is_worse else -score)
    return (place - 1) / max(len(score) - 1, 1)


def mean_rank(*scores_N: np.ndarray, higher_is_worse: bool = True) -> np.ndarray:
    """The mean of several scores' ranks, itself as ranks from 0 (surest) to 1: scores of any scale join.

    higher_is_worse: of all scores; False for probabilities of the label.
    """
    if not scores_N:
        raise ValueError("give at least one score")
    return rank(np.mean([rank(score, higher_is_worse) for score in scores_N], axis=0))


def average_precision(score_N: np.ndarray, wrong_N: np.ndarray) -> float:
    """Of finding the wrong ones by descending score; NaN without any. Equal scores are taken in at once."""
    score, wrong = np.asarray(score_N, np.float64), np.asarray(wrong_N, bool)
    if not wrong.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # of each group of equal scores
    found = np.cumsum(wrong[order])[last]
    return float((np.diff(found, prepend=0) * found / (last + 1)).sum() / wrong.sum())


def precision_at_errors(score_N: np.ndarray, wrong_N: np.ndarray) -> float:
    """The share of wrong ones among as many of the highest scores as there are wrong ones; NaN without any."""
    wrong = np.asarray(wrong_N, bool)
    return recall_at(score_N, wrong, wrong.mean()) if wrong.any() else float("nan")


def recall_at(score_N: np.ndarray, wrong_N: np.ndarray, share: float = 0.1) -> float:
    """The share of the wrong ones that the highest scores hold, as `share` of all images; NaN without any."""
    score, wrong = np.asarray(score_N, np.float64), np.asarray(wrong_N, bool)
    if not wrong.any():
        return float("nan")
    first = np.argsort(-score, kind="stable")[: round(share * len(score))]
    return float(wrong[first].sum() / wrong.sum())
