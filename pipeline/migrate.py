"""Bring a database's tables up to what this version of the code expects.

Migrations only go up: a ledger is evidence, and taking columns away from evidence is not something
a command should offer. A backup is the way back.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from pipeline.database import Database
from pipeline.errors import Misconfigured, Refused, Unavailable
from pipeline.schema import VERSION, metadata

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

# PostgreSQL's advisory lock that whoever migrates holds until the end of the transaction. Any
# number will do, as long as it stays the same in every version: "letters" in ASCII.
MIGRATION_LOCK = 0x6C657474657273

_NAMED = 5  # of another program's tables


def head() -> str:
    """The newest migration that this version of the code has."""
    return VERSION


def current(db: Database) -> str | None:
    """The migration that the database stands at; None for one that has never been migrated."""
    if db.path is not None and not _exists(db.path):
        return None
    with db.read() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        version = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return None if version is None else str(version)


def upgrade(db: Database, to: str = "head") -> tuple[str | None, str]:
    """Apply every migration that is missing, in one transaction; from and to which.

    `to` names one that is the last; only what has to be tried with an older ledger wants that.

    An SQLite file and its folder are created; the first of several at once does the work, and the
    others find it done. Raises Misconfigured for a database that was written by a newer version of
    the code or by another program, Unavailable for one that cannot be made.
    """
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext

    if db.path is not None:
        _make_folder(db.path)
    scripts = _scripts()
    with db.write() as connection:
        if not db.is_sqlite:  # where BEGIN IMMEDIATE has let one in alone
            connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK}
            )
        before = MigrationContext.configure(connection).get_current_revision()
        _refuse_newer(db, before, scripts)
        if before is None:
            _refuse_foreign(db, connection)
        config = Config()
        config.set_main_option("script_location", str(_folder()))
        config.attributes["connection"] = connection
        with EnvironmentContext(
            config,
            scripts,
            fn=lambda revision, _context: scripts._upgrade_revs(to, revision),  # noqa: SLF001 - as alembic.command.upgrade does it
        ):
            scripts.run_env()
    return before, head()


def ensure_current(db: Database) -> None:
    """Before a write: create or upgrade an embedded database, refuse a server's that is behind."""
    stands_at = current(db)
    if stands_at == head():
        return
    if db.is_sqlite:
        upgrade(db)
        return
    _refuse_newer(db, stands_at, _scripts())
    raise Misconfigured(
        f"The database {db} is at version {stands_at or 'none'}, this program needs {head()}; "
        "run letters db upgrade first."
    )


def require_current(db: Database) -> None:
    """Before a read: refuse a database that is not there, another's, or not at this version."""
    stands_at = current(db)
    if stands_at is None:
        if db.path is None or _exists(db.path):
            with db.read() as connection:
                _refuse_foreign(db, connection)
        raise Refused(
            f"There is no ledger yet at {db}; "
            "load some statistics first: letters import FOLDER or BOOK.xlsx"
        )
    if stands_at != head():
        _refuse_newer(db, stands_at, _scripts())
        raise Misconfigured(
            f"The database {db} is at version {stands_at}, this program needs {head()}; "
            "run letters db upgrade first."
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise Unavailable(
            f"The database {path} cannot be looked for: {error.strerror}. "
            "Check that its name is right and that its folder may be entered."
        ) from error


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason, fix = error.strerror, "Make it by hand"
        if isinstance(error, FileExistsError | NotADirectoryError):
            for place in (path.parent, *path.parent.parents):
                if place.exists() and not place.is_dir():
                    reason, fix = f"{place} is a file and not a folder", "Move that away"
        raise Unavailable(
            f"The folder {path.parent} of the database {path.name} cannot be made: {reason}. "
            f"{fix}, or name another file in database.url."
        ) from error


def _refuse_foreign(db: Database, connection: sa.Connection) -> None:
    """Refuse what another program has made; on a server, tables may well stand beside its own."""
    inspector = sa.inspect(connection)
    found = sorted({*inspector.get_table_names(), *inspector.get_view_names()})
    if taken := [name for name in found if name in metadata.tables]:
        raise Misconfigured(
            f"The database {db} holds tables of the same names that this program did not make "
            f"({', '.join(taken)}); name a database of its own in database.url."
        )
    if db.is_sqlite and found:
        more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
        raise Misconfigured(
            f"The database {db} is another program's: it holds {', '.join(found[:_NAMED])}{more}, "
            "and none of this program's tables; name a file of its own in database.url, as in "
            "sqlite:///var/letters.db."
        )


def _refuse_newer(db: Database, stands_at: str | None, scripts: "ScriptDirectory") -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    if stands_at is not None and stands_at not in known:
        raise Misconfigured(
            f"The database {db} is at version {stands_at}, which this program does not know; "
            "it was written by a newer version: install that one."
        )


def _scripts() -> "ScriptDirectory":
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(_folder()))


def _folder() -> Path:
    """The migrations: inside an installed package, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise Misconfigured("This installation has no migrations; install it again.")
