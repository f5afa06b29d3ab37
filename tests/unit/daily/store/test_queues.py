"""Queues keep their order, and whoever is in one stays where it is."""

from pathlib import Path

import pytest

from semisonic.schema import UserError
from tests.support.daily import WHO, new_store


def test_images_are_in_the_order_in_which_they_came(tmp_path: Path):
    store = new_store(tmp_path, 6)
    store.put_queue("suspicious", [4, 2], 1)
    store.put_queue("suspicious", [1, 4, 3], 2)
    assert store.queue("suspicious").tolist() == [4, 2, 1, 3] and store.queue("audit").tolist() == []
    store.leave_queue("suspicious", [2, 9])
    assert store.queue("suspicious").tolist() == [4, 1, 3]
    store.empty_queue("suspicious")
    assert store.queue("suspicious").tolist() == []
    for action in (lambda: store.put_queue("free", [1], 1), lambda: store.queue("free")):
        with pytest.raises(UserError, match=r"^queue: there is none called free; one of audit, suspicious, given, "):
            action()


def test_an_undone_change_of_classes_takes_back_its_own_images_alone(tmp_path: Path):
    store = new_store(tmp_path, 3, labeled=2)
    first = store.merge_classes("cat", "dog", WHO)
    store.put_queue("second-look", [3], 1)
    second = store.merge_classes("dog", "owl", WHO)
    assert second == first + 1 and store.queue("second-look").tolist() == [1, 2, 3]
    store.undo([second], WHO)
    assert store.queue("second-look").tolist() == [1, 2, 3], "the first merge stands"
    store.undo([first], WHO)
    assert store.queue("second-look").tolist() == [3]
