"""Which ledger this is, its newest entry, and what people have confirmed of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Mode
from pipeline.ledger import events
from pipeline.schema import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the ledger's story, by which one can be told from another."""

    event: int
    at: datetime
    kind: str
    delivery: int | None
    attempt: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """When somebody last confirmed the ledger and had everything held, and who."""

    at: datetime
    person: str


def _entries(*more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    e = schema.events
    return sa.select(e.c.id, e.c.at, e.c.kind, e.c.delivery_id, e.c.data, *more)


# Made once: the first is asked before each dot.
_NEWEST = _entries(schema.instance.c.name).select_from(
    schema.instance.outerjoin(
        schema.events,
        schema.events.c.id == sa.select(sa.func.max(schema.events.c.id)).scalar_subquery(),
    )
)
_ENTRY = _entries().where(schema.events.c.id == sa.bindparam("event"))


def newest(db: Database) -> tuple[str, Entry | None]:
    """The ledger's name and its newest entry, None while it has none."""
    with db.read() as connection:
        row = connection.execute(_NEWEST).one()
    return row.name, None if row.id is None else _entry(row)


def entry(db: Database, event: int) -> Entry | None:
    """The entry of that number, if there is one."""
    with db.read() as connection:
        row = connection.execute(_ENTRY, {"event": event}).one_or_none()
    return None if row is None else _entry(row)


def known_until(db: Database, at: datetime) -> datetime | None:
    """When the last entry was made that is not newer than `at`; None if there is none."""
    e = schema.events
    with db.read() as connection:
        return connection.scalar(
            sa.select(e.c.at).where(e.c.at <= at).order_by(e.c.at.desc()).limit(1)
        )


def is_taken_up(db: Database) -> bool:
    """Whether a machine has been noted as this ledger's, or mail has left one with it."""
    a, d, e = schema.attempts, schema.deliveries, schema.events
    with db.read() as connection:
        noted = connection.scalar(
            sa.select(e.c.id).where(e.c.kind == Event.LEDGER_CONFIRMED.value).limit(1)
        )
        sent = connection.scalar(
            sa.select(a.c.id)
            .join(d, d.c.id == a.c.delivery_id)
            .where(a.c.intent_at.is_not(None), d.c.mode != Mode.CAPTURE.value)
            .limit(1)
        )
    return noted is not None or sent is not None


def confirm(db: Database, data: Mapping[str, Any], *, person: str | None, now: datetime) -> None:
    """Note that this ledger may send from now on, and from where; no person: at its first use."""
    with db.write() as connection:
        events.note(connection, Event.LEDGER_CONFIRMED, at=now, person=person, data=data)


def last_held(db: Database) -> Confirmed | None:
    """The last confirmation that held everything, if there was one."""
    e = schema.events
    with db.read() as connection:
        rows = connection.execute(
            sa.select(e.c.at, e.c.person, e.c.data)
            .where(e.c.kind == Event.LEDGER_CONFIRMED.value)
            .order_by(e.c.id.desc())
        ).all()
    for row in rows:
        if row.data.get("held"):
            return Confirmed(at=row.at, person=row.person)
    return None


def was_paused(db: Database, year: int, *, since: datetime) -> bool:
    """Whether the year has been paused since then, by whomever."""
    e, r = schema.events, schema.runs
    with db.read() as connection:
        found = connection.scalar(
            sa.select(e.c.id)
            .join(r, r.c.id == e.c.run_id)
            .where(r.c.year == year, e.c.kind == Event.RUN_PAUSED.value, e.c.at >= since)
            .limit(1)
        )
    return found is not None


def _entry(row: Any) -> Entry:
    return Entry(
        event=row.id,
        at=row.at,
        kind=row.kind,
        delivery=row.delivery_id,
        attempt=row.data.get("attempt"),
    )
