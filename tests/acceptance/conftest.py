"""The sample, taken all the way once for all tests that only look at what came of it."""

import os
from pathlib import Path

import pytest

from tests.acceptance.site import SAMPLE, Site


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, let one of them have all that look at the sample."""
    for item in items:
        if "finished" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("finished"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site where the whole sample has been imported and run."""
    site = Site(tmp_path_factory.mktemp("finished"))
    site.letters("import", str(SAMPLE))
    site.letters("run", "2020")
    return site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An empty site."""
    assert os.environ.get("LETTERS_HOME") is None
    return Site(tmp_path)
