"""Letters: composed, then prepared or faulted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.ledger import events
from pipeline.schema import Event, Stage

_CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenLetter:
    """What a letter is made from; it never changes once the run is open."""

    id: int
    run_id: int
    year: int
    authority_code: str
    authority_name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A letter's file: `pdf` is its name within the archive, hashes are hex SHA-256."""

    letter_id: int
    pdf: str
    pdf_sha256: str
    docx_sha256: str
    pages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Faulted:
    """Why a letter's file could not be made or trusted."""

    letter_id: int
    reason: str


def _waiting(run_id: int) -> sa.ColumnElement[bool]:
    """Not prepared; a fault in making the file is worth another try, one in the data is not."""
    table = schema.letters
    return sa.and_(
        table.c.run_id == run_id,
        table.c.pdf.is_(None),
        table.c.withheld_at.is_(None),
        table.c.faulted_in.is_distinct_from(Stage.COMPOSE.value),
    )


def unplanned(run_id: int, mode: Mode) -> sa.ColumnElement[bool]:
    """What holds of the run's letters that could be sent in this mode and have no message yet."""
    table, m = schema.letters, schema.messages
    return sa.and_(
        table.c.run_id == run_id,
        table.c.pdf.is_not(None),
        table.c.withheld_at.is_(None),
        ~sa.exists().where(
            m.c.letter_id == table.c.id, m.c.mode == mode.value, m.c.resend_of.is_(None)
        ),
    )


def any_unplanned(db: Database, run_id: int, mode: Mode) -> bool:
    """Whether there is such a letter."""
    with db.read() as connection:
        found = connection.scalar(
            sa.select(schema.letters.c.id).where(unplanned(run_id, mode)).limit(1)
        )
    return found is not None


def count_unprepared(db: Database, run_id: int) -> int:
    """How many letters of the run have no file yet and could have one."""
    with db.read() as connection:
        return (
            connection.scalar(
                sa.select(sa.func.count()).select_from(schema.letters).where(_waiting(run_id))
            )
            or 0
        )


def any_prepared(db: Database, run_id: int) -> bool:
    """Whether any letter of the run has its file."""
    table = schema.letters
    with db.read() as connection:
        found = connection.scalar(
            sa.select(table.c.id).where(table.c.run_id == run_id, table.c.pdf.is_not(None)).limit(1)
        )
    return found is not None


def unprepared(db: Database, run_id: int) -> Iterator[FrozenLetter]:
    """Those letters, streamed: read in short transactions, so that writers never wait for it."""
    table, runs = schema.letters, schema.runs
    last = 0
    while True:
        with db.read() as connection:
            rows = connection.execute(
                sa.select(
                    table.c.id,
                    table.c.run_id,
                    runs.c.year,
                    table.c.authority_code,
                    table.c.authority_name,
                    table.c.fields,
                )
                .join(runs, runs.c.id == table.c.run_id)
                .where(_waiting(run_id), table.c.id > last)
                .order_by(table.c.id)
                .limit(_CHUNK)
            ).all()
        if not rows:
            return
        for row in rows:
            yield FrozenLetter(**row._mapping)  # noqa: SLF001 - a row's public mapping
        last = rows[-1].id


def record(db: Database, run_id: int, result: Prepared | Faulted, *, now: datetime) -> bool:
    """Record what came of preparing a letter; False if it had been prepared already."""
    table = schema.letters
    match result:
        case Prepared():
            values: dict[str, Any] = {
                "pdf": result.pdf,
                "pdf_sha256": result.pdf_sha256,
                "docx_sha256": result.docx_sha256,
                "pages": result.pages,
                "prepared_at": now,
                "fault": None,
                "faulted_in": None,
            }
            kind = Event.LETTER_PREPARED
            data = {"pdf": result.pdf, "sha256": result.pdf_sha256, "pages": result.pages}
            changed: sa.ColumnElement[bool] = table.c.pdf.is_(None)
        case Faulted():
            values = {"fault": result.reason, "faulted_in": Stage.PREPARE.value}
            kind = Event.LETTER_FAULTED
            data = {"reason": result.reason}
            # The same fault again is no news.
            changed = sa.and_(table.c.pdf.is_(None), table.c.fault.is_distinct_from(result.reason))
    with db.write() as connection:
        done = connection.execute(
            sa.update(table).where(table.c.id == result.letter_id, changed).values(**values)
        )
        if done.rowcount != 1:
            return False
        events.note(connection, kind, at=now, run_id=run_id, letter_id=result.letter_id, data=data)
    return True


def names(db: Database, run_id: int) -> list[str]:
    """The names of all authorities that the run writes about, for telling letters apart."""
    table = schema.letters
    with db.read() as connection:
        return list(
            connection.scalars(
                sa.select(table.c.authority_name).where(table.c.run_id == run_id).distinct()
            )
        )
