"""A project over three days, for tests that only read it."""

from collections.abc import Iterator

import pytest

from semisonic.daily.project import Project
from semisonic.daily.report.known import Known, reading
from tests.support.daily_days import three_days


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return three_days(tmp_path_factory.mktemp("days"))


@pytest.fixture
def known(project: Project) -> Iterator[Known]:
    with reading(project) as found:
        yield found
