"""What many tests stand on: real databases, migrated, one of each kind."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from pipeline import migrate
from pipeline.database import Database
from tests.acceptance import loaded
from tests.postgres import PostgresServer, running_postgres

_TOGETHER = {
    "tests/acceptance/test_annual_run.py": "finished",
    "tests/acceptance/test_golden_letters.py": "finished",
    "tests/acceptance/test_holds.py::test_what_cannot_be_held_back_is_refused": "finished",
    "tests/acceptance/test_bad_data.py": "bad data",
    "tests/acceptance/test_bad_environment.py": "bad environment",
    "tests/acceptance/test_bad_officers.py": "bad officers",
    "tests/acceptance/test_completion.py": "completion",
    "tests/acceptance/test_edges.py": "edges",
    "tests/acceptance/test_export.py": "export",
    "tests/acceptance/test_letter.py": "letter",
    "tests/acceptance/test_metrics.py": "metrics",
    "tests/acceptance/test_reports.py": "reports",
    "tests/acceptance/test_resend.py": "resend",
    "tests/acceptance/test_resolve.py": "resolve",
    "tests/acceptance/test_screen.py": "screen",
    "tests/acceptance/test_signals.py": "signals",
    "tests/acceptance/test_start_up.py": "start-up",
    "tests/acceptance/test_verify.py": "verify",
    "tests/integration/test_accessible.py": "accessible",
    "tests/integration/test_dask.py": "dask",
    "tests/integration/test_forgetting.py": "forgetting",
    "tests/integration/test_s3.py": "s3",
}
"""Where tests begin whose costly set-up is one, and what they have in common.

The mark xdist_group would say it beside them; but pytest-xdist 3.8 loses it under pytest 9.2.
"""


class _Together(LoadScopeScheduling):  # type: ignore[misc] # of a library without types
    """Tests that have a costly set-up in common go to one process, others where there is room."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        name = test.partition("[")[0]
        return _TOGETHER.get(f"{file}::{name}") or _TOGETHER.get(file) or nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Together | None:
    """How tests are shared out among processes with --dist loadgroup, as ./check has it."""
    return _Together(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """No test takes the sample all the way in a process of its own: that takes most of a minute."""
    for item in items:
        if "finished" in getattr(item, "fixturenames", ()):
            file, name = item.nodeid.partition("::")[0], item.nodeid.partition("[")[0]
            assert "finished" in {_TOGETHER.get(file), _TOGETHER.get(name)}, (
                f"{item.nodeid} has to be among those of tests/conftest.py that go together"
            )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-golden", action="store_true", help="write the golden letters anew; read the diff"
    )
    parser.addoption(
        "--cold", action="store_true", help="start every call of the command from nothing"
    )


def pytest_configure(config: pytest.Config) -> None:
    loaded.cold = bool(config.getoption("--cold"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that lives as long as the test session, and no power cut is tried on."""
    with running_postgres(survives_power_cut=False) as server:
        yield server


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> str:
    """The name of a migrated database to copy; nothing may be connected to it."""
    name = postgres.create()
    db = Database(postgres.url(name))
    migrate.upgrade(db)
    db.close()
    return name


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "letters.db"
    db = Database(f"sqlite:///{path}")
    migrate.upgrade(db)
    db.close()
    assert list(path.parent.iterdir()) == [path], "nothing of it lies beside it any more"
    return path


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


@pytest.fixture
def db(db_url: str) -> Iterator[Database]:
    """A fresh, migrated database: once for each kind."""
    database = Database(db_url)
    yield database
    database.close()
