"""Editions that were made here from an earlier year's, as the story tells of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.ledger import events
from pipeline.schema import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """Who made an edition, when, and from which year's.

    `named` are the settings that a person has given since, as column or `facts.NAME`: nobody needs
    to be asked whether those are right.
    """

    made_from: int
    at: datetime
    person: str
    named: frozenset[str]


def note(
    connection: sa.Connection,
    year: int,
    *,
    made_from: int | None,
    given: Mapping[str, str],
    written: bool,
    person: str,
    now: datetime,
) -> None:
    """Write down that an edition was made from another year's, or (without) that it was changed.

    `given` are the settings that were named, as they were typed. `written` is False where somebody
    else keeps the statistics and was given the row.
    """
    events.note(
        connection,
        Event.EDITION_MADE,
        at=now,
        person=person,
        data={"year": year, "from": made_from, "set": dict(given), "written": written},
    )


def making(db: Database, year: int) -> Making | None:
    """How the year's edition was made, the last time that it was; None if it came otherwise."""
    e = schema.events
    with db.read() as connection:
        rows = connection.execute(
            sa.select(e.c.at, e.c.person, e.c.data)
            .where(e.c.kind == Event.EDITION_MADE.value, e.c.run_id.is_(None))
            .order_by(e.c.id)
        ).all()
    found: Making | None = None
    for row in rows:
        if row.data["year"] != year:
            continue
        named = frozenset(row.data["set"])
        if row.data["from"] is not None:
            found = Making(made_from=row.data["from"], at=row.at, person=row.person, named=named)
        elif found is not None:
            found = Making(
                made_from=found.made_from,
                at=found.at,
                person=found.person,
                named=found.named | named,
            )
    return found
