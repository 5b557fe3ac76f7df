"""What looks odd and is no fault: sentences for a person who has to judge."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.importer.relations import Row
from pipeline.importer.tables import Incoming, Tables
from pipeline.letter import CHIEF_EXECUTIVE
from pipeline.london import LONDON

_SHOWN = 5
_FAR = 14  # days between a letter's date and its dispatch, either way

_COUNTED = (
    (schema.decisions, "decided_on"),
    (schema.compliance, "recorded_on"),
)
"""What counts in the year whose period its date lies in."""


def edition_notes(tables: Tables) -> list[str]:
    """About the dates of the editions alone."""
    editions = tables.relations.get(schema.editions.name)
    if editions is None:
        return []
    found = []
    for line, row in zip(editions.lines, editions.rows, strict=True):
        year, letter_date, dispatch_at = row["year"], row["letter_date"], row["dispatch_at"]
        if row["period_end"].year != year:
            found.append(
                f"{editions.origin.at(line, 'period_end')}: the period of the letter of {year} "
                f"ends on {row['period_end']}; the letter of 2020 is about a period that ends in "
                "2020."
            )
        if dispatch_at is not None:
            sent_on = dispatch_at.astimezone(LONDON).date()
            if abs((sent_on - letter_date).days) > _FAR:
                found.append(
                    f"{editions.origin.at(line, 'dispatch_at')}: the letters of {year} are to be "
                    f"sent on {sent_on} and are dated {letter_date}; check both."
                )
    return found


def load_notes(incoming: Incoming) -> list[str]:
    """About the rows as they will be when they are stored."""
    return [
        *_future(incoming),
        *_uncounted(incoming),
        *_unaddressed(incoming),
        *_without_officers(incoming),
        *_without_decisions(incoming),
    ]


def _future(incoming: Incoming) -> Iterator[str]:
    today = datetime.now(LONDON).date()
    for table, columns in (
        (schema.decisions, ("received_on", "decided_on")),
        (schema.compliance, ("recorded_on",)),
    ):
        late = [
            (line, column, row[column])
            for line, row in incoming.given(table)
            for column in columns
            if row[column] > today
        ]
        if late:
            line, column, when = late[0]
            others = f" ({len(late) - 1:,} more dates do)" if len(late) > 1 else ""
            at = incoming.origin(table).at(line, column)
            yield f"{at}: {when} lies in the future{others}; check the year."


def _uncounted(incoming: Incoming) -> Iterator[str]:
    """Cases that no letter counts, because their day is in no edition's period."""
    periods = _periods(incoming)
    if not periods:
        return  # the editions come later
    for table, column in _COUNTED:
        inside: dict[date, bool] = {}
        outside: list[tuple[int, date]] = []
        number = 0
        for number, (line, row) in enumerate(incoming.given(table), start=1):  # noqa: B007
            day = row[column]
            if day not in inside:
                inside[day] = any(start <= day <= end for start, end in periods)
            if not inside[day]:
                outside.append((line, day))
        if outside:
            line, day = outside[0]
            yield (
                f"{incoming.origin(table).called}: {len(outside):,} of {number:,} rows lie outside "
                f"the period of every edition and count in no letter yet; the first is "
                f"{incoming.origin(table).on(line)}, {column} {day}."
            )


def _periods(incoming: Incoming) -> list[tuple[date, date]]:
    table = schema.editions
    periods: dict[int, tuple[date, date]] = {}
    if incoming.keeps(table):
        select = sa.select(table.c.year, table.c.period_start, table.c.period_end)
        periods = {year: (start, end) for year, start, end in incoming.connection.execute(select)}
    periods |= {
        row["year"]: (row["period_start"], row["period_end"]) for _, row in incoming.given(table)
    }
    return list(periods.values())


def _unaddressed(incoming: Incoming) -> Iterator[str]:
    """Chief executives who are in post and have no address, and nobody beside them who has one."""
    table = schema.officers
    chiefs = [
        (line, row)
        for line, row in incoming.given(table)
        if row["role"] == CHIEF_EXECUTIVE and row["active_to"] is None
    ]
    reached = {row["authority_code"] for _, row in chiefs if row["email"]}
    for line, row in chiefs:
        if row["authority_code"] not in reached:
            yield (
                f"{incoming.origin(table).at(line, 'email')}: the chief executive of "
                f"{row['authority_code']} has no address; there is no letter until there is one."
            )


def _without_officers(incoming: Incoming) -> Iterator[str]:
    officers = _codes(incoming, schema.officers)
    if not officers:
        return  # they come later
    decided = {row["authority_code"] for _, row in incoming.given(schema.decisions)}
    # An authority that was abolished is written to through its successor.
    alone = decided - officers - {row["code"] for row in _register(incoming) if row["successor"]}
    if alone:
        yield (
            f"{incoming.origin(schema.decisions).called}: {_listed(alone)} without any officer; "
            f"there is no letter to them until {incoming.origin(schema.officers).called} has a "
            "chief executive."
        )


def _without_decisions(incoming: Incoming) -> Iterator[str]:
    """Authorities that get a letter about nothing: right for a few, and odd for most."""
    periods = _periods(incoming)
    if not incoming.has(schema.decisions) or not periods:
        return
    decided = _codes(incoming, schema.decisions)
    idle = {
        row["code"]
        for row in _register(incoming)
        if row["code"] not in decided
        and any(
            (row["active_from"] or date.min) <= end and start <= (row["active_to"] or date.max)
            for start, end in periods
        )
    }
    if idle:
        yield (
            f"{incoming.origin(schema.authorities).called}: {_listed(idle)} without any decision, "
            f"which {'its letter' if len(idle) == 1 else 'their letters'} will say."
        )


def _codes(incoming: Incoming, table: sa.Table) -> set[str]:
    """The authorities that have a row in a table, once the import is done."""
    codes = {row["authority_code"] for _, row in incoming.given(table)}
    if incoming.keeps(table):
        codes.update(
            incoming.connection.scalars(sa.select(table.c.authority_code).distinct()).all()
        )
    return codes


def _register(incoming: Incoming) -> list[dict[str, Any]]:
    """The authorities as they will be."""
    table = schema.authorities
    names = {"code": "code", "active_from": "active_from", "active_to": "active_to"}
    names["successor"] = "successor_code"

    def short(row: Row) -> dict[str, Any]:
        return {name: row[column] for name, column in names.items()}

    register: dict[str, dict[str, Any]] = {}
    if incoming.keeps(table):
        stored = incoming.connection.execute(sa.select(table)).mappings()
        register = {row["code"]: short(dict(row)) for row in stored}
    register |= {row["code"]: short(row) for _, row in incoming.given(table)}
    return list(register.values())


def _listed(codes: Iterable[str]) -> str:
    found: Sequence[str] = sorted(codes)
    named = ", ".join(found[:_SHOWN])
    more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return f"{len(found):,} {'authority' if len(found) == 1 else 'authorities'} ({named}{more})"
