"""Connections to a database, SQLite or PostgreSQL, with the habits that keep writes safe.

SQLite is opened in autocommit driver mode and every writer begins with BEGIN IMMEDIATE: with the
driver's defaults, concurrent read-then-write updates were lost silently.
"""

import math
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import URL, make_url

from pipeline.errors import LettersError, Misconfigured, Unavailable

_NEVER_WAL_S = 1.0
_BUSY_TIMEOUT_S = 30
_LONGEST_S = 3600
_CONNECT_TIMEOUT_S = 10
_LOCK_TIMEOUT = "30s"

_WRITE = "write for example sqlite:///var/letters.db or postgresql://user@host/name."

# PostgreSQL's SQLSTATEs: insufficient_privilege, invalid_schema_name, read_only_sql_transaction.
_NOT_ALLOWED = frozenset({"42501", "3F000"})
_READ_ONLY_TRANSACTION = "25006"

# What SQLite says, and what to do about it.
_SQLITE_FIXES = {
    "not a database": "Another kind of file has this name; correct {setting} or move it away",
    "malformed": "The file is damaged; put a backup in its place",
    "readonly": (
        "The file, its folder or the disk is read only for whoever runs this; "
        "SQLite writes files beside its own, so the folder must be writable too"
    ),
    "is full": "Make room on its disk and run this again; nothing was half written",
    "is locked": (
        "Another program has been writing to it for {patience:g} seconds; run this again when that "
        "has finished, or wait longer with ?timeout=SECONDS at the end of {setting}"
    ),
    "unable to open": (
        "Check that {setting} is right, and that whoever runs this may read and write both the "
        "file and its folder"
    ),
    "disk I/O": "Its disk or the network has failed, or is full: see the system's log",
}


