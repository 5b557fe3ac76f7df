"""One Postfix and one nursery of workers for all of these tests; a fresh ledger for each."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.crash.scene import Scene, set_scene
from tests.crash.worker import Nursery, running_nursery
from tests.postfix import Postfix, running_postfix
from tests.postgres import PostgresServer


@pytest.fixture(scope="session")
def postfix() -> Iterator[Postfix]:
    """A Postfix that lives as long as the test session."""
    with running_postfix() as running:
        yield running


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """A nursery that lives as long as the test session."""
    with running_nursery() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def db_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, migrated database: once for each kind."""
    if request.param == "sqlite":
        (tmp_path / "ledger").mkdir()
        path = tmp_path / "ledger" / "letters.db"
        shutil.copy(request.getfixturevalue("migrated_file"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create(template=request.getfixturevalue("migrated"))
    yield server.url(name)
    server.drop(name)


Setting = Callable[..., Scene]


@pytest.fixture
def setting(db_url: str, tmp_path: Path, postfix: Postfix, nursery: Nursery) -> Iterator[Setting]:
    """Set the scene for a test: once for each kind of database."""
    with ExitStack() as stack:

        def setting(**more: Any) -> Scene:
            usual: dict[str, Any] = {"folder": tmp_path, "url": db_url, "postfix": postfix}
            return stack.enter_context(set_scene(nursery=nursery, **(usual | more)))

        yield setting


@pytest.fixture
def scene(setting: Setting) -> Scene:
    """Three letters to one mailbox: once for each kind of database."""
    return setting()
