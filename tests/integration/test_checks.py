"""What `letters check` says of real things that are broken, and that it leaves nothing behind."""

import json
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline import bootstrap, importer, migrate, run, schema, source
from pipeline.checks import Check, Kind, databases, keeping, look, looking, mail, making, program
from pipeline.checks.found import bounded, guarded, ok
from pipeline.convert import Office, find_office
from pipeline.convert import office as finding
from pipeline.convert.sandbox import NONE
from pipeline.database import Database
from pipeline.display.progress import watching
from pipeline.errors import Refused
from pipeline.ledger import holds, runs
from pipeline.settings import Settings, load
from tests.acceptance.site import part_of_the_sample
from tests.postgres import PostgresServer, free_port
from tests.relays import DROP, HANG, Certificates, WaywardRelay, make_certificates

SECRET = "correct-horse"  # noqa: S105 - nobody's
NOW = datetime(2020, 7, 20, 9, tzinfo=UTC)
CODES = ("E07000243", "E07000008")
TEMPLATES = Path(__file__).parents[2] / "templates"


def site(folder: Path, **sections: dict[str, Any]) -> Settings:
    """The settings of a site within a folder of the test's."""
    known: dict[str, dict[str, Any]] = {
        "database": {"url": f"sqlite:///{folder}/letters.db", "mark": str(folder / "mark")},
        "archive": {"url": str(folder / "archive")},
        "mail": {"capture": str(folder / "captured")},
        "template": {"path": str(TEMPLATES / "letter.docx")},
    }
    for section, values in sections.items():
        known[section] = {**known.get(section, {}), **values}
    lines = []
    for section, values in known.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "letters.toml"
    config.write_text("\n".join(lines), encoding="utf-8")
    return load(config)


def in_memory(settings: Settings, url: str) -> Settings:
    """With an archive that is no folder; settings that are read refuse one in memory."""
    return settings.model_copy(update={"archive": settings.archive.model_copy(update={"url": url})})


def filled(folder: Path, **sections: dict[str, Any]) -> Settings:
    """A site with a year's statistics of two authorities."""
    settings = site(folder, **sections)
    data = part_of_the_sample(folder / "data", CODES)
    with closing(bootstrap.open_ledger(settings)) as db:
        migrate.upgrade(db)
        importer.import_folder(db, data)
    return settings