class Database:
    """One database, opened lazily; pickles as its URL, so that a worker process can open its own.

    `read()` and `write()` give a connection inside one transaction, committed when the block ends
    and rolled back when it raises. A read sees one consistent state of the database throughout.
    Both raise Unavailable for a database that cannot be used just now, and Misconfigured for one
    that is not what it should be; `setting` is the key that named the URL, for their sentences.
    """

    def __init__(self, url: str, *, read_only: bool = False, setting: str = "") -> None:
        self._url = parse_url(url, setting=setting)
        self._read_only = read_only
        self._setting = setting
        self._engine = _engine(self._url, read_only=read_only, setting=setting)

    def __reduce__(self) -> tuple[Any, ...]:
        url = self._url.render_as_string(hide_password=False)
        return _reopen, (url, self._read_only, self._setting)

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
        if self.path:
            return str(self.path)
        # SQLAlchemy hides the password in its usual place only; an option, or a misspelt one, may
        # hold another
        return self._url.set(query={}).render_as_string(hide_password=True)

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
    def write(self, *, synced: bool = True) -> Iterator[sa.Connection]:
        """A writing transaction: alone from its first statement on SQLite.

        What is not `synced` is committed for everybody at once, and outlives this process; a power
        cut may take it away until the next synced transaction is committed, by whomever.
        """
        with self._connect() as connection:
            if self.is_sqlite:
                _sync_at_commit(connection, synced)
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            elif not synced:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            yield connection

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection, connection.begin():
                yield connection
        except sa.exc.DBAPIError as error:
            if self.path is not None and self.path.is_dir():
                raise Misconfigured(
                    f"The database {self} is a folder; {self._setting or 'its URL'} must name a "
                    "file, as in sqlite:///var/letters.db."
                ) from error
            explained = self._explained(error)
            if explained is None:
                raise
            raise explained from error

    def _explained(self, error: sa.exc.DBAPIError) -> LettersError | None:
        """The error for a person; None for one that only whoever asked can explain."""
        reason = (str(error.orig).strip().splitlines() or ["no reason given"])[0].rstrip(".")
        setting = self._setting or "its URL"
        state = getattr(error.orig, "sqlstate", None)
        if state in _NOT_ALLOWED:
            return Misconfigured(
                f"The database {self} does not allow it: {reason}. "
                f"Give its user the rights and the schema it needs, or name another in {setting}."
            )
        if state == _READ_ONLY_TRANSACTION:
            return Unavailable(
                f"The database {self} takes no changes: {reason}. "
                f"It may be a standby; {setting} must name the server that is written to."
            )
        if isinstance(error, sa.exc.ProgrammingError) and error.statement is None:
            return Misconfigured(
                f"The database {self} cannot be connected to: {reason}. Correct {setting}."
            )
        # exactly DatabaseError: its subclasses are about one statement, or mean something else
        damaged = self.is_sqlite and type(error) is sa.exc.DatabaseError
        if not damaged and not isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError)):
            return None
        if reason.startswith("no such"):
            return None  # a table or column, not the database
        fix = "Check that it exists, can be written to, and is not held by another program"
        if not self.is_sqlite:
            fix = f"Check that the server runs and can be reached, and that {setting} is right"
        for sign, known in _SQLITE_FIXES.items():
            if self.is_sqlite and sign in reason:
                fix = known.format(setting=setting, patience=_patience(self._url))
        return Unavailable(f"The database {self} cannot be used: {reason}. {fix}.")

    def rewrite(self, tables: Sequence[sa.Table]) -> None:
        """Write the database anew, so that nothing changed or deleted is left in its files.

        Of an SQLite file all of it, and its -wal is emptied; on a server these tables, with what
        the planner remembers of them, while everybody else waits. Raises Unavailable where another
        program does not let go of the database.
        """
        with closing(self._engine.raw_connection()) as pooled:
            driver: Any = pooled.driver_connection
            try:
                if self.is_sqlite:
                    driver.execute("VACUUM")
                    if driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                        raise Unavailable(f"{self._unrewritten()}: another program is reading it.")
                    return
                driver.autocommit = True
                try:
                    driver.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
                    names = ", ".join(table.name for table in tables)
                    driver.execute(f"VACUUM (FULL, ANALYZE) {names}")
                    driver.execute("RESET lock_timeout")
                finally:
                    driver.autocommit = False
            except (sqlite3.Error, self._engine.dialect.loaded_dbapi.Error) as error:
                reason = (str(error).strip().splitlines() or ["no reason given"])[0].rstrip(".")
                raise Unavailable(f"{self._unrewritten()}: {reason}.") from error

    def _unrewritten(self) -> str:
        return f"The database {self} cannot be written anew"

    def insert(self, table: sa.Table) -> Any:
        """An INSERT that can say what to do about a row that is there: ON CONFLICT."""
        return (sqlite_insert if self.is_sqlite else postgresql_insert)(table)

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()


def parse_url(url: str, *, setting: str = "") -> URL:
    """Read a database URL; `postgresql://` means psycopg 3.

    Raises Misconfigured, naming `setting`, for what is not a URL of a PostgreSQL database or of an
    SQLite file. The URL is not repeated: it may hold a password, in a place not meant for it.
    """
    named = setting or "The database's URL"
    try:
        parsed = make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise Misconfigured(f"{named} is not a database URL; {_WRITE}") from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        # All but the last would be taken for the end of the password, and shown with the host.
        if url.count("@") > 1:
            raise Misconfigured(
                f"{named} holds more than one @; write %40 for those within a password or a name."
            )
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise Misconfigured(
            f"{named} names a database of the kind {backend}, which is not supported; {_WRITE}"
        )
    if (
        parsed.host
        or parsed.username
        or parsed.password
        or parsed.port
        or parsed.query.keys() - {"timeout"}
    ):
        raise Misconfigured(
            f"{named} names more than a file; write three slashes before a path within the project "
            "(sqlite:///var/letters.db), four before a whole one, and nothing after the path but "
            "?timeout=SECONDS."
        )
    if not 0 <= _patience(parsed) <= _LONGEST_S:
        raise Misconfigured(
            f"{named} names a timeout that is no time to wait for another program; write a number "
            f"of seconds from 0 to {_LONGEST_S} after ?timeout=."
        )
    if not parsed.database or parsed.database == ":memory:":
        raise Misconfigured(
            f"{named} names an SQLite database in memory, which keeps no record; "
            "name a file, as in sqlite:///var/letters.db."
        )
    return parsed.set(drivername="sqlite")


