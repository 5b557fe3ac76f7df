"""Migrations and the tables in the code are one and the same."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from pipeline import migrate, schema
from pipeline.database import Database
from pipeline.errors import Misconfigured, Refused, Unavailable
from tests.postgres import PostgresServer


def test_upgrading_from_empty_gives_the_tables_in_the_code(db: Database) -> None:
    with db.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, schema.metadata) == []


def _constraints(connection: sa.Connection) -> dict[str, str]:
    """CHECK constraints and partial indexes, which autogenerate does not compare."""
    inspector = sa.inspect(connection)
    found = {}
    for table in schema.metadata.sorted_tables:
        for check in inspector.get_check_constraints(table.name):
            found[f"{table.name}.{check['name']}"] = re.sub(r"\s+", " ", check["sqltext"])
        for index in inspector.get_indexes(table.name):
            where = index["dialect_options"].get(f"{connection.dialect.name}_where")
            found[f"{table.name}.{index['name']}"] = f"{index['unique']} {where}"
    return found


def test_constraints_and_partial_indexes_are_the_ones_in_the_code(
    db: Database, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if db.is_sqlite:
        made = Database(f"sqlite:///{tmp_path}/made.db")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        made = Database(server.url(server.create()))
    with made.write() as connection:
        schema.metadata.create_all(connection)
    with made.read() as from_code, db.read() as from_migrations:
        expected = _constraints(from_code)
        assert "deliveries.ck_deliveries_state" in expected
        assert "in_doubt" in expected["deliveries.uq_deliveries_open"]
        assert _constraints(from_migrations) == expected
    made.close()


def test_the_tables_version_is_the_newest_migration() -> None:
    folder = Path(migrate.__file__).parent.parent / "migrations"
    assert ScriptDirectory(str(folder)).get_current_head() == schema.VERSION


def test_upgrading_twice_changes_nothing(db: Database) -> None:
    assert migrate.upgrade(db) == (migrate.head(), migrate.head())


def test_a_database_of_a_newer_version_is_left_alone(db: Database) -> None:
    with db.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Misconfigured, match=r"9999.*newer version"):
        migrate.ensure_current(db)
    with pytest.raises(Misconfigured, match=r"9999.*newer version"):
        migrate.require_current(db)


def test_events_cannot_be_rewritten(db: Database) -> None:
    with db.write() as connection:
        run_id = connection.scalar(
            schema.runs.insert()
            .values(
                year=2020,
                opened_at=sa.func.current_timestamp(),
                opened_by="tester",
                edition={},
                template_sha256="0" * 64,
                wording={},
            )
            .returning(schema.runs.c.id)
        )
        connection.execute(
            schema.events.insert().values(
                at=sa.func.current_timestamp(), kind="run_opened", run_id=run_id, data={}
            )
        )
    for statement in ("UPDATE events SET person = 'x'", "DELETE FROM events"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), db.write() as connection:
            connection.execute(sa.text(statement))
    with db.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.events)) == 1


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that has never been migrated: once for each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/new/letters.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


UPGRADES = """
import sys
from pipeline import migrate
from pipeline.database import Database