def files(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, with what it holds."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def finished(looking_: Iterable[Check]) -> list[Check]:
    """All that a check finds, held to what all of them have in common."""
    found = list(looking_)
    for one in found:
        assert one.found
        assert bool(one.fix) or one.state in {Kind.OK, Kind.NOTE}, one
        assert "Traceback" not in one.found
    return found


def by_name(found: list[Check], name: str) -> list[Check]:
    return [one for one in found if one.check == name]


def the(found: list[Check], kind: Kind) -> Check:
    """The only one of a kind."""
    [one] = [each for each in found if each.state is kind]
    return one


# ------------------------------------------------------------------------------------- all of it


def test_a_site_that_is_well_is_ready_and_stays_as_it_is(tmp_path: Path) -> None:
    settings = filled(tmp_path)
    (tmp_path / "archive").mkdir()
    for name in ("tmp", "new", "cur"):
        (tmp_path / "captured" / name).mkdir(parents=True)
    before = files(tmp_path)
    found = finished(look(settings))
    assert {one.state for one in found} <= {Kind.OK, Kind.NOTE}, found
    assert [one.check for one in found] == [
        *("settings", "program", "locale", "ledger", "clock", "statistics", "schedule", "runs"),
        *("instance", "archive", "template", "message", "fonts", "LibreOffice"),
        *("sandbox", "a letter", "memory", "mail", "sender", "alerts", "captured mail"),
    ]
    assert files(tmp_path) == before
    [statistics] = by_name(found, "statistics")
    assert "2 authorities; the edition of 2020 makes 2 letters." in statistics.found
    [letter] = by_name(found, "a letter")
    assert "made and proved" in letter.found


def test_where_there_is_nothing_yet_nothing_is_made(tmp_path: Path) -> None:
    settings = site(tmp_path / "new")
    before = files(tmp_path)
    found = finished(look(settings, quick=True))
    assert files(tmp_path) == before
    for name, place in (
        ("ledger", "letters.db"),
        ("archive", "archive"),
        ("captured mail", "captured"),
    ):
        [one] = by_name(found, name)
        assert one.state is Kind.NOTE
        assert f"makes {tmp_path}/new/{place}." in one.found.replace("the Maildir ", "")
    assert the(found, Kind.FAULT).check == "statistics"
    assert the(found, Kind.FAULT).fix == "letters import FOLDER or BOOK.xlsx"
    assert by_name(found, "a letter") == []


def test_what_fails_does_not_stop_the_others() -> None:
    def broken(error: Exception) -> Generator[Check, None, None]:
        yield ok("thing", "It began.")
        raise error

    for error, said in (
        (Refused("It is so. Mend it."), ("It is so.", "Mend it.")),
        (Refused("It is so; mend it."), ("It is so.", "Mend it.")),
        (Refused("Only this"), ("Only this", "Put right what it names.")),
        (FileNotFoundError(2, "No such file", "/a/b"), ("refused /a/b: No such file", "Mend")),
        (ZeroDivisionError("oh"), ("ZeroDivisionError: oh", "tell whoever")),
    ):
        first, last = finished(guarded("thing", partial(broken, error)))
        assert first.found == "It began."
        assert (last.check, last.state) == ("thing", Kind.FAULT)
        assert said[0] in last.found
        assert said[1] in last.fix


def test_what_never_answers_is_given_up() -> None:
    ours, theirs = socket.socketpair()

    def silent() -> Generator[Check, None, bool]:
        yield ok("thing", "It began.")
        return bool(ours.recv(1))

    with ours, theirs:
        first, last = finished(bounded("thing", 0.2, silent, fix="Look at it."))
        theirs.send(b"x")  # lets the thread end
    assert first.found == "It began."
    assert (last.state, last.fix) == (Kind.FAULT, "Look at it.")
    assert "no answer within 0.2 seconds" in last.found


# ------------------------------------------------------------------------------ program, settings


def test_settings_say_where_they_come_from_and_keep_their_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = tmp_path / "password"
    password.write_text(f"{SECRET}\n")
    password.chmod(0o644)
    monkeypatch.setenv("LETTERS_SOURCE__URL", f"postgresql://me:{SECRET}@db.example/cases")
    settings = site(
        tmp_path,
        smtp={"username": "me", "password_file": str(password)},
    )
    settings = in_memory(settings, f"memory://key:{SECRET}@letters/x?secret={SECRET}")
    read, warned = finished(program.settings_read(settings))
    assert f"Read from {tmp_path}/letters.toml." in read.found
    assert "archive.url = memory://***@letters/x?***" in read.found
    assert "From the environment: source.url = postgresql+psycopg://me:***@db" in read.found
    assert "(LETTERS_SOURCE__URL)" in read.found
    assert "mail.mode" not in read.found
    assert warned.state is Kind.WARNING
    assert f"chmod 600 {password}" in warned.fix
    assert SECRET not in str((read, warned))


@pytest.mark.parametrize(
    ("newest", "kind"),
    [
        (None, Kind.OK),
        (NOW - timedelta(days=400), Kind.OK),
        (NOW + timedelta(seconds=30), Kind.OK),
        (NOW + timedelta(hours=3), Kind.WARNING),
    ],
)
def test_a_clock_that_the_ledger_contradicts(newest: datetime | None, kind: Kind) -> None:
    [one] = finished(program.clock(NOW, newest))
    assert one.state is kind
    assert "Monday 20 July 2020, 10:00 BST in London" in one.found
    assert ("20 July 2020, 13:00" in one.found) == (kind is Kind.WARNING)


def test_more_offices_than_there_is_memory_for(tmp_path: Path) -> None:
    [one] = finished(program.memory(site(tmp_path, convert={"workers": 1024})))
    assert "1024 LibreOffice processes take up to 410 GB" in one.found
    assert (one.state, one.fix.partition(" to ")[0]) == (Kind.WARNING, "Set convert.workers")


# ---------------------------------------------------------------------------------------- ledger


def spoilt(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def no_database(path: Path) -> None:
    path.write_text("These are the accounts of 2019, in plain words.\n" * 100)


def damaged(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        pages = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'officers'"
        ).fetchone()
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    data = bytearray(path.read_bytes())
    data[(pages[0] - 1) * size : pages[0] * size] = b"\xff" * size
    path.write_bytes(bytes(data))


def foreign(path: Path) -> None:
    path.unlink()
    spoilt(path, "CREATE TABLE letters (a)")


def somebody_elses(path: Path) -> None:
    path.unlink()
    spoilt(path, "CREATE TABLE accounts (a)")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "kind", "found", "fix"),
    [
        (no_database, Kind.FAULT, "is not a database", "correct database.url or move it"),
        (damaged, Kind.FAULT, "is damaged: ", "Put a backup in its place."),
        (foreign, Kind.FAULT, "did not make (letters).", "Name a database of its own"),
        (somebody_elses, Kind.FAULT, "another program's: it holds accounts", "a file of its own"),
        (a_folder, Kind.FAULT, "is a folder", "must name a file"),
        (empty, Kind.NOTE, "is empty; this program needs", "letters db upgrade does it now."),
        (
            partial(spoilt, statement="UPDATE alembic_version SET version_num = '9999'"),
            Kind.FAULT,
            "is at version 9999, which this program does not know",
            "install that one",
        ),
        (
            partial(spoilt, statement="UPDATE alembic_version SET version_num = '0001'"),
            Kind.NOTE,
            "is at version 0001; this program needs",
            "letters db upgrade does it now.",
        ),
    ],
)
def test_a_ledger_that_is_not_what_it_should_be(
    tmp_path: Path, spoil: Callable[[Path], None], kind: Kind, found: str, fix: str
) -> None:
    settings = filled(tmp_path)
    spoil(tmp_path / "letters.db")
    before = files(tmp_path)
    [one] = finished(guarded("ledger", partial(databases.ledger, settings)))
    assert one.state is kind
    assert f"{tmp_path}/letters.db" in one.found
    assert found in one.found
    assert fix in f"{one.found} {one.fix}"
    assert files(tmp_path) == before