def _patience(url: URL) -> float:
    """The seconds to wait for another program that writes to an SQLite file; -1 for nonsense."""
    given = url.query.get("timeout", str(_BUSY_TIMEOUT_S))
    try:
        seconds = float(given) if isinstance(given, str) else -1.0
    except ValueError:
        return -1.0
    return seconds if math.isfinite(seconds) else -1.0


def _reopen(url: str, read_only: bool, setting: str) -> Database:
    return Database(url, read_only=read_only, setting=setting)


def _engine(url: URL, *, read_only: bool, setting: str) -> sa.Engine:
    if url.get_backend_name() == "postgresql":
        try:
            return sa.create_engine(
                url, pool_pre_ping=True, connect_args=_connect_args(url, read_only=read_only)
            )
        except sa.exc.ArgumentError:
            raise Misconfigured(
                f"{setting or 'The database’s URL'} has hosts and ports that do not belong "
                f"together; {_WRITE}"
            ) from None
    assert url.database  # noqa: S101 - parse_url saw to it
    mode = "ro" if read_only else "rwc"
    uri = f"{Path(url.database).absolute().as_uri()}?mode={mode}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            uri,
            uri=True,
            timeout=_patience(url),
            isolation_level=None,  # autocommit: the transactions are begun by hand, above
            check_same_thread=False,
        )

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.QueuePool)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        if not read_only:
            if not _is_anothers(connection):
                _write_ahead(connection, patience=_patience(url))
            connection.execute("PRAGMA synchronous = FULL")

    return engine


def _sync_at_commit(connection: sa.Connection, synced: bool) -> None:
    """Say what the next commit of an SQLite connection waits for; between two transactions only."""
    level = "FULL" if synced else "NORMAL"
    if connection.info.get("synchronous") != level:
        driver: Any = connection.connection.driver_connection
        driver.execute(f"PRAGMA synchronous = {level}")
        connection.info["synchronous"] = level


def _write_ahead(connection: sqlite3.Connection, *, patience: float) -> None:
    """Switch the journal to WAL, which stays so for every connection after this.

    It cannot be done while anybody else is writing to a new file, and SQLite does not wait for that
    by itself: it refuses at once, or leaves the mode as it was and says nothing.
    """
    began = time.monotonic()
    while True:
        waited = time.monotonic() - began
        try:
            [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or waited > patience:
                raise
        else:
            # A disk that cannot share memory (some network drives) never has WAL.
            if mode == "wal" or waited > _NEVER_WAL_S:
                return
        time.sleep(0.02)


def _is_anothers(connection: sqlite3.Connection) -> bool:
    """Whether an SQLite file is some other program's: the journal's mode is not ours to change."""
    names = {
        name
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE name NOT GLOB 'sqlite_*'"
        )
    }
    return bool(names) and "alembic_version" not in names


def _connect_args(url: URL, *, read_only: bool) -> dict[str, str | int]:
    """What is set beside the URL; as it replaces what URL and environment say, it adds to that."""
    arguments: dict[str, str | int] = {}
    if "connect_timeout" not in url.query and "PGCONNECT_TIMEOUT" not in os.environ:
        arguments["connect_timeout"] = _CONNECT_TIMEOUT_S
    options = list(url.normalized_query.get("options", ()))
    if read_only:
        options = options or [os.environ.get("PGOPTIONS", "")]
        options.append("-c default_transaction_read_only=on")
    if options:
        arguments["options"] = " ".join(options)
    return arguments


def absolute_url(url: str, project: Path, *, setting: str = "") -> str:
    """The URL with an SQLite file's relative path taken from `project`, not the current folder.

    Raises Misconfigured, naming `setting`, as `parse_url` does.
    """
    parsed = parse_url(url, setting=setting)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        path = os.path.normpath(project / parsed.database)
        return parsed.set(database=path).render_as_string(hide_password=False)
    return parsed.render_as_string(hide_password=False)
