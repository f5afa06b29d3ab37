"""The nearest images of an image by their features. Legend: N images, D values of a feature, K neighbors.

Up to 100,000 images every query looks at all of them. Of more, faiss (the extra `index`) keeps an index that groups
them, and a query looks at the nearest groups only: a little less exact, and fast at any number.
"""

from importlib import import_module
from typing import Any

import numpy as np

from semisonic.curation.choice import CHUNK, normalized

EXACT = 100_000
TRAINED = 64
"""Images a group from which the index learns its groups."""
PROBED = 32
"""Groups that a query looks at first."""


def _optional(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


faiss = _optional("faiss")


class Index:
    """Finds images by cosine similarity.

    features_ND: of any floating type, also memory-mapped; read as they are needed, and copied once where an index is
    built. Queries may come from several threads.
    """

    def __init__(self, features_ND: np.ndarray):
        if features_ND.ndim != 2 or not len(features_ND):
            raise ValueError(f"features: of shape {features_ND.shape}; give one row an image, at least one")
        self.features_ND = features_ND
        self._index: Any = None

    def __len__(self) -> int:
        return len(self.features_ND)

    @property
    def exact(self) -> bool:
        """Whether queries look at all images."""
        return self._index is None

    @property
    def notice(self) -> str | None:
        """What a person should know who waits for queries: that faiss is missing."""
        if faiss is not None or len(self) <= EXACT:
            return None
        return (
            f"neighbors among {len(self):,} images are found without an index, which takes seconds each: "
            "install faiss-cpu (pip install 'semisonic[index]')"
        )

    def build(self) -> "Index":
        """Builds the index where one helps and faiss is there: about a minute a million images of 128 values."""
        if faiss is None or len(self) <= EXACT or self._index is not None:
            return self
        width = self.features_ND.shape[1]
        groups = int(2 ** np.round(np.log2(np.sqrt(len(self)))))
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(width), width, groups, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        random = np.random.default_rng(0)
        index.train(normalized(self.features_ND[np.sort(random.permutation(len(self))[: TRAINED * groups])]))
        step = max(1, CHUNK // width)
        for start in range(0, len(self), step):
            index.add(normalized(self.features_ND[start : start + step]))
        self._index = index
        return self

    def nearest(
        self, of: int | np.ndarray, k: int, allowed_N: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(rows int64 [K], cosine similarity float32 [K]) of the k nearest images, the nearest first; fewer where there
        are no more.

        of: an image's row, which is left out itself, or a feature [D]. allowed_N: bool, which images may be found.
        """
        allowed = np.ones(len(self), bool) if allowed_N is None else np.array(allowed_N, bool)
        if isinstance(of, int | np.integer):
            if not 0 <= of < len(self):
                raise ValueError(f"row {of}: there are rows 0 to {len(self) - 1:,}")
            allowed[of] = False
            of = self.features_ND[of]
        k = min(k, int(allowed.sum()))
        if k < 1:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        query = normalized(np.asarray(of)[None])
        return self._all(query, k, allowed) if self._index is None else self._some(query, k, allowed)

    def _all(self, query: np.ndarray, k: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        step = max(1, CHUNK // self.features_ND.shape[1])
        parts = [normalized(self.features_ND[at : at + step]) @ query[0] for at in range(0, len(self), step)]
        similarity = np.where(allowed, np.concatenate(parts), -np.inf)
        found = np.argpartition(-similarity, k - 1)[:k]
        found = found[np.lexsort((found, -similarity[found]))]
        return found, similarity[found]

    def _some(self, query: np.ndarray, k: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        groups, probed = self._index.nlist, PROBED
        while True:
            options = faiss.SearchParametersIVF(sel=selector, nprobe=min(probed, groups))
            similarity, rows = self._index.search(query, k, params=options)
            if (rows[0] >= 0).all() or probed >= groups:
                found = rows[0] >= 0
                return rows[0][found], similarity[0][found]
            probed *= 4  # too few of the allowed ones lie in the nearest groups
