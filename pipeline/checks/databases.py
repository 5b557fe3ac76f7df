"""The ledger and the statistics: there, whole, of the right version, and what stands in them."""

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from pipeline import bootstrap, migrate, schema, source
from pipeline.checks.found import Check, Looking, fault, note, ok, size, warning
from pipeline.database import Database, absolute_url
from pipeline.figures import Counts
from pipeline.ledger import approvals, runs, story
from pipeline.letter import Edition
from pipeline.settings import Settings
from pipeline.source import LONDON

PATIENCE = 5.0
"""Seconds to wait for another program that holds an SQLite file."""
INTEGRITY_SECONDS = 10.0
"""Seconds that reading a whole SQLite file may take."""
LITTLE_ROOM = 1_000_000_000
"""Bytes free on a disk below which somebody should make room."""
NO_ROOM = 50_000_000
"""Bytes free on a disk below which a run will not get far."""

IMPORT = "letters import FOLDER or BOOK.xlsx"
"""What to do where there are no statistics."""

SERVER_SECONDS = 10
"""Seconds that a server may take for one question."""

_STEPS = 1000  # of SQLite's own, between two looks at the time
_SHOWN = 5  # editions
_NUMBERED = re.compile(r"\d{4}")
_UNREAD = {"officers": {"id"}, "decisions": {"received_on", "category"}}
_READABLE = ", ".join(table.name for table in schema.STATISTICS)


def ledger(settings: Settings) -> Looking[bool]:
    """The ledger's database; whether it can be read by this version of the program."""
    with closing(read_only(settings)) as db:
        if db.path is not None:
            return (yield from _embedded(db, db.path))
    with closing(bootstrap.open_ledger(settings)) as db:
        return (yield from _server(db))


def read_only(settings: Settings) -> Database:
    """The ledger's database as a reader has it: opening it for writing would change the file."""
    url = absolute_url(settings.database.url, settings.project, setting="database.url")
    return Database(url, read_only=True, setting="database.url")


@contextmanager
def tidy(db: Database) -> Iterator[None]:
    """While an SQLite file is read, keep it open for writing too.

    Whoever closes it last clears its -wal and -shm files away, and a reader may not. Where these
    are there already they belong to somebody, and are left alone. On a disk that is full SQLite
    leaves both behind, empty, whoever opens it.
    """
    path = db.path
    keeper = None
    if path is not None and path.is_file() and not path.with_name(f"{path.name}-wal").exists():
        with suppress(sqlite3.Error):  # what is the matter with it, whoever reads it will say
            keeper = _opened(path)
            keeper.execute("PRAGMA schema_version")
    try:
        yield
    finally:
        db.close()
        if keeper is not None:
            keeper.close()


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE, isolation_level=None
    )


def _embedded(db: Database, path: Path) -> Looking[bool]:
    if not path.exists():
        yield from to_be_made(
            "ledger", path, f"There is none yet; the first import makes {path}.", "database.url"
        )
        return False
    if held := _held(path):
        yield held
        return False
    with tidy(db):
        with db.read() as connection:  # says what is the matter with a file that is no database
            tables = set(sa.inspect(connection).get_table_names())
            journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        with closing(_opened(path)) as connection_:
            wrong = [*_integrity(connection_, path), *_writing(connection_, path)]
        yield from wrong
        stands_at = migrate.current(db)
        readable = yield from _version(db, stands_at, tables)
    if readable and not wrong:
        yield ok(
            "ledger",
            f"{path}: SQLite, version {stands_at}, sound, may be written to, "
            f"journal {str(journal).upper()}; {size(path.stat().st_size)}, "
            f"{size(free(path.parent))} free.",
        )
    yield from room("ledger", path.parent)
    return readable


