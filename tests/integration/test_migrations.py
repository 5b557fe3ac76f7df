"""Migrations and the tables in the code are one and the same."""

import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from pipeline import migrate, schema
from pipeline.database import Database
from pipeline.errors import Misconfigured
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
