"""One Postfix and one nursery of workers for all of these tests; a fresh ledger for each."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.crash.scene import Scene, set_scene
from tests.crash.worker import Nursery, running_nursery
from tests.postfix import Postfix, running_postfix


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
