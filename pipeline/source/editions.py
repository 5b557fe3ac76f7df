"""The editions: one as it is stored, and the dates of all, which the schedule looks at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.errors import Misconfigured, Refused, Unavailable
from pipeline.letter import CASES, ROLES, Edition
from pipeline.london import LONDON
from pipeline.source import values
from pipeline.source.reading import Faults, raw, rows, translated
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEdition:
    """An edition as the statistics have it: None where what is usual stands in (`in_full`)."""

    year: int
    letter_date: date
    published_on: date
    period_start: date
    period_end: date
    signatory: str
    signatory_posts: Sequence[str]
    facts: Mapping[str, int | str]
    copied_roles: Sequence[str] | None = None
    prepare_on: date | None = None
    dispatch_at: datetime | None = None
    enclosures: Sequence[str] | None = None

    def in_full(self) -> Edition:
        """The edition that letters are composed with."""
        return Edition(
            year=self.year,
            letter_date=self.letter_date,
            published_on=self.published_on,
            period_start=self.period_start,
            period_end=self.period_end,
            signatory=self.signatory,
            signatory_posts=self.signatory_posts,
            facts=self.facts,
            copied_roles=["link_officer"] if self.copied_roles is None else self.copied_roles,
            enclosures=tuple(self.enclosures or ()),
            prepare_on=self.prepare_on or self.letter_date - _BEFORE,
            dispatch_at=self.dispatch_at or _london(self.letter_date, _HOUR),
        )


def stored_edition(db: Database, year: int) -> StoredEdition:
    """One year's edition.

    Raises Refused if there is none, Misconfigured if its values are not as they should be,
    Unavailable if it cannot be read.
    """
    _require(db)
    with db.read() as connection:
        _in_london(db, connection)
        return read(connection, db, Faults(db), year)


def years(db: Database) -> list[int]:
    """The years that the statistics database has an edition of."""
    _require(db)
    with db.read() as connection:
        return _years(connection, db)


def of_the_year_alone(db: Database, year: int) -> Mapping[str, int]:
    """How many rows each relation has that are one year's and no other's, but its edition."""
    _require(db)
    counts = {}
    with db.read() as connection:
        for table in (schema.published_averages, schema.remarks):
            count = sa.select(sa.func.count().label("rows")).where(table.c.year == year)
            [row] = rows(connection, db, count, table)
            counts[table.name] = row["rows"]
    return counts


def read(connection: sa.Connection, db: Database, faults: Faults, year: int) -> StoredEdition:
    """As `stored_edition`, over a connection whose time zone is London's."""
    table = schema.editions
    # A view that was made for an earlier version does not give what may be left out.
    columns = [one for one in table.c if one.name != "enclosures" or _encloses(connection, db)]
    found = rows(connection, db, sa.select(*raw(*columns)).where(table.c.year == year), table)
    if not found:
        known = _years(connection, db)
        there_are = f"there is {', '.join(map(str, known))}" if known else "there is none at all"
        follows = f", or letters edition {year} --from {year - 1}" if year - 1 in known else ""
        raise Refused(
            f"The statistics database has no edition of {year} ({there_are}); "
            f"add one to its editions: letters import FOLDER or BOOK.xlsx{follows}"
        )
    if len(found) > 1:
        faults.add(
            table,
            "year",
            Wrong(f"holds {year} in {len(found)} rows", "; a year has one edition: leave one row."),
        )
        faults.refuse()
    row, key = found[0], f"year {year}"
    letter_date = faults.read(table, row, key, "letter_date", values.needed_day)
    published_on = faults.read(table, row, key, "published_on", values.needed_day)
    period_start = faults.read(table, row, key, "period_start", values.needed_day)
    period_end = faults.read(table, row, key, "period_end", values.needed_day)
    signatory = faults.read(table, row, key, "signatory", values.printed_text)
    posts = faults.read(table, row, key, "signatory_posts", values.printed_texts)
    facts = faults.read(table, row, key, "facts", values.facts)
    copied = faults.read(table, row, key, "copied_roles", values.roles(ROLES))
    prepare_on = faults.read(table, row, key, "prepare_on", values.near_day)
    dispatch_at = faults.read(table, row, key, "dispatch_at", values.moment)
    enclosed = None
    if "enclosures" in row:
        enclosed = faults.read(table, row, key, "enclosures", values.roles(CASES))
    faults.refuse()
    assert letter_date and published_on and period_start and period_end  # noqa: S101, PT018
    if period_start > period_end:
        raise Refused(
            f"Edition {year} ends ({period_end}) before it starts ({period_start}); "
            "correct period_start or period_end in editions."
        )
    return StoredEdition(
        year=year,
        letter_date=letter_date,
        published_on=published_on,
        period_start=period_start,
        period_end=period_end,
        signatory=signatory or "",
        signatory_posts=posts or [],
        facts=facts or {},
        copied_roles=copied,
        prepare_on=prepare_on,
        dispatch_at=dispatch_at,
        enclosures=enclosed,
    )


def _encloses(connection: sa.Connection, db: Database) -> bool:
    """Whether the editions have a column for what is enclosed."""
    with translated(db, schema.editions):
        there = sa.inspect(connection).get_columns(schema.editions.name)
    return any(one["name"] == "enclosures" for one in there)


def _years(connection: sa.Connection, db: Database) -> list[int]:
    found = rows(connection, db, sa.select(*raw(schema.editions.c.year)), schema.editions)
    return sorted({row["year"] for row in found if isinstance(row["year"], int)})


def _require(db: Database) -> None:
    if db.path is not None and not db.path.exists():
        raise Unavailable(
            f"There is no statistics database at {db}; "
            "load some statistics (letters import FOLDER or BOOK.xlsx) or set source.url."
        )


def _in_london(db: Database, connection: sa.Connection) -> None:
    """A time without an offset is London time, whatever the server's zone."""
    if not db.is_sqlite:
        with translated(db):
            connection.exec_driver_sql("SET LOCAL TIME ZONE 'Europe/London'")


def calendar(db: Database) -> Calendar:
    """Read the dates of all editions from the statistics database.

    Raises Unavailable if it cannot be read, and Misconfigured if it has no such relation.
    """
    _require(db)
    table = schema.editions
    columns = (table.c.year, table.c.letter_date, table.c.prepare_on, table.c.dispatch_at)
    with db.read() as connection:
        _in_london(db, connection)
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
