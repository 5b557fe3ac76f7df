"""Which columns each file has, which row is which, and what the cells of a row owe each other."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.importer.cells import Holds, address, code, flag, number, one_of, text
from pipeline.importer.dates import day, moment, recent_day
from pipeline.importer.structures import copied_roles, enclosures, facts, texts
from pipeline.letter import KINDS, MEASURES, NOUNS, OUTCOMES, ROLES
from pipeline.london import LONDON

_NAME_LIMIT = 150
"""Characters of an authority's name: as many as fit above the figures on the letter's page 3."""

Row = Mapping[str, Any]
"""A row's values by column."""

Complaint = tuple[str, str]
"""The column that is complained about, and the end of the fault's sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: how its cells are read, and whether they or the whole column may be missing.

    `holds` says the same of the values of a spreadsheet, before they are read. `blank` is what an
    empty cell means where it may be empty.
    """

    name: str
    read: Callable[[str], Any]
    holds: Holds
    may_be_empty: bool = False
    may_be_absent: bool = False
    blank: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """One file and its table; `key` says which row is which, `check` compares a row's cells.

    `refers` is the column that names an authority of the register, if there is one.
    """

    table: sa.Table
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    check: Callable[[Row], Iterable[Complaint]] = lambda _row: ()
    refers: str | None = None

    @property
    def name(self) -> str:
        """The table's name."""
        return str(self.table.name)

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.name}.csv"


def alike(value: Any) -> Any:
    """One spelling for what people take for the same code or case: case and spaces do not count."""
    return "".join(value.split()).casefold() if isinstance(value, str) else value


_TEXT, _NUMBER, _FLAG, _DAY, _MOMENT = Holds

_Read = Callable[[str], Any]


def _column(name: str, read: _Read, holds: Holds = _TEXT) -> Column:
    return Column(name=name, read=read, holds=holds)


def _empty(name: str, read: _Read, holds: Holds = _TEXT) -> Column:
    return Column(name=name, read=read, holds=holds, may_be_empty=True)


def _optional(name: str, read: _Read, holds: Holds = _TEXT, *, blank: Any = None) -> Column:
    return Column(
        name=name, read=read, holds=holds, may_be_empty=True, may_be_absent=True, blank=blank
    )


def _check_active(row: Row) -> Iterator[Complaint]:
    start, end = row["active_from"], row["active_to"]
    if start is not None and end is not None and end < start:
        yield "active_to", f"{end} is before active_from, {start}."


def _check_authority(row: Row) -> Iterator[Complaint]:
    yield from _check_active(row)
    if row["successor_code"] == row["code"]:
        yield "successor_code", "an authority cannot be its own successor."


def _check_officer(row: Row) -> Iterator[Complaint]:
    yield from _check_active(row)
    if row["honorific"] and not (row["given_name"] or row["family_name"]):
        yield (
            "honorific",
            f"“{row['honorific']}” stands without a name; give the name, "
            "or leave all three empty if the post is vacant.",
        )


def _check_decision(row: Row) -> Iterator[Complaint]:
    if row["received_on"] > row["decided_on"]:
        yield "decided_on", f"{row['decided_on']} is before received_on, {row['received_on']}."
    if row["remedied_early"] and row["outcome"] != "upheld":
        yield (
            "remedied_early",
            f"is 1, but the outcome is {row['outcome']}; only an upheld case counts as remedied.",
        )


def _check_edition(row: Row) -> Iterator[Complaint]:
    if row["period_end"] < row["period_start"]:
        yield "period_end", f"{row['period_end']} is before period_start, {row['period_start']}."
    sent_on = row["letter_date"]
    if row["dispatch_at"] is not None:
        sent_on = row["dispatch_at"].astimezone(LONDON).date()
    if row["prepare_on"] is not None and row["prepare_on"] > sent_on:
        yield (
            "prepare_on",
            f"{row['prepare_on']} is after {sent_on}, when the letters are to be sent.",
        )


RELATIONS: tuple[Relation, ...] = (
    Relation(
        table=schema.authorities,
        columns=(
            _column("code", code),
            _column("name", text(_NAME_LIMIT)),
            _column("kind", one_of(KINDS)),
            _optional("noun", one_of(NOUNS), blank=NOUNS[0]),
            _optional("active_from", day, _DAY),
            _optional("active_to", day, _DAY),
            _optional("successor_code", code),
        ),
        key=("code",),
        check=_check_authority,
        refers="successor_code",
    ),
    Relation(
        table=schema.officers,
        columns=(
            _column("authority_code", code),
            _column("role", one_of(ROLES)),
            _optional("honorific", text(50)),
            _empty("given_name", text(100)),
            _empty("family_name", text(100)),
            _empty("post", text(200)),
            _empty("email", address),
            _optional("active_from", day, _DAY),
            _optional("active_to", day, _DAY),
        ),
        # Two people may hold a post jointly and share its mailbox, so the names are part of it.
        key=("authority_code", "role", "email", "active_from", "given_name", "family_name"),
        check=_check_officer,
        refers="authority_code",
    ),
    Relation(
        table=schema.decisions,
        columns=(
            _column("case_reference", text(60)),
            _column("authority_code", code),
            _column("received_on", recent_day, _DAY),
            _column("decided_on", recent_day, _DAY),
            _column("category", text(200)),
            _column("outcome", one_of(OUTCOMES["decisions"])),
            _optional("remedied_early", flag, _FLAG, blank=False),
        ),
        key=("case_reference",),
        check=_check_decision,
        refers="authority_code",
    ),
    Relation(
        table=schema.compliance,
        columns=(
            _column("case_reference", text(60)),
            _column("authority_code", code),
            _column("recorded_on", recent_day, _DAY),
            _column("outcome", one_of(OUTCOMES["compliance"])),
        ),
        key=("case_reference",),
        refers="authority_code",
    ),
    Relation(
        table=schema.remarks,
        columns=(
            _column("year", number(1975, 2199), _NUMBER),
            _column("authority_code", code),
            _column("position", number(0, 999), _NUMBER),
            _column("text", text(5_000)),
        ),
        key=("year", "authority_code", "position"),
        refers="authority_code",
    ),
    Relation(
        table=schema.editions,
        columns=(
            _column("year", number(1975, 2199), _NUMBER),
            _column("letter_date", recent_day, _DAY),
            _column("published_on", recent_day, _DAY),
            _column("period_start", recent_day, _DAY),
            _column("period_end", recent_day, _DAY),
            _column("signatory", text(200)),
            _column("signatory_posts", texts),
            _optional("facts", facts, blank={}),
            _optional("copied_roles", copied_roles),
            _optional("prepare_on", recent_day, _DAY),
            _optional("dispatch_at", moment, _MOMENT),
            _optional("enclosures", enclosures),
        ),
        key=("year",),
        check=_check_edition,
    ),
    Relation(
        table=schema.published_averages,
        columns=(
            _column("year", number(1975, 2199), _NUMBER),
            _column("kind", one_of(KINDS)),
            _column("measure", one_of(MEASURES)),
            _column("percent", number(0, 100), _NUMBER),
        ),
        key=("year", "kind", "measure"),
    ),
)
"""Every file, in the order in which they are read, checked and stored."""
