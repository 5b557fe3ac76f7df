"""What many tests stand on: real databases, migrated, one of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import migrate
from pipeline.database import Database
from tests.postgres import PostgresServer, running_postgres


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-golden", action="store_true", help="write the golden letters anew; read the diff"
    )


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that lives as long as the test session."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> str:
    """The name of a migrated database to copy; nothing may be connected to it."""
    name = postgres.create()
    db = Database(postgres.url(name))
    migrate.upgrade(db)
    db.close()
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def db_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, migrated database: once for each kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/ledger/letters.db"
        db = Database(url)
        migrate.upgrade(db)
        db.close()
        yield url
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
