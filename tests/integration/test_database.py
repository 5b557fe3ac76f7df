"""Databases that are not there, not what they should be, or used by others at the same time."""

import pickle
import socket
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from pipeline import migrate
from pipeline.database import Database, absolute_url, parse_url
from pipeline.errors import LettersError, Misconfigured, Unavailable
from tests.postgres import PostgresServer, free_port

SECRET = "sword%20fish"  # noqa: S105 - nobody's


def said(error: BaseException) -> str:
    """The message, held to the form of all messages."""
    text = str(error)
    assert text.endswith("."), text
    assert not text.endswith(("..", "?.")), text
    assert "\n" not in text
    return text


# ------------------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nonsense", "is not a database URL; write for example sqlite:///var/letters.db or "),
        ("", "is not a database URL"),
        (f"postgresql://letters:{SECRET}@h:port/d", "is not a database URL"),
        ("mysql://letters@h/d", "a database of the kind mysql, which is not supported; write for"),
        ("postgres://letters@h/d", "the kind postgres, which is not supported; write for example"),
        ("sqlite://", "in memory, which keeps no record; name a file"),
        ("sqlite:///:memory:", "in memory, which keeps no record; name a file"),
        ("sqlite://var/letters.db", "more than a file; write three slashes"),
        ("sqlite:///var/letters.db?mode=ro", "more than a file.*nothing after the path but"),
        ("sqlite:///l.db?timeout=5&mode=ro", "more than a file.*nothing after the path but"),
        ("sqlite:///l.db?timeout=soon", r"a timeout .* from 0 to 3600 after \?timeout=\.$"),
        ("sqlite:///l.db?timeout=-1", "a timeout that is no time"),
        ("sqlite:///l.db?timeout=inf", "a timeout that is no time"),
        ("sqlite:///l.db?timeout=1&timeout=2", "a timeout that is no time"),
        (f"postgresql://letters:{SECRET}@{SECRET}@h/d", "more than one @; write %40"),
    ],
)
@pytest.mark.parametrize("setting", ["source.url", ""])
def test_a_wrong_url_is_refused_by_the_setting_it_came_from(
    tmp_path: Path, url: str, expected: str, setting: str
) -> None:
    named = setting or "The database's URL"
    with pytest.raises(Misconfigured, match=f"^{named} .*{expected}") as raised:
        Database(url, setting=setting)
    with pytest.raises(Misconfigured, match=f"^{named} .*{expected}"):
        absolute_url(url, tmp_path, setting=setting)
    assert "fish" not in said(raised.value)
    assert "fish" not in "".join(traceback.format_exception(raised.value))


def test_hosts_and_ports_that_do_not_match_are_refused() -> None:
    with pytest.raises(Misconfigured, match=r"^source\.url has hosts and ports") as raised:
        Database("postgresql://u@h/d?host=a:1,b:2&host=c", setting="source.url")
    said(raised.value)


def test_relative_paths_are_taken_from_the_project(tmp_path: Path) -> None:
    assert absolute_url("sqlite:///var/l.db", tmp_path) == f"sqlite:///{tmp_path}/var/l.db"
    assert absolute_url("sqlite:////var/l.db", tmp_path) == "sqlite:////var/l.db"
    given = "postgresql://u:p%40ss@h/d?options=-csearch_path%3Dstats"
    assert parse_url(absolute_url(given, tmp_path)) == parse_url(given)


