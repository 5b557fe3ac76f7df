"""Letters: composed, then prepared or faulted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.ledger import enclosures
from pipeline.ledger.enclosures import Cases, Enclosed
from pipeline.schema import Event, Stage

_CHUNK = 200

MADE = ("pdf", "pdf_sha256", "docx_sha256", "pages", "prepared_at")
"""What a letter has once its file is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenLetter:
    """What a letter is made from; it never changes once the run is open."""

    id: int
    run_id: int
    year: int
    authority_code: str
    authority_name: str
    fields: Mapping[str, Any]
    cases: Mapping[str, Cases] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A letter's file: `pdf` is its name within the archive, hashes are hex SHA-256.

    `enclosed` are the workbooks that go with it.
    """

    letter_id: int
    pdf: str
    pdf_sha256: str
    docx_sha256: str
    pages: int
    enclosed: Sequence[Enclosed] = ()


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
        table.c.superseded_at.is_(None),
        table.c.forgotten_at.is_(None),
        table.c.faulted_in.is_distinct_from(Stage.COMPOSE.value),
    )


def unplanned(run_id: int, mode: Mode) -> sa.ColumnElement[bool]:
    """What holds of the run's letters that could be sent in this mode and have no message yet."""
    table, m = schema.letters, schema.messages
    return sa.and_(
        table.c.run_id == run_id,
        table.c.pdf.is_not(None),
        table.c.withheld_at.is_(None),
        table.c.superseded_at.is_(None),
        table.c.forgotten_at.is_(None),
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
    """Those letters, by code, streamed: read in short transactions, so that no writer waits."""
    table, runs = schema.letters, schema.runs
    place = sa.tuple_(table.c.authority_code, table.c.revision)  # the index of a run's letters
    after: tuple[str, int] = ("", 0)
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
                    table.c.revision,
                )
                .join(runs, runs.c.id == table.c.run_id)
                .where(_waiting(run_id), place > after)
                .order_by(table.c.authority_code, table.c.revision)
                .limit(_CHUNK)
            ).all()
            cases = enclosures.cases(connection, [row.id for row in rows])
        if not rows:
            return
        for row in rows:
            yield FrozenLetter(
                id=row.id,
                run_id=row.run_id,
                year=row.year,
                authority_code=row.authority_code,
                authority_name=row.authority_name,
                fields=row.fields,
                cases=cases.get(row.id, {}),
            )
        after = (rows[-1].authority_code, rows[-1].revision)


def record(db: Database, run_id: int, result: Prepared | Faulted, *, now: datetime) -> bool:
    """Record what came of preparing a letter; False if it had been prepared already."""
    return bool(record_all(db, run_id, [result], now=now))


def record_all(
    db: Database, run_id: int, results: Sequence[Prepared | Faulted], *, now: datetime
) -> int:
    """Record what came of preparing some letters, in one transaction; how many of it were news.

    A letter that had been prepared already, by whomever, stays as it is, and the same fault again
    is no news.
    """
    table = schema.letters
    made: list[dict[str, Any]] = []
    enclosed: list[tuple[int, Sequence[Enclosed]]] = []
    failed: list[dict[str, Any]] = []
    noted: list[dict[str, Any]] = []
    with db.write() as connection:
        # Locked, always in the same order: what is seen here still holds when it is written.
        stands = {
            row.id: (row.pdf, row.fault)
            for row in connection.execute(
                sa.select(table.c.id, table.c.pdf, table.c.fault)
                .where(table.c.id.in_([result.letter_id for result in results]))
                .order_by(table.c.id)
                .with_for_update()
            )
        }
        for result in results:
            pdf, fault = stands.get(result.letter_id, ("", None))
            if pdf is not None:
                continue
            match result:
                case Prepared():
                    stands[result.letter_id] = (result.pdf, None)
                    kind = Event.LETTER_PREPARED
                    data = {
                        "pdf": result.pdf,
                        "sha256": result.pdf_sha256,
                        "pages": result.pages,
                    }
                    enclosed.append((result.letter_id, result.enclosed))
                    made.append({**_prepared(result), "of": result.letter_id, "prepared_at": now})
                case Faulted():
                    if fault == result.reason:
                        continue
                    stands[result.letter_id] = (None, result.reason)
                    kind = Event.LETTER_FAULTED
                    data = {"reason": result.reason}
                    failed.append({"of": result.letter_id, "fault": result.reason})
            noted.append(
                {
                    "kind": kind.value,
                    "at": now,
                    "run_id": run_id,
                    "letter_id": result.letter_id,
                    "data": data,
                }
            )
        enclosures.record(connection, enclosed)
        for statement, rows in ((_FAULT, failed), (_PREPARE, made), (_NOTE, noted)):
            if rows:
                connection.execute(statement, rows)
    return len(noted)


# Statements made once: to make one anew takes several times as long as to carry it out.
_OF_ONE = sa.and_(schema.letters.c.id == sa.bindparam("of"), schema.letters.c.pdf.is_(None))
_FAULT = (
    sa.update(schema.letters)
    .where(_OF_ONE)
    .values(fault=sa.bindparam("fault"), faulted_in=Stage.PREPARE.value)
)
_PREPARE = (
    sa.update(schema.letters)
    .where(_OF_ONE)
    .values(
        **{name: sa.bindparam(name) for name in MADE},
        fault=None,
        faulted_in=None,
    )
)
_NOTE = sa.insert(schema.events)


def _prepared(result: Prepared) -> dict[str, Any]:
    return {
        "pdf": result.pdf,
        "pdf_sha256": result.pdf_sha256,
        "docx_sha256": result.docx_sha256,
        "pages": result.pages,
    }


def names(db: Database, run_id: int) -> list[str]:
    """The names of all authorities that the run writes about, for telling letters apart."""
    table = schema.letters
    with db.read() as connection:
        return list(
            connection.scalars(
                sa.select(table.c.authority_name).where(table.c.run_id == run_id).distinct()
            )
        )
