"""The sample, taken all the way once for all tests that only look at what came of it."""

import os
from pathlib import Path

import pytest

from tests.acceptance.site import SAMPLE, Site


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