def test_a_database_travels_whole_to_another_process(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/none.db", read_only=True, setting="source.url")
    there = pickle.loads(pickle.dumps(db))  # noqa: S301 - our own
    with pytest.raises(Unavailable, match=r"none\.db .*Check that source\.url is right"):
        there.read().__enter__()


# ---------------------------------------------------------------------------------------- secrets


@pytest.fixture
def refusing() -> Iterator[int]:
    """A port that nothing listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.parametrize(
    ("url", "kind", "expected"),
    [
        ("postgresql://letters:SECRET@127.0.0.1:PORT/d", Unavailable, "the server runs"),
        ("postgresql://letters@127.0.0.1:PORT/d?password=SECRET", Unavailable, "the server runs"),
        ("postgresql://l:SECRET@127.0.0.1:PORT/d?fo=1", Misconfigured, 'option "fo". Correct so'),
        ("postgresql://l:SECRET@127.0.0.1:PORT/d?connect_timeout=x", Misconfigured, "Correct sou"),
        ("postgresql://l:SECRET@127.0.0.1:PORT/d?sslmode=x", Unavailable, "sslmode"),
    ],
)
def test_a_password_is_never_shown(
    refusing: int, url: str, kind: type[LettersError], expected: str
) -> None:
    url = url.replace("SECRET", SECRET).replace("PORT", str(refusing))
    db = Database(url, setting="source.url")
    assert "fish" not in str(db)
    for use in (db.read, db.write):
        with pytest.raises(kind, match=expected) as raised, use():
            pass
        assert "source.url" in said(raised.value)
        assert f"127.0.0.1:{refusing}" in str(raised.value)
        assert "fish" not in "".join(traceback.format_exception(raised.value))
    db.close()


# ----------------------------------------------------------------------------------------- SQLite


def scrambled(path: Path) -> None:
    path.write_bytes(b"This is a letter, not a database. " * 100)


def torn(path: Path) -> None:
    """A database whose pages, other than the first, are another file's."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, words TEXT)")
        connection.executemany("INSERT INTO t (words) VALUES (?)", [("x" * 900,)] * 50)
    connection.close()
    kept = path.read_bytes()
    path.write_bytes(kept[:4096] + b"\x7f" * (len(kept) - 4096))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (scrambled, "file is not a database. Another kind of file.*correct source.url or move it"),
        (torn, "malformed. The file is damaged; put a backup"),
    ],
)
@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_that_is_no_database(
    tmp_path: Path, spoil: Callable[[Path], None], expected: str, read_only: bool
) -> None:
    path = tmp_path / "letters.db"
    spoil(path)
    db = Database(f"sqlite:///{path}", read_only=read_only, setting="source.url")
    with (
        pytest.raises(Unavailable, match=rf"letters\.db cannot be used: .*{expected}") as raised,
        db.read() as connection,
    ):
        connection.execute(sa.text("SELECT * FROM t")).all()
    said(raised.value)
    db.close()


@pytest.mark.parametrize("read_only", [True, False])
def test_a_folder_is_no_database(tmp_path: Path, read_only: bool) -> None:
    db = Database(f"sqlite:///{tmp_path}", read_only=read_only, setting="source.url")
    with pytest.raises(Misconfigured, match=r"is a folder; source\.url must name a file") as raised:
        db.read().__enter__()
    said(raised.value)
    db.close()


@pytest.fixture
def counter(tmp_path: Path) -> str:
    """The URL of an SQLite database with one table."""
    url = f"sqlite:///{tmp_path}/letters.db"
    db = Database(url)
    with db.write() as connection:
        connection.execute(sa.text("CREATE TABLE t (words TEXT)"))
    db.close()
    return url


INSERT = sa.text("INSERT INTO t (words) VALUES (:words)")


def _count(db: Database) -> int:
    with db.read() as connection:
        return int(connection.scalar(sa.text("SELECT count(*) FROM t")) or 0)


def test_a_read_only_database_says_so(counter: str) -> None:
    db = Database(counter, read_only=True)
    with (
        pytest.raises(Unavailable, match=r"readonly database\. The file, its folder") as raised,
        db.write() as connection,
    ):
        connection.execute(INSERT, {"words": "one"})
    said(raised.value)
    assert _count(db) == 0
    db.close()


def test_a_full_disk_says_so_and_leaves_nothing_half_written(counter: str) -> None:
    db = Database(counter)

    @event.listens_for(db.engine, "connect")
    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 10")

    with (
        pytest.raises(Unavailable, match=r"disk is full\. Make room on its disk") as raised,
        db.write() as connection,
    ):
        connection.execute(INSERT, [{"words": "one"}, {"words": "x" * 100_000}])
    said(raised.value)
    assert _count(db) == 0
    db.close()


def test_a_locked_database_says_so(counter: str, tmp_path: Path) -> None:
    db = Database(absolute_url(f"{counter}?timeout=0.1", tmp_path), setting="database.url")
    other = Database(counter)
    with other.write() as connection:
        connection.execute(INSERT, {"words": "one"})
        with (
            pytest.raises(Unavailable, match=r"locked\. Another .* 0\.1 seconds") as raised,
            db.write(),
        ):
            pass
        assert "?timeout=SECONDS at the end of database.url" in said(raised.value)
        assert _count(db) == 0
    assert _count(db) == 1
    db.close()
    other.close()


@pytest.mark.parametrize(("query", "milliseconds"), [("", 30_000), ("?timeout=2.5", 2500)])
def test_how_long_another_writer_is_waited_for(counter: str, query: str, milliseconds: int) -> None:
    db = pickle.loads(pickle.dumps(Database(counter + query)))  # noqa: S301 - our own
    with db.read() as connection:
        assert connection.scalar(sa.text("PRAGMA busy_timeout")) == milliseconds
    assert "timeout" not in str(db)
    db.close()


