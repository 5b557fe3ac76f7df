"""The editions' dates alone: what the schedule looks at every minute, without a whole pull."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.errors import Misconfigured, Unavailable
from pipeline.london import LONDON
from pipeline.source import values
from pipeline.source.reading import Faults, raw, rows
from pipeline.source.values import Wrong

_BEFORE = timedelta(days=7)
_HOUR = time(9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates:
    """When one year's letters are to be made and sent; both moments are aware, in UTC.

    `prepare_at` is the first moment of the edition's day in London.
    """

    year: int
    letter_date: date
    prepare_at: datetime
    dispatch_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The dates of every edition, in the order of the years.

    `faults` are whole sentences about editions whose dates cannot be read; those are not among
    `editions`, and the others are.
    """

    editions: Sequence[Dates]
    faults: Sequence[str]


def calendar(db: Database) -> Calendar:
    """Read the dates of all editions from the statistics database.

    Raises Unavailable if it cannot be read, and Misconfigured if it has no such relation.
    """
    if db.path is not None and not db.path.exists():
        raise Unavailable(
            f"There is no statistics database at {db}; "
            "load some statistics (letters import FOLDER or BOOK.xlsx) or set source.url."
        )
    table = schema.editions
    columns = (table.c.year, table.c.letter_date, table.c.prepare_on, table.c.dispatch_at)
    with db.read() as connection:
        if not db.is_sqlite:
            # A time without an offset is London time, whatever the server's zone.
            connection.exec_driver_sql("SET LOCAL TIME ZONE 'Europe/London'")
        found = rows(connection, db, sa.select(*raw(*columns)), table)
    editions: dict[int, Dates] = {}
    twice: set[int] = set()
    faults: list[str] = []
    for row in found:
        try:
            dates = _dates(db, row)
        except Misconfigured as fault:
            faults.append(str(fault))
            continue
        if dates.year in editions:
            twice.add(dates.year)
        editions[dates.year] = dates
    for year in sorted(twice):
        del editions[year]
        faults.append(
            f"The statistics database {db}: editions.year holds {year} in several rows; "
            "a year has one edition: leave one row."
        )
    return Calendar(editions=[editions[year] for year in sorted(editions)], faults=faults)


def _dates(db: Database, row: dict[str, Any]) -> Dates:
    """One edition's dates; Misconfigured if there is a fault in them."""
    table, faults = schema.editions, Faults(db)
    year, key = row["year"], f"year {row['year']}"
    if isinstance(year, bool) or not isinstance(year, int):
        faults.add(
            table,
            "year",
            Wrong(f"holds {values.shown(year)}", ", which is not a year; let the view give one."),
        )
    letter_date = faults.read(table, row, key, "letter_date", values.needed_day)
    prepare_on = faults.read(table, row, key, "prepare_on", values.near_day)
    dispatch_at = faults.read(table, row, key, "dispatch_at", values.moment)
    faults.refuse()
    assert letter_date is not None  # noqa: S101 - refused above
    return Dates(
        year=year,
        letter_date=letter_date,
        prepare_at=_london(prepare_on or letter_date - _BEFORE, time(0)),
        dispatch_at=dispatch_at or _london(letter_date, _HOUR),
    )


def _london(day: date, at: time) -> datetime:
    return datetime.combine(day, at, tzinfo=LONDON).astimezone(UTC)
