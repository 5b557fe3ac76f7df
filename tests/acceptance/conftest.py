"""The sample, taken all the way once for all tests that only look at what came of it."""

import os
import shutil
from pathlib import Path

import pytest

from tests.acceptance.site import SAMPLE, Site, part_of_the_sample

STEVENAGE, WATFORD = "E07000243", "E07000103"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site where the whole sample has been imported and run."""
    every_core = {"LETTERS_CONVERT__WORKERS": "0"}
    site = Site(tmp_path_factory.mktemp("finished"), more=every_core)
    site.letters("import", str(SAMPLE))
    site.letters("run", "2020")
    return site


@pytest.fixture(scope="session")
def prepared_once(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with two letters made and nothing sent; to be copied, never to be changed."""
    site = Site(tmp_path_factory.mktemp("prepared"))
    folder = part_of_the_sample(site.folder / "data", [STEVENAGE, WATFORD])
    site.letters("import", str(folder))
    site.letters("prepare", "2020")
    return site


@pytest.fixture
def prepared(prepared_once: Site, tmp_path: Path) -> Site:
    """The letters of Stevenage and Watford, to two people each, made and nothing sent."""
    shutil.copytree(prepared_once.folder, tmp_path / "prepared")
    return Site(tmp_path / "prepared").confirmed()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An empty site."""
    assert os.environ.get("LETTERS_HOME") is None
    return Site(tmp_path)