def test_a_missing_table_and_a_broken_rule_are_for_whoever_asked(db: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="nowhere"), db.read() as connection:
        connection.execute(sa.text("SELECT * FROM nowhere"))
    insert = sa.text("INSERT INTO editions (year) VALUES (NULL)")
    with pytest.raises(sa.exc.IntegrityError), db.write() as connection:
        connection.execute(insert)


# ------------------------------------------------------------------------------------- PostgreSQL


@pytest.fixture
def empty(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database without tables."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


def _show(db: Database, name: str) -> str:
    with db.read() as connection:
        return str(connection.scalar(sa.text(f"SHOW {name}")))


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    ("query", "environment", "expected"),
    [
        ("", "", '"$user", public'),
        ("?options=-csearch_path%3Dstats", "", "stats"),
        ("?options=-csearch_path%3Dstats&options=-cwork_mem%3D1MB", "", "stats"),
        ("", "-csearch_path=theirs", "theirs"),
        ("?options=-csearch_path%3Dstats", "-csearch_path=theirs", "stats"),
        ("?options=-cdefault_transaction_read_only%3Doff", "", '"$user", public'),
    ],
)
def test_options_in_the_url_count(
    monkeypatch: pytest.MonkeyPatch,
    empty: str,
    query: str,
    environment: str,
    expected: str,
    read_only: bool,
) -> None:
    if environment:
        monkeypatch.setenv("PGOPTIONS", environment)
    db = Database(empty + query, read_only=read_only)
    assert _show(db, "search_path") == expected
    assert _show(db, "default_transaction_read_only") == ("on" if read_only else "off")
    if "work_mem" in query:
        assert _show(db, "work_mem") == "1MB"
    db.close()


@pytest.mark.parametrize(
    ("query", "environment", "expected"),
    [
        ("", "", "10"),
        ("?connect_timeout=3", "", "3"),
        ("", "4", None),
        ("?connect_timeout=3", "4", "3"),
    ],
)
def test_the_time_to_connect_can_be_set(
    monkeypatch: pytest.MonkeyPatch, empty: str, query: str, environment: str, expected: str | None
) -> None:
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    if environment:
        monkeypatch.setenv("PGCONNECT_TIMEOUT", environment)
    db = Database(empty + query)
    with db.read() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        assert driver.info.get_parameters().get("connect_timeout") == (expected or environment)
    db.close()


def test_a_server_that_takes_no_changes_says_so(empty: str) -> None:
    db = Database(empty, read_only=True, setting="database.url")
    with pytest.raises(Unavailable, match=r"read-only.*standby; database\.url") as raised:
        migrate.upgrade(db)
    said(raised.value)
    db.close()


def test_missing_rights_are_said(postgres: PostgresServer, empty: str) -> None:
    postgres.execute("DROP ROLE IF EXISTS clerk")
    postgres.execute("CREATE ROLE clerk LOGIN")
    owner = Database(empty)
    with owner.write() as connection:  # as it is from PostgreSQL 15 on
        connection.execute(sa.text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
    owner.close()
    db = Database(empty.replace("letters@", "clerk@"), setting="database.url")
    with pytest.raises(Misconfigured, match=r"permission denied for schema public\. ") as raised:
        migrate.upgrade(db)
    assert "Give its user the rights" in said(raised.value)
    db.close()


def test_a_schema_that_is_not_there_is_said(empty: str) -> None:
    db = Database(f"{empty}?options=-csearch_path%3Dnowhere", setting="database.url")
    with pytest.raises(Misconfigured, match=r"no schema has been selected.*database\.url"):
        migrate.upgrade(db)
    db.close()


def test_a_server_that_is_not_there_is_said() -> None:
    db = Database(f"postgresql://letters@127.0.0.1:{free_port()}/d")
    with pytest.raises(Unavailable, match=r"refused\. Check that the server runs") as raised:
        migrate.upgrade(db)
    assert "its URL is right" in said(raised.value)
    db.close()


def test_only_what_says_so_is_not_synced(db: Database) -> None:
    """Which commits outlive a power cut is what the protocol stands on: the intent's must."""

    def waits_for(connection: sa.Connection) -> str:
        asked = "PRAGMA synchronous" if db.is_sqlite else "SHOW synchronous_commit"
        return str(connection.exec_driver_sql(asked).scalar_one())

    found = []
    for synced in (True, False, False, True):
        with db.write(synced=synced) as connection:
            found.append(waits_for(connection))
    full, normal = ("2", "1") if db.is_sqlite else ("on", "off")
    assert found == [full, normal, normal, full]
    with db.write() as one, db.read() as other:  # a second connection, its first time
        assert (waits_for(one), waits_for(other)) == (full, full)
