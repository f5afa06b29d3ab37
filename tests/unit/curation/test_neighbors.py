import time

import numpy as np
import pytest

from semisonic.curation import neighbors
from tests.support.curation import blobs


def test_all_images_are_looked_at_and_the_nearest_come_first():
    features, group = blobs(5, 40)
    index = neighbors.Index(features.astype(np.float16)).build()
    assert index.exact and index.notice is None
    rows, similarity = index.nearest(7, 10)
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    order = [row for row in np.argsort(-(expected @ expected[7])) if row != 7][:10]
    assert set(rows) == set(order) and (np.diff(similarity) <= 0).all()
    assert (group[rows] == group[7]).all()
    assert index.nearest(features[7], 1)[0].tolist() == [7]


def test_only_allowed_images_are_found_and_fewer_where_there_are_no_more():
    features, _ = blobs(5, 40)
    allowed = np.zeros(200, bool)
    allowed[[3, 7, 150]] = True
    index = neighbors.Index(features)
    assert set(index.nearest(7, 10, allowed)[0]) == {3, 150}
    assert allowed[7]  # the caller's own is not changed
    assert len(index.nearest(7, 10, np.zeros(200, bool))[0]) == 0
    with pytest.raises(ValueError, match="rows 0 to 199"):
        index.nearest(200, 1)


def test_many_images_without_faiss_are_searched_exactly_and_that_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(neighbors, "faiss", None)
    monkeypatch.setattr(neighbors, "EXACT", 50)
    index = neighbors.Index(blobs(5, 40)[0]).build()
    assert index.exact and "among 200 images are found without an index" in index.notice
    assert "semisonic[index]" in index.notice
    assert len(index.nearest(0, 5)[0]) == 5


def test_the_index_finds_what_the_exact_search_finds(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(neighbors, "EXACT", 1_000)
    monkeypatch.setattr(neighbors, "PROBED", 8)
    features, group = blobs(40, 100)
    index, exact = neighbors.Index(features).build(), neighbors.Index(features)
    assert not index.exact and index.notice is None
    hits = [len(set(index.nearest(row, 20)[0]) & set(exact.nearest(row, 20)[0])) for row in range(0, 4_000, 400)]
    assert np.mean(hits) >= 18
    allowed = group != group[0]  # all of its own group may not be found: the query looks farther
    rows, similarity = index.nearest(0, 300, allowed)
    assert len(rows) == 300 and allowed[rows].all() and (np.diff(similarity) <= 1e-6).all()


@pytest.mark.long
def test_a_query_among_a_million_images_is_quick():
    pytest.importorskip("faiss")
    random = np.random.default_rng(0)
    centers = random.normal(size=(2_000, 64)).astype(np.float32)
    features = np.concatenate(
        [centers[random.integers(0, 2_000, 100_000)] + random.normal(size=(100_000, 64)) / 4 for _ in range(10)]
    ).astype(np.float16)
    index = neighbors.Index(features).build()
    index.nearest(0, 50)
    begun = time.perf_counter()
    for row in range(0, 1_000_000, 50_000):
        index.nearest(row, 50, np.ones(1_000_000, bool))
    assert (time.perf_counter() - begun) / 20 < 0.2
