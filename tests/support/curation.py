"""Images for what chooses and audits them: predictions with their certainty, and features in groups."""

from functools import cache

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from semisonic.curation import audit


def predictions(seed: int, count: int = 1_400, doubt: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """(certainty [N], right bool [N]) of a network whose certainty is calibrated; the more doubt, the less is right."""
    random = np.random.default_rng(seed)
    certainty = random.beta(5, doubt, count)
    return certainty, random.random(count) < certainty


def audited(
    certainty_N: np.ndarray, right_N: np.ndarray, n: int, seed: int = 0, looked: int | None = None,
    run: str = "day-003", of: str = "day 3",
) -> audit.Audit:  # fmt: skip
    """An audit of n images, of which the first `looked` were looked at."""
    cut = audit.strata(certainty_N)
    drawn = audit.draw(cut, n, seed)
    rows, stratum = drawn.rows[:looked], drawn.stratum[:looked]
    return audit.counted(run, of, drawn.method, cut.sizes_S, cut.means_S, stratum, right_N[rows])


def blobs(groups: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    """(features [N, 16], group [N]): groups that lie apart, in random order."""
    random = np.random.default_rng(0)
    centers = (
        np.linalg.qr(random.normal(size=(16, 16)))[0][:groups] if groups <= 16 else random.normal(size=(groups, 16))
    )
    group = random.permutation(np.repeat(np.arange(groups), each))
    return centers[group] * 4 + random.normal(size=(len(group), 16)) / 3, group


@cache
def digits_features() -> tuple[np.ndarray, np.ndarray]:
    """(32 principal components of the pixels, class) of all 1,797 digits."""
    images, truth = load_digits(return_X_y=True)
    return PCA(32, random_state=0).fit_transform(images), truth


def nearest_accuracy(features: np.ndarray, truth: np.ndarray, labeled: np.ndarray) -> float:
    """The share of right classes where every image takes that of the nearest labeled one."""
    distance = ((features[:, None] - features[labeled][None]) ** 2).sum(-1)
    return float((truth[labeled][distance.argmin(1)] == truth).mean())