@pytest.mark.parametrize("holding", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_a_ledger_that_another_program_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: str, holding: str
) -> None:
    settings = filled(tmp_path)
    monkeypatch.setattr(databases, "PATIENCE", 0.1)
    with closing(sqlite3.connect(tmp_path / "letters.db", isolation_level=None)) as other:
        other.execute(f"PRAGMA journal_mode = {journal}")
        other.execute(holding)
        one = the(finished(databases.ledger(settings)), Kind.FAULT)
        other.execute("ROLLBACK")
    assert "Another program has been writing to" in one.found


def test_a_ledger_too_large_to_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = filled(tmp_path)
    monkeypatch.setattr(databases, "INTEGRITY_SECONDS", -1.0)
    monkeypatch.setattr(databases, "_STEPS", 10)
    [one] = finished(databases.ledger(settings))
    assert one.state is Kind.NOTE
    assert "too large to be read to its end" in one.found


def test_a_reader_beside_the_check_keeps_its_files(tmp_path: Path) -> None:
    settings = filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / "letters.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE beside (a)")
        assert (tmp_path / "letters.db-wal").stat().st_size
        finished(look(settings, quick=True))
        assert (tmp_path / "letters.db-wal").stat().st_size
        assert other.execute("SELECT count(*) FROM beside").fetchone() == (0,)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk of 1 MB, with the options given."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    if subprocess.run(
        [*mount, "size=1m", "tmpfs", place], check=False, capture_output=True
    ).returncode:
        pytest.skip("NOT TESTED: a full or a read-only disk needs root and a tmpfs to mount")

    def mounted(options: str) -> Path:
        subprocess.run([*mount, f"remount,{options}", "tmpfs", place], check=True)
        return place

    try:
        yield mounted
    finally:
        subprocess.run(["umount", place], check=True)