db = Database(sys.argv[1])
migrate._scripts()  # so that what is left to do is the migration alone
import alembic.runtime.environment
print("ready", flush=True)
sys.stdin.readline()
print(migrate.upgrade(db)[0], flush=True)
db.close()
"""


def test_several_upgrades_at_once_make_one(empty_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADES, empty_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(migrate.__file__).parent.parent,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    found = sorted(process.communicate()[0].strip() for process in processes)
    assert [process.returncode for process in processes] == [0] * 4
    assert found == [migrate.head()] * 3 + ["None"]


def test_who_migrates_a_server_waits_for_who_does_already(postgres: PostgresServer) -> None:
    name = postgres.create()
    db = Database(postgres.url(name) + "?options=-clock_timeout%3D100")
    lock = sa.text("SELECT pg_advisory_xact_lock(:key)")
    with db.write() as connection:
        connection.execute(lock, {"key": migrate.MIGRATION_LOCK})
        with pytest.raises(Unavailable, match="lock timeout"):
            migrate.upgrade(db)
    assert migrate.upgrade(db) == (None, migrate.head())
    db.close()
    postgres.drop(name)


def test_the_tables_of_another_program_are_left_alone(empty_url: str) -> None:
    db = Database(empty_url)
    if db.path is not None:
        db.path.parent.mkdir()
    with db.write() as connection:
        connection.execute(sa.text("CREATE TABLE runs (distance INTEGER)"))
    with pytest.raises(Misconfigured, match=r"did not make \(runs\); name a database of its own"):
        migrate.upgrade(db)
    with db.read() as connection:
        assert sa.inspect(connection).get_table_names() == ["runs"]
    db.close()


@pytest.mark.parametrize("step", [migrate.ensure_current, migrate.upgrade, migrate.require_current])
def test_a_file_of_another_program_is_refused_and_left_as_it_is(
    tmp_path: Path, step: Callable[[Database], object]
) -> None:
    file = tmp_path / "cases.db"
    with closing(sqlite3.connect(file)) as theirs:
        for name in ("cases", "clerks", "files", "letters_out", "notes", "visits"):
            theirs.execute(f"CREATE TABLE {name} (x INTEGER)")
        theirs.execute("CREATE VIEW archive AS SELECT x FROM cases")
        theirs.commit()
    before = file.read_bytes()
    db = Database(f"sqlite:///{file}")
    with pytest.raises(Misconfigured) as refused:
        step(db)
    db.close()
    assert str(refused.value) == (
        f"The database {file} is another program's: it holds archive, cases, clerks, files, "
        "letters_out and 2 more, and none of this program's tables; name a file of its own in "
        "database.url, as in sqlite:///var/letters.db."
    )
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["cases.db"]


def test_on_a_server_there_may_be_other_tables(postgres: PostgresServer) -> None:
    name = postgres.create()
    db = Database(postgres.url(name))
    with db.write() as connection:
        connection.execute(sa.text("CREATE TABLE cases (x INTEGER)"))
    with pytest.raises(Refused, match="no ledger yet"):
        migrate.require_current(db)
    assert migrate.upgrade(db) == (None, migrate.head())
    migrate.require_current(db)
    db.close()
    postgres.drop(name)


@pytest.mark.parametrize("folder", ["a_file", "a_file/below"])
def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "a_file").write_text("not a folder")
    db = Database(f"sqlite:///{tmp_path}/{folder}/letters.db")
    with pytest.raises(Unavailable) as made:
        migrate.upgrade(db)
    assert str(made.value) == (
        f"The folder {tmp_path}/{folder} of the database letters.db cannot be made: "
        f"{tmp_path}/a_file is a file and not a folder. Move that away, or name another file in "
        "database.url."
    )


@pytest.mark.parametrize(
    "folder", ["a_file", "a_file/below", "/proc/letters", "n" * 300, "loop/below"]
)
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "a_file").write_text("not a folder")
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / folder / "letters.db"
    db = Database(f"sqlite:///{path}")
    with pytest.raises(Unavailable, match=f"{re.escape(str(path.parent))}.*cannot be made") as made:
        migrate.upgrade(db)
    assert str(made.value).endswith("or name another file in database.url.")
    with pytest.raises(Unavailable, match=re.escape(str(path.parent))):
        migrate.ensure_current(db)
    db.close()


def test_a_server_that_is_behind_is_not_upgraded_by_itself(postgres: PostgresServer) -> None:
    name = postgres.create()
    db = Database(postgres.url(name))
    with pytest.raises(Misconfigured, match=r"is at version none.*run letters db upgrade first\.$"):
        migrate.ensure_current(db)
    assert migrate.current(db) is None
    db.close()
    postgres.drop(name)


def test_a_ledger_that_is_in_use_is_brought_up_with_all_that_it_holds(empty_url: str) -> None:
    """Of a version before approvals were of letters; other tables refer to those that change."""
    db = Database(empty_url)
    try:
        migrate.upgrade(db, to="0008")
        with db.write() as connection:
            for statement in IN_USE:
                connection.exec_driver_sql(statement)
        migrate.upgrade(db)
        with db.read() as connection:
            covered = connection.execute(sa.select(schema.approved_letters)).all()
            [approval] = connection.execute(sa.select(schema.approvals)).all()
            [letter] = connection.execute(sa.select(schema.letters)).all()
            assert connection.scalar(sa.select(sa.func.count()).select_from(schema.deliveries)) == 1
    finally:
        db.close()
    assert approval.login == "ann other"
    assert [(one.letter_id, one.digest, one.voided_at) for one in covered] == [(1, "", None)]
    assert (letter.revision, letter.replaces_id, letter.superseded_at) == (1, None, None)


IN_USE = (
    "INSERT INTO runs (id, year, opened_at, opened_by, edition, template_sha256, wording)"
    " VALUES (1, 2020, '2020-07-15 08:00:00', 'tester', '{}', 'abc', '{}')",
    "INSERT INTO letters (id, run_id, authority_code, authority_name, kind, figures, fields,"
    " recipients, pdf, pdf_sha256, pages, prepared_at) VALUES (1, 1, 'A', 'A Council', 'district',"
    " '{}', '{}', '[]', 'a.pdf', 'abc', 3, '2020-07-15 09:00:00')",
    "INSERT INTO approvals (id, run_id, person, digest, approved_at)"
    " VALUES (1, 1, 'Ann Other', 'abc', '2020-07-16 09:00:00')",
    "INSERT INTO messages (id, letter_id, mode, message_id, created_at, envelope_sender,"
    " recipients) VALUES (1, 1, 'live', '<a@o.example>', '2020-07-22 08:00:00', 'l@o.example',"
    " '[]')",
    "INSERT INTO deliveries (id, message_id, letter_id, mode, recipient, state, due_at, settled_at)"
    " VALUES (1, 1, 1, 'live', 'a@a.example', 'accepted', '2020-07-22 08:00:00',"
    " '2020-07-22 08:00:01')",
    "INSERT INTO events (at, kind, run_id, letter_id, data)"
    " VALUES ('2020-07-22 08:00:00', 'letter_prepared', 1, 1, '{}')",
)