def _held(path: Path) -> Check | None:
    """The fault that nothing can be read, because another program holds the whole file."""
    try:
        with closing(_opened(path)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY:
            return _busy(path)
    return None


def _busy(path: Path) -> Check:
    return fault(
        "ledger",
        f"Another program has been writing to {path} for {PATIENCE:g} seconds.",
        "Wait for it to finish, or end it, and look again.",
    )


def _integrity(connection: sqlite3.Connection, path: Path) -> Iterator[Check]:
    """What reading an SQLite file to its end brings to light."""
    deadline = time.monotonic() + INTEGRITY_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        said = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            yield note(
                "ledger",
                f"{path} is too large to be read to its end in {INTEGRITY_SECONDS:g} seconds, so "
                "whether it is sound is not known.",
            )
            return
        said = [str(error)]
    finally:
        connection.set_progress_handler(None, 0)
    if said != ["ok"]:
        yield fault(
            "ledger", f"{path} is damaged: {'; '.join(said)}.", "Put a backup in its place."
        )


def _writing(connection: sqlite3.Connection, path: Path) -> Iterator[Check]:
    """What beginning to write to an SQLite file brings to light; nothing is written."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY:
            yield _busy(path)
            return
        yield fault(
            "ledger",
            f"{path} cannot be written to: {error}.",
            "Let whoever runs this write to the file and its folder, and make sure that its disk "
            "has room.",
        )


def _server(db: Database) -> Looking[bool]:
    with db.read() as connection:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {SERVER_SECONDS * 1000}")
        server = connection.exec_driver_sql("SHOW server_version").scalar_one()
        may_not = connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"
        tables = set(sa.inspect(connection).get_table_names())
        refused = [
            f"{right} on {table.name}"
            for table in schema.metadata.sorted_tables
            if table not in schema.STATISTICS and table.name in tables
            for right in ("SELECT", "INSERT", "UPDATE")
            if not connection.scalar(
                sa.select(sa.func.has_table_privilege(sa.func.current_user(), table.name, right))
            )
        ]
    stands_at = migrate.current(db)
    readable = yield from _version(db, stands_at, tables)
    if may_not:
        yield fault(
            "ledger",
            f"The server of {db} takes no changes.",
            "It may be a standby; database.url must name the server that is written to.",
        )
    elif readable and refused:
        yield fault(
            "ledger",
            f"The user of {db} may not do all that a run does: it lacks {', '.join(refused)}.",
            "Grant it these, or name another user in database.url.",
        )
    elif readable:
        yield ok(
            "ledger",
            f"{db}: PostgreSQL {server}, version {stands_at}, may be written to.",
        )
    return readable


def _version(db: Database, stands_at: str | None, tables: set[str]) -> Looking[bool]:
    """Whether the tables are what this version of the program works with."""
    head = migrate.head()
    if stands_at == head:
        return True
    ours = schema.metadata.tables.keys()
    if stands_at is None and tables & ours:
        yield fault(
            "ledger",
            f"{db} holds tables of the same names that this program did not make "
            f"({', '.join(sorted(tables & ours))}).",
            "Name a database of its own in database.url.",
        )
    elif stands_at is not None and not (_NUMBERED.fullmatch(stands_at) and stands_at < head):
        yield fault(
            "ledger",
            f"{db} is at version {stands_at}, which this program does not know; it needs {head}.",
            "It was written by a newer version of the program: install that one.",
        )
    elif db.is_sqlite and stands_at is None and tables:
        yield fault(
            "ledger",
            f"{db} is another program's: it holds {', '.join(sorted(tables)[:5])}, and none of "
            "this program's tables.",
            "Name a file of its own in database.url.",
        )
    elif db.is_sqlite:
        found = "is empty" if stands_at is None else f"is at version {stands_at}"
        yield note(
            "ledger",
            f"{db} {found}; this program needs {head}, and the next command that writes sees to "
            "it.",
            "letters db upgrade does it now.",
        )
    else:
        yield fault(
            "ledger",
            f"{db} is at version {stands_at or 'none'}, and this program needs {head}.",
            "letters db upgrade",
        )
    return False


def newest_event(settings: Settings) -> Looking[datetime | None]:
    """When the newest thing on record happened; nothing is found by itself."""
    yield from ()
    with closing(read_only(settings)) as db, tidy(db), db.read() as connection:
        newest: datetime | None = connection.scalar(sa.select(sa.func.max(schema.events.c.at)))
        return newest


def archived(settings: Settings) -> Looking[int]:
    """How many letters the ledger names in the archive; nothing is found by itself."""
    yield from ()
    with closing(read_only(settings)) as db, tidy(db), db.read() as connection:
        made = schema.letters.c.pdf.is_not(None)
        named = sa.select(sa.func.count()).select_from(schema.letters).where(made)
        return connection.scalar(named) or 0


def statistics(settings: Settings) -> Looking[Edition | None]:
    """The statistics database: its relations, and the newest edition pulled as a run would."""
    apart = bool(settings.source.url)
    setting = "source.url" if apart else "database.url"
    with closing(bootstrap.open_statistics(settings)) as db, tidy(db):
        if db.path is not None and not db.path.exists():
            fix = IMPORT
            if apart:
                fix = "Correct source.url, or leave it empty to keep statistics with the ledger."
            yield fault("statistics", f"There is no {db}, so no statistics.", fix)
            return None
        if not apart and migrate.current(db) is None:
            yield fault("statistics", f"{db} holds no statistics yet.", IMPORT)
            return None
        lacking = list(_lacking(db))
        if lacking:
            yield fault(
                "statistics",
                f"{db} does not offer {'; nor '.join(lacking)}.",
                f"{setting} must name a database with tables or views named {_READABLE}, with the "
                "columns that docs/data.md describes; whoever runs this must be allowed to read "
                "them.",
            )
            return None
        years = source.years(db)
        with db.read() as connection:
            bodies = connection.scalar(sa.select(sa.func.count()).select_from(schema.authorities))
        if not years:
            yield fault(
                "statistics",
                f"{db} has no edition: no year's dates, signatory and facts.",
                f"{IMPORT}, with editions.csv or a sheet editions."
                if not apart
                else "Add one there.",
            )
            return None
        with source.pull(db, years[-1]) as pulled:
            edition, count = pulled.edition, pulled.count
            empty = sum(one.counts == Counts() for one in pulled.records)
        known = "the edition"
        if len(years) > 1:
            listed = ", ".join(map(str, years[-_SHOWN:]))
            last = "the last " if len(years) > _SHOWN else ""
            known = f"{len(years):,} editions ({last}{listed}); that"
        yield ok(
            "statistics",
            f"{db}{', read only' if apart else ''}: "
            f"{bodies or 0:,} {'authority' if bodies == 1 else 'authorities'}; "
            f"{known} of {edition.year} makes {count:,} {'letter' if count == 1 else 'letters'}.",
        )
        if empty * 2 > count:
            yield warning(
                "statistics",
                f"{empty:,} of {count:,} authorities have no decision between "
                f"{edition.period_start:%-d %B %Y} and {edition.period_end:%-d %B %Y}; their "
                "letters will say so. Is the sample still in this database?",
                "Bring the missing decisions in, or begin with a database that holds your own "
                "statistics alone: the README says how, under “Your own year”.",
            )
        return edition


def _lacking(db: Database) -> Iterator[str]:
    """What the statistics database lacks of what a run reads; views that are broken too."""
    for table in schema.STATISTICS:
        there: set[str] = set()
        try:
            with db.read() as connection:  # one each: on a server, an error ends the transaction
                there |= set(
                    connection.execute(sa.text(f"SELECT * FROM {table.name} WHERE 1 = 0")).keys()  # noqa: S608
                )
        except sa.exc.DBAPIError as error:
            reason = (str(error.orig).strip().splitlines() or ["unreadable"])[0]
            yield f"{table.name} ({reason})"
            continue
        wanted = {column.name for column in table.c} - _UNREAD.get(table.name, set())
        if missing := sorted(wanted - there):
            yield f"{table.name}.{f' and {table.name}.'.join(missing)}"


def standing(settings: Settings) -> Looking[None]:
    """How the runs on record stand: what is paused, not finished, or waits for somebody."""
    mode = settings.mail.mode
    with closing(read_only(settings)) as db, tidy(db):
        years = runs.years(db)
        if not years:
            yield ok("runs", "None is on record.")
        for year in years:
            run = runs.find_run(db, year)
            if run is None:  # cancelled in this moment
                continue
            summary = story.summary(db, run, mode)
            made = ", ".join(
                f"{count:,} {state.replace('_', ' ')}"
                for counts in (summary.letters, summary.deliveries)
                for state, count in counts.items()
                if count
            )
            told = f"The letters of {year}, {mode.value} mode: {made}."
            if run.paused_at is not None:
                yield warning(
                    "runs",
                    f"The run of {year} is paused by {run.paused_by} since "
                    f"{run.paused_at.astimezone(LONDON):%-d %B %Y, %H:%M}: {run.paused_because}",
                    f"When nothing stands against it any more: letters resume {year}",
                )
            if summary.needs_a_person:
                yield warning(
                    "runs",
                    f"{told} {summary.needs_a_person:,} of these need somebody.",
                    f"letters status {year}",
                )
                continue
            sender = bootstrap.outbox(settings).sender.identity
            people = settings.approval.people
            waiting = approvals.standing(db, run, people, mode, sender).wanted
            if summary.unfinished or not sum(summary.deliveries.values()):
                fix = f"letters run {year}"
                if waiting:
                    fix = f"letters approve {year}"
                    told += f" {waiting} more must approve before anything is sent."
                yield note("runs", f"{told} It is not finished.", fix)
            else:
                yield ok("runs", told)


def schedule(settings: Settings, edition: Edition, now: datetime) -> Looking[None]:
    """When the newest edition's letters are due."""
    dispatch = edition.dispatch_at.astimezone(LONDON)
    due = "are sent" if dispatch > now else "were to be sent"
    making = "are to be made" if edition.prepare_on > now.astimezone(LONDON).date() else "were due"
    yield ok(
        "schedule",
        f"The letters of {edition.year} {making} on {edition.prepare_on:%-d %B %Y} and {due} on "
        f"{dispatch:%-d %B %Y at %H:%M}, London time; what was missed is caught up for "
        f"{settings.schedule.catch_up_days} days.",
    )


def to_be_made(check: str, path: Path, found: str, setting: str) -> Looking[None]:
    """What is not there yet and will be made: whether it can be, without making it."""
    above = next(each for each in path.parents if each.exists())
    if not above.is_dir():
        yield fault(
            check,
            f"{path} cannot be made, because {above} is not a folder.",
            f"Correct {setting}, or move {above} away.",
        )
    elif not os.access(above, os.W_OK | os.X_OK):
        yield fault(
            check,
            f"{path} is not there and cannot be made: {above} may not be written to.",
            f"Let whoever runs this write there, or name another place in {setting}.",
        )
    else:
        yield note(check, found)
        yield from room(check, above)


def room(check: str, folder: Path) -> Looking[None]:
    """Whether the disk that a folder lies on has room; nothing is said where it has."""
    left = free(folder)
    if left < LITTLE_ROOM:
        kind = fault if left < NO_ROOM else warning
        yield kind(check, f"The disk of {folder} has only {size(left)} left.", "Make room there.")
    counted = os.statvfs(folder)
    if counted.f_files and not counted.f_favail:
        yield fault(
            check, f"The disk of {folder} can hold no more files.", "Delete some, or use another."
        )


def free(folder: Path) -> int:
    """Bytes free on the disk that a folder lies on, for whoever runs this."""
    return shutil.disk_usage(folder).free
