"""Connections to a database, SQLite or PostgreSQL, with the habits that keep writes safe.

SQLite is opened in autocommit driver mode and every writer begins with BEGIN IMMEDIATE: with the
driver's defaults, concurrent read-then-write updates were lost silently.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url

from pipeline.errors import Misconfigured, Unavailable

_BUSY_TIMEOUT_S = 30


class Database:
    """One database, opened lazily; pickles as its URL, so that a worker process can open its own.

    `read()` and `write()` give a connection inside one transaction, committed when the block ends
    and rolled back when it raises. A read sees one consistent state of the database throughout.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self._url = parse_url(url)
        self._read_only = read_only
        self._engine = _engine(self._url, read_only=read_only)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._url.render_as_string(hide_password=False), self._read_only)

    @property
    def engine(self) -> sa.Engine:
        """The SQLAlchemy engine, for migrations and reflection."""
        return self._engine

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database; None for a server."""
        if not self.is_sqlite or not self._url.database:
            return None
        return Path(self._url.database)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is an embedded SQLite file."""
        return self._url.get_backend_name() == "sqlite"

    def __str__(self) -> str:
        """The URL without its password, fit for people and logs."""
        return str(self.path) if self.path else self._url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent view: a snapshot on SQLite (WAL) and REPEATABLE READ on PostgreSQL."""
        with self._connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            else:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A writing transaction: alone from its first statement on SQLite."""
        with self._connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection, connection.begin():
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            reason = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
            if reason.startswith("no such"):
                raise  # a table or column, not the database: for whoever asked for it to explain
            raise Unavailable(
                f"The database {self} cannot be used: {reason}. "
                "Check that it exists, can be written to, and is not held by another program."
            ) from error

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()


def parse_url(url: str) -> URL:
    """Read a database URL; `postgresql://` means psycopg 3.

    Raises Misconfigured for what is not a URL of SQLite or PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise Misconfigured(
            "database.url or source.url is not a database URL; write for example "
            "sqlite:///var/letters.db or postgresql://user@host/name."
        ) from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        return parsed.set(drivername="sqlite")
    raise Misconfigured(
        f"Databases of the kind “{backend}” are not supported; "
        "database.url and source.url take sqlite:///... or postgresql://..."
    )


def _reopen(url: str, read_only: bool) -> Database:
    return Database(url, read_only=read_only)


def _engine(url: URL, *, read_only: bool) -> sa.Engine:
    if url.get_backend_name() == "postgresql":
        options = "-c default_transaction_read_only=on" if read_only else ""
        return sa.create_engine(
            url,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 10, "options": options},
        )
    if not url.database or url.database == ":memory:":
        raise Misconfigured(
            "An SQLite database in memory keeps no record; name a file: sqlite:///var/letters.db"
        )
    mode = "ro" if read_only else "rwc"
    uri = f"{Path(url.database).absolute().as_uri()}?mode={mode}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            uri,
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,  # autocommit: the transactions are begun by hand, above
            check_same_thread=False,
        )

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.QueuePool)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")

    return engine


def absolute_url(url: str, project: Path) -> str:
    """The URL with an SQLite file's relative path taken from `project`, not the current folder."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        path = os.path.normpath(project / parsed.database)
        return parsed.set(database=path).render_as_string(hide_password=False)
    return parsed.render_as_string(hide_password=False)