def test_disks_that_cannot_be_written_to(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    folder = small_disk("rw")
    settings = site(
        tmp_path / "config",
        database={"url": f"sqlite:///{folder}/letters.db"},
        archive={"url": str(folder / "archive")},
        mail={"capture": str(folder / "captured")},
    )
    with closing(bootstrap.open_ledger(settings)) as db:
        migrate.upgrade(db)
    for name in ("archive", "captured/tmp", "captured/new"):
        (folder / name).mkdir(parents=True)
    small_disk("ro")
    for name, looked in (
        ("ledger", databases.ledger),
        ("archive", keeping.archive),
        ("captured mail", keeping.captured),
    ):
        found = finished(guarded(name, partial(looked, settings)))
        assert [one for one in found if one.state is Kind.FAULT], (name, found)
    small_disk("rw")
    for each in (folder / "archive", folder / "captured"):
        shutil.rmtree(each)
    small_disk("ro")
    for name, looked in (("archive", keeping.archive), ("captured mail", keeping.captured)):
        [one] = finished(guarded(name, partial(looked, settings)))
        assert one.state is Kind.FAULT
        assert "cannot be made" in one.found


def test_a_full_disk_is_said_and_keeps_nothing(
    tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    folder = small_disk("rw")
    settings = site(
        tmp_path / "config",
        archive={"url": str(folder / "archive")},
        mail={"capture": str(folder / "captured")},
    )
    for name in ("archive", "captured/tmp", "captured/new"):
        (folder / name).mkdir(parents=True)
    with (folder / "filling").open("wb", 0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    before = files(folder)
    for name, looked in (("archive", keeping.archive), ("captured mail", keeping.captured)):
        found = finished(guarded(name, partial(looked, settings)))
        assert "No space left" in found[0].found
        assert {one.state for one in found} == {Kind.FAULT}
    assert files(folder) == before
    assert "only 0 bytes left" in the(finished(databases.room("archive", folder)), Kind.FAULT).found


# ---------------------------------------------------------------------------- PostgreSQL's ledger


@pytest.fixture
def on_server(postgres: PostgresServer) -> Iterator[str]:
    name = postgres.create()
    yield name
    postgres.drop(name)


def test_a_server_whose_tables_are_not_there_or_of_another_version(
    tmp_path: Path, postgres: PostgresServer, on_server: str
) -> None:
    settings = site(tmp_path, database={"url": postgres.url(on_server)})
    [behind] = finished(databases.ledger(settings))
    assert (behind.state, behind.fix) == (Kind.FAULT, "letters db upgrade")
    assert "at version none" in behind.found
    with closing(bootstrap.open_ledger(settings)) as db:
        migrate.upgrade(db)
        [well] = finished(databases.ledger(settings))
        assert well.state is Kind.OK
        assert "PostgreSQL" in well.found
        for version, expected in (("0001", "letters db upgrade"), ("9999", "newer version")):
            with db.write() as connection:
                connection.execute(
                    sa.text("UPDATE alembic_version SET version_num = :version"),
                    {"version": version},
                )
            [wrong] = finished(databases.ledger(settings))
            assert wrong.state is Kind.FAULT
            assert f"at version {version}" in wrong.found
            assert expected in wrong.fix


def test_a_user_who_may_not_write_and_a_server_that_takes_no_changes(
    tmp_path: Path, postgres: PostgresServer, on_server: str
) -> None:
    url = postgres.url(on_server)
    db = Database(url)
    migrate.upgrade(db)
    role = f"reader_{on_server}"
    postgres.execute(f"CREATE ROLE {role} LOGIN")
    with db.write() as connection:
        connection.execute(sa.text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
    reader = site(tmp_path, database={"url": url.replace("letters@", f"{role}@", 1)})
    one = the(finished(databases.ledger(reader)), Kind.FAULT)
    assert "INSERT on runs" in one.found
    assert "SELECT on runs" not in one.found
    standby = site(
        tmp_path,
        database={"url": f"{url}?options=-cdefault_transaction_read_only%3Don"},
    )
    one = the(finished(databases.ledger(standby)), Kind.FAULT)
    assert "takes no changes" in one.found
    with db.write() as connection:
        connection.execute(sa.text(f"DROP OWNED BY {role}"))
        connection.execute(sa.text(f"DROP ROLE {role}"))
    db.close()


def test_a_server_that_is_not_there_or_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql://me:{SECRET}@127.0.0.1:{free_port()}/letters"
    [one] = finished(
        guarded("ledger", partial(databases.ledger, site(tmp_path, database={"url": url})))
    )
    assert one.state is Kind.FAULT
    assert "refused" in one.found
    assert "database.url" in one.fix
    assert SECRET not in str(one)
    monkeypatch.setattr(looking, "NETWORK_SECONDS", 0.5)
    monkeypatch.setattr(looking, "STATISTICS_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/letters"
        found = finished(look(site(tmp_path, database={"url": url}), quick=True))
    [one] = by_name(found, "ledger")
    assert "no answer within 0.5 seconds" in one.found
    assert by_name(found, "template")


# ------------------------------------------------------------------------------------ statistics


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DROP TABLE compliance", "does not offer compliance (no such table: compliance)."),
        (
            "ALTER TABLE editions RENAME COLUMN signatory TO signed",
            "does not offer editions.signatory.",
        ),
        ("DELETE FROM editions", "has no edition"),
        ("UPDATE editions SET letter_date = 'soon'", "editions.letter_date"),
        ("DROP TABLE decisions", "does not offer decisions"),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_statistics_that_lack_something(
    tmp_path: Path, statement: str, found: str, apart: bool
) -> None:
    settings = filled(tmp_path)
    if apart:
        shutil.move(tmp_path / "letters.db", tmp_path / "cases.db")
        settings = site(tmp_path, source={"url": f"sqlite:///{tmp_path}/cases.db"})
    spoilt(tmp_path / ("cases.db" if apart else "letters.db"), statement)
    before = files(tmp_path)
    [one] = finished(guarded("statistics", partial(databases.statistics, settings)))
    assert one.state is Kind.FAULT
    assert found in one.found
    assert files(tmp_path) == before


def test_a_view_that_is_broken_is_named(tmp_path: Path) -> None:
    settings = filled(tmp_path)
    spoilt(tmp_path / "letters.db", "ALTER TABLE remarks RENAME TO notes")
    spoilt(tmp_path / "letters.db", "CREATE VIEW remarks AS SELECT * FROM nowhere")
    [one] = finished(databases.statistics(settings))
    assert "does not offer remarks (no such table: main.nowhere)." in one.found


def test_statistics_apart_that_are_not_there(tmp_path: Path) -> None:
    settings = site(tmp_path, source={"url": f"sqlite:///{tmp_path}/cases.db"})
    [one] = finished(databases.statistics(settings))
    assert one.state is Kind.FAULT
    assert f"There is no {tmp_path}/cases.db" in one.found
    assert "source.url" in one.fix
    assert not (tmp_path / "cases.db").exists()


def test_statistics_on_a_server(tmp_path: Path, postgres: PostgresServer, on_server: str) -> None:
    url = postgres.url(on_server)
    filled(tmp_path / "theirs", database={"url": url})
    settings = site(tmp_path / "ours", source={"url": url})
    [one] = finished(databases.statistics(settings))
    assert one.state is Kind.OK
    assert "read only: 2 authorities" in one.found
    with closing(Database(url)) as db, db.write() as connection:
        connection.execute(sa.text("ALTER TABLE officers DROP COLUMN email"))
        connection.execute(sa.text("DROP TABLE remarks"))
    [one] = finished(databases.statistics(settings))
    assert "officers.email; nor remarks (" in one.found


# -------------------------------------------------------------------------------------- instance


def test_a_ledger_that_may_be_a_copy_is_a_fault_once_mail_would_leave(tmp_path: Path) -> None:
    settings = filled(tmp_path)
    live = site(tmp_path, mail={"mode": "live"})
    one = the(finished(keeping.mark(live)), Kind.NOTE)
    assert "is new here" in one.found
    opened(settings)  # which takes the ledger up
    before = files(tmp_path)
    assert "is at home here, marked up to" in the(finished(keeping.mark(live)), Kind.OK).found
    assert files(tmp_path) == before
    (tmp_path / "mark").unlink()
    one = the(finished(keeping.mark(live)), Kind.FAULT)
    assert "this machine knows nothing of it" in one.found
    assert "letters db confirm --note TEXT" in one.fix
    the(finished(keeping.mark(settings)), Kind.NOTE)  # while mail is captured
    (tmp_path / "mark").write_text("scribbled")
    assert "is damaged" in the(finished(keeping.mark(live)), Kind.FAULT).found


# ------------------------------------------------------------------------------------------ runs


def opened(settings: Settings) -> None:
    with bootstrap.pipeline(settings, writes=True) as wired, watching(quiet=True) as watch:
        run.open_run(wired, 2020, person="Ann", progress=watch)


def test_runs_that_wait_for_somebody(tmp_path: Path) -> None:
    settings = filled(tmp_path)
    assert "None is on record" in the(finished(databases.standing(settings)), Kind.OK).found
    opened(settings)
    one = the(finished(databases.standing(settings)), Kind.NOTE)
    assert "2 unprepared" in one.found
    assert one.fix == "letters run 2020"
    two = site(tmp_path, approval={"people": 2})
    one = the(finished(databases.standing(two)), Kind.NOTE)
    assert "2 more must approve" in one.found
    with closing(bootstrap.open_ledger(settings)) as db:
        found = runs.find_run(db, 2020)
        assert found is not None
        holds.pause(db, found, because="A figure is doubted.", person="Ben", now=NOW)
    one = the(finished(databases.standing(settings)), Kind.WARNING)
    assert "paused by Ben since 20 July 2020, 10:00: A figure is doubted." in one.found
    assert "letters resume 2020" in one.fix
    with closing(bootstrap.open_ledger(settings)) as db, db.write() as connection:
        connection.execute(
            sa.update(schema.letters)
            .where(schema.letters.c.authority_code == CODES[0])
            .values(fault="It has none.", faulted_in="compose")
        )
    found_ = [one for one in finished(databases.standing(settings)) if "1 fault" in one.found]
    assert [(one.state, one.fix) for one in found_] == [(Kind.WARNING, "letters status 2020")]


def test_another_years_figures_beside_the_sample_are_doubted(tmp_path: Path) -> None:
    settings = filled(tmp_path)
    assert {one.state for one in finished(databases.statistics(settings))} == {Kind.OK}
    with closing(bootstrap.open_ledger(settings)) as db, db.write() as connection:
        [row] = connection.execute(sa.select(schema.editions)).mappings()
        later = {
            name: value.replace(year=value.year + 5) if hasattr(value, "year") else value
            for name, value in row.items()
        }
        connection.execute(sa.insert(schema.editions).values({**later, "year": 2025}))
    told, doubted = finished(databases.statistics(settings))
    assert "2 authorities; 2 editions (2020, 2025); that of 2025 makes 2 letters." in told.found
    assert doubted.state is Kind.WARNING
    assert doubted.found == (
        "2 of 2 authorities have no decision between 1 April 2024 and 31 March 2025; their letters "
        "will say so. Is the sample still in this database?"
    )


def test_the_schedule_is_told_in_london_time(tmp_path: Path) -> None:
    settings = filled(tmp_path)
    with closing(bootstrap.open_statistics(settings)) as db, source.pull(db, 2020) as pulled:
        edition = pulled.edition
    [one] = finished(databases.schedule(settings, edition, NOW))
    assert "were due on 15 July 2020 and are sent on 22 July 2020 at 09:00" in one.found


# ---------------------------------------------------------------------------- archive and Maildir


@pytest.mark.parametrize("looked", [keeping.archive, keeping.captured])
def test_a_file_where_a_folder_should_be(
    tmp_path: Path, looked: Callable[[Settings], Generator[Check, None, None]]
) -> None:
    place = tmp_path / "place"
    place.write_text("in the way")
    for url in (place, place / "below"):
        settings = site(tmp_path, archive={"url": str(url)}, mail={"capture": str(url)})
        [one] = finished(guarded("it", partial(looked, settings)))
        assert one.state is Kind.FAULT
        assert f"{place} is not a folder" in one.found
        assert "archive.url" in one.fix or "mail.capture" in one.fix
    assert place.read_text() == "in the way"


def test_an_archive_that_is_gone_with_its_letters(tmp_path: Path) -> None:
    settings = filled(tmp_path)
    opened(settings)
    shutil.rmtree(tmp_path / "archive")
    assert by_name(finished(look(settings, quick=True)), "archive")[0].state is Kind.NOTE
    with closing(bootstrap.open_ledger(settings)) as db, db.write() as connection:
        connection.execute(
            sa.update(schema.letters)
            .where(schema.letters.c.authority_code == CODES[0])
            .values(pdf="2020/a.pdf", pdf_sha256="0" * 64, pages=3, prepared_at=NOW)
        )
    [gone] = by_name(finished(look(settings, quick=True)), "archive")
    assert gone == Check(
        check="archive",
        state=Kind.FAULT,
        found=f"There is no archive at {tmp_path}/archive, and the ledger names 1 letter there.",
        fix="See that the disk is mounted; correct archive.url; or restore a backup.",
    )
    assert not (tmp_path / "archive").exists()
    (tmp_path / "archive").mkdir()
    [there] = by_name(finished(look(settings, quick=True)), "archive")
    assert there.state is Kind.OK


def test_an_archive_that_is_no_folder(tmp_path: Path) -> None:
    [one] = finished(keeping.archive(in_memory(site(tmp_path), "memory://letters-here")))
    assert (one.state, "read back and deleted" in one.found) == (Kind.OK, True)
    [one] = finished(
        guarded("archive", partial(keeping.archive, site(tmp_path, archive={"url": "odd://x"})))
    )
    assert one.state is Kind.FAULT
    assert "odd" in one.found


# ---------------------------------------------------------------------------- template and wording


def templates(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("letter.docx", "message.txt", "message.html"):
        shutil.copy(TEMPLATES / name, folder / name)
    return folder


def unknown_field(folder: Path) -> None:
    with (folder / "message.txt").open("a", encoding="utf-8") as file:
        file.write("\n{{ authorty }}\n")


@pytest.mark.parametrize(
    ("name", "spoil", "expected"),
    [
        ("template", lambda folder: (folder / "letter.docx").unlink(), "cannot be read"),
        ("template", lambda folder: (folder / "letter.docx").write_bytes(b"no"), "letter.docx"),
        ("template", lambda folder: a_folder(folder / "letter.docx"), "is a folder"),
        ("message", lambda folder: (folder / "message.html").unlink(), "message.html"),
        ("message", unknown_field, "authorty"),
    ],
)
def test_a_template_that_no_letter_can_be_made_with(
    tmp_path: Path, name: str, spoil: Callable[[Path], None], expected: str
) -> None:
    folder = templates(tmp_path / "templates")
    spoil(folder)
    settings = site(tmp_path, template={"path": str(folder / "letter.docx")})
    looked = {"template": making.template, "message": making.message}[name]
    [one] = finished(guarded(name, partial(looked, settings, None)))
    assert one.state is Kind.FAULT
    assert expected in one.found
    more = "All that is wrong with it: letters template check." in one.fix
    assert more == (name == "template"), "a run stops at the first fault"


def test_a_fact_that_the_edition_lacks(tmp_path: Path) -> None:
    settings = filled(tmp_path)
    with closing(sqlite3.connect(tmp_path / "letters.db", isolation_level=None)) as connection:
        connection.execute("UPDATE editions SET facts = '{\"courses\": 118}'")
    found = finished(look(settings, quick=True))
    [one] = by_name(found, "template")
    assert one.state is Kind.FAULT
    assert "facts." in one.found


# --------------------------------------------------------------------------- LibreOffice and fonts


def test_an_office_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETTERS_SOFFICE", str(tmp_path))
    [one] = finished(guarded("LibreOffice", making.office))
    assert one.state is Kind.FAULT
    assert "LibreOffice was not found" in one.found
    assert "apt install libreoffice-writer-nogui" in one.fix
    [one] = finished(making.conversion(site(tmp_path), None, None, None, None))
    assert one.state is Kind.NOTE
    assert "None was made" in one.found


def test_an_office_without_a_python_that_has_uno(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (("soffice.bin", "echo LibreOffice 25.2.3"), ("python", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("LETTERS_SOFFICE", str(tmp_path))
    monkeypatch.setattr(finding, "PYTHON", tmp_path / "none")
    [one] = finished(guarded("LibreOffice", making.office))
    assert "no Python that can import uno" in f"{one.found} {one.fix}"
    assert "python3-uno" in one.fix


def test_an_office_that_does_not_start(tmp_path: Path) -> None:
    program_ = tmp_path / "soffice.bin"
    program_.write_text("#!/bin/sh\necho 'cannot open display' >&2\nexit 77\n")
    program_.chmod(0o755)
    office = Office(program=program_, python=find_office().python, version="25.2.3")
    settings = site(tmp_path)
    looked = making.template(settings, None)
    next(looked)
    with pytest.raises(StopIteration) as stop:
        next(looked)
    compiled = stop.value.value
    making_one = partial(making.conversion, settings, compiled, office, None, NONE)
    [one] = finished(guarded("a letter", making_one))
    assert one.state is Kind.FAULT
    assert "does not start" in one.found


def test_fonts_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = site(tmp_path)
    [one] = finished(making.fonts(settings))
    assert (one.state, "Arial" in one.found) == (Kind.OK, True)
    config = tmp_path / "fonts.conf"
    config.write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f"<cachedir>{tmp_path}/cache</cachedir></fontconfig>"
    )
    monkeypatch.setenv("FONTCONFIG_FILE", str(config))
    [one] = finished(making.fonts(settings))
    assert one.state is Kind.FAULT
    assert "The letter is set in Arial, which this machine does not have." in one.found
    assert "fonts-liberation" in one.fix


# ---------------------------------------------------------------------------- mail and the relay


@pytest.mark.parametrize(
    ("section", "expected", "kind"),
    [
        ({}, "nothing leaves this machine", Kind.OK),
        ({"mode": "redirect", "redirect_to": "me@here.test"}, "goes to me@here.test", Kind.OK),
        ({"mode": "live"}, "letters go to the authorities", Kind.NOTE),
    ],
)
def test_the_mode_is_said_in_plain_words(
    tmp_path: Path, section: dict[str, str], expected: str, kind: Kind
) -> None:
    [one] = finished(mail.mode(site(tmp_path, mail=section)))
    assert (one.state, expected in one.found) == (kind, True)


@pytest.mark.parametrize(("mode", "once"), [("live", False), ("capture", True)])
def test_a_list_of_domains_is_said(tmp_path: Path, mode: str, once: bool) -> None:
    section = {"mode": mode, "only_to_domains": "Council.test, office.test"}
    [_, one] = finished(mail.mode(site(tmp_path, mail=section)))
    assert (one.state, one.fix) == (Kind.NOTE, "")
    assert "Only addresses at council.test, office.test are written to" in one.found
    assert ("once mail.mode is live" in one.found) is once
    assert "mail.only_to_domains" in one.found


def test_a_sender_that_no_answer_can_reach(tmp_path: Path) -> None:
    [one] = finished(mail.sender(site(tmp_path)))
    assert one.state is Kind.NOTE
    [one] = finished(mail.sender(site(tmp_path, mail={"mode": "live"})))
    assert one.state is Kind.WARNING
    assert "mail.sender" in one.fix


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is needed to make certificates for the test")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


OFFERS = (
    b"250-relay.test\r\n250-SIZE 52428800\r\n250-STARTTLS\r\n250-DSN\r\n250-8BITMIME\r\n"
    b"250 AUTH PLAIN\r\n"
)
NO_TLS = b"250-relay.test\r\n250-SIZE 400000\r\n250 AUTH PLAIN\r\n"
REFUSES = f"535 5.7.8 wrong: {SECRET}\r\n".encode()
LOGIN = {"username": "letters", "password": SECRET}


@pytest.mark.parametrize(
    ("answers", "whose", "smtp", "expected"),
    [
        (
            {"EHLO": OFFERS},
            "trusted",
            {"security": "starttls", **LOGIN},
            {
                "relay": (Kind.OK, "TLSv1.3; it offers SIZE 52.4 MB, STARTTLS, AUTH PLAIN, DSN"),
                "relay certificate": (Kind.WARNING, "(2 days)"),
                "relay login": (Kind.OK, "It lets letters in."),
            },
        ),
        (
            {"EHLO": OFFERS},
            "trusted",
            {},
            {"relay": (Kind.OK, "not encrypted; it offers")},
        ),
        (
            {"EHLO": NO_TLS},
            "trusted",
            {},
            {"relay": (Kind.OK, "SIZE 400 kB"), "relay size": (Kind.WARNING, "above 400 kB")},
        ),
        (
            {"EHLO": NO_TLS},
            "trusted",
            {"security": "starttls"},
            {"relay": (Kind.FAULT, "does not offer STARTTLS")},
        ),
        (
            {"EHLO": OFFERS},
            "stranger",
            {"security": "starttls"},
            {"relay": (Kind.FAULT, "certificate is not trusted")},
        ),
        (
            {"EHLO": OFFERS},
            "misnamed",
            {"security": "starttls", **LOGIN},
            {"relay": (Kind.FAULT, "certificate is not trusted")},
        ),
        (
            {"EHLO": OFFERS, "AUTH": REFUSES},
            "trusted",
            LOGIN,
            {
                "relay": (Kind.OK, "AUTH PLAIN"),
                "relay login": (Kind.FAULT, "refused the login of letters: 535"),
            },
        ),
        (
            {"EHLO": NO_TLS.replace(b"250 AUTH PLAIN", b"250 DSN")},
            "trusted",
            LOGIN,
            {
                "relay": (Kind.OK, "DSN"),
                "relay size": (Kind.WARNING, ""),
                "relay login": (Kind.FAULT, "neither of the logins"),
            },
        ),
        ({"GREETING": DROP}, "trusted", {}, {"relay": (Kind.FAULT, "closed the connection")}),
        ({"GREETING": b"554 no\r\n"}, "trusted", {}, {"relay": (Kind.FAULT, "greeted with 554")}),
    ],
)
@pytest.mark.parametrize("mode", ["redirect", "live"])
def test_relays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    certificates: Certificates,
    answers: dict[str, bytes],
    whose: str,
    smtp: dict[str, str],
    expected: dict[str, tuple[Kind, str]],
    mode: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    with WaywardRelay(answers, tls=getattr(certificates, whose)) as server:
        settings = to_relay(tmp_path, server.port, mode=mode, **smtp)
        found = finished(guarded("relay", partial(mail.relay, settings, datetime.now(UTC))))
        server.wait_for_client_gone()
        assert {"MAIL", "RCPT", "DATA"}.isdisjoint(server.verbs)
        assert server.connections == 1
    assert {one.check: one.state for one in found} == {
        name: kind for name, (kind, _) in expected.items()
    }
    for one in found:
        assert expected[one.check][1] in one.found
    assert SECRET not in str(found)


def to_relay(folder: Path, port: int, *, mode: str = "live", **smtp: str) -> Settings:
    known: dict[str, Any] = {"host": "127.0.0.1", "port": port, **smtp}
    if password := known.pop("password", None):
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "password"
        file.write_text(password)
        file.chmod(0o600)
        known["password_file"] = str(file)
    section = {"mode": mode, "redirect_to": "me@here.test", "capture": str(folder / "captured")}
    return site(folder, mail=section, smtp=known)


def test_a_relay_that_is_not_there_or_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [one] = finished(mail.relay(to_relay(tmp_path, free_port()), NOW))
    assert one.state is Kind.FAULT
    assert "cannot be reached" in one.found
    assert "smtp.port" in one.fix
    monkeypatch.setattr(mail, "PATIENCE", 0.2)
    with WaywardRelay({"GREETING": HANG}) as server:
        [one] = finished(mail.relay(to_relay(tmp_path, server.port), NOW))
    assert "within 0.2 seconds" in one.found


def test_a_password_that_cannot_be_read(tmp_path: Path) -> None:
    with WaywardRelay() as server:
        settings = to_relay(tmp_path, server.port, **LOGIN)
        (tmp_path / "password").unlink()
        [one] = finished(guarded("relay", partial(mail.relay, settings, NOW)))
        assert server.connections == 0
    assert one.state is Kind.FAULT
    assert "smtp.password_file" in one.found


def test_in_capture_mode_the_relay_is_left_alone(tmp_path: Path) -> None:
    with WaywardRelay() as server:
        found = finished(look(to_relay(tmp_path, server.port, mode="capture"), quick=True))
        assert server.connections == 0
    assert not by_name(found, "relay")
    assert "The relay is not contacted" in by_name(found, "mail")[0].found


def test_no_secret_is_in_anything_that_is_said(tmp_path: Path) -> None:
    secrets = {name: f"{SECRET}-{name}" for name in ("ledger", "source", "archive", "smtp")}
    port = free_port()
    secrets_of_urls = {**secrets, "query": f"{SECRET}-query"}
    # a relay that knows the others' secrets, and tells
    told = "".join(f"250-X{value}\r\n250-ODD {value}\r\n" for value in secrets.values())
    answers = {
        "GREETING": f"220 {secrets['ledger']} here\r\n".encode(),
        "EHLO": f"250-relay.test\r\n{told}250 AUTH PLAIN\r\n".encode(),
        "AUTH": f"535 no {secrets['smtp']}\r\n".encode(),
    }
    with WaywardRelay(answers) as server:
        settings = to_relay(tmp_path, server.port, username="me", password=secrets["smtp"])
        settings = site(
            tmp_path,
            database={
                "url": f"postgresql://me:{secrets['ledger']}@127.0.0.1:{port}/l"
                f"?application_name={secrets_of_urls['query']}"
            },
            source={"url": f"postgresql://127.0.0.1:{port}/s?user=me&password={secrets['source']}"},
            mail=settings.mail.model_dump(mode="json"),
            smtp=settings.smtp.model_dump(mode="json"),
        )
        settings = in_memory(settings, f"memory://k:{secrets['archive']}@here")
        found = finished(look(settings, quick=True))
        assert "MAIL" not in server.verbs
    assert {one.check for one in found if one.state is Kind.FAULT} >= {"ledger", "relay login"}
    for secret in secrets_of_urls.values():
        assert secret not in repr(found), [one for one in found if secret in repr(one)]
