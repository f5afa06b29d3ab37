"""One served project for the tests that only read it or are refused, and one for each that changes it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from semisonic.daily.project import Project
from tests.support.labeling_page import Browser, give_scores, new_project, served


def fill(project: Project, count: int) -> None:
    """A labeled day: some images are in the audit, the upper half is suspicious, the most suspicious first."""
    with project.store() as store:
        give_scores(store, range(1, count + 1))
        store.put_queue("audit", [1, 3, 11], 1)
        store.put_queue("suspicious", range(count, count // 2, -1), 1)
        store.put_queue("farthest", range(2, 9, 2), 1)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = new_project(tmp_path, 24)
    fill(made, 24)
    return made


@pytest.fixture
def browser(project: Project) -> Iterator[Browser]:
    with served(project) as found:
        yield found


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """For tests that change nothing."""
    made = new_project(tmp_path_factory.mktemp("reading"), 24)
    fill(made, 24)
    with served(made) as found:
        yield found
