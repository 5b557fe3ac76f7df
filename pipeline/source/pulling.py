"""The whole pull: the edition first, then everything that is checked, then the records."""

from collections import Counter, defaultdict
from collections.abc import Collection, Generator, Iterator, Mapping, Set
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.errors import Unavailable
from pipeline.letter import (
    CASES,
    CHIEF_EXECUTIVE,
    KINDS,
    MEASURES,
    NOUNS,
    OUTCOMES,
    ROLES,
    Authority,
    Averages,
    Edition,
    Officer,
    Record,
    addressee,
)
from pipeline.source import editions, tally, values
from pipeline.source.reading import Faults, raw, rows, streamed, translated
from pipeline.source.values import Wrong

_CHUNK = 250  # records that are read together with what belongs to them


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """One year's statistics, read in one transaction: it is valid while `pull` is open.

    `records` streams one record per authority that was active at any time in the period, in the
    order of the codes, `count` of them; `averages` are whole per cent by kind and measure.
    """

    edition: Edition
    averages: Averages
    records: Iterator[Record]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What reading takes: where from, over which connection, and where faults are noted."""

    db: Database
    connection: sa.Connection
    faults: Faults

    def rows(self, statement: sa.Select[Any], *tables: sa.Table) -> list[dict[str, Any]]:
        return rows(self.connection, self.db, statement, *tables)

    def streamed(self, statement: sa.Select[Any], *tables: sa.Table) -> Iterator[dict[str, Any]]:
        return streamed(self.connection, self.db, statement, *tables)


@contextmanager
def pull(db: Database, year: int, *, dated: date | None = None) -> Iterator[Pull]:
    """Read one year from the statistics database; with `dated` as for letters of that date.

    Raises Refused if it has no edition of that year, Misconfigured if its relations or values are
    not as they should be, Unavailable if it cannot be read. What the body raises is not touched.
    """
    if db.path is not None and not db.path.exists():
        raise Unavailable(
            f"There is no statistics database at {db}; "
            "load some statistics (letters import FOLDER or BOOK.xlsx) or set source.url."
        )
    raised: sa.exc.SQLAlchemyError | None = None
    with db.read() as connection:
        if not db.is_sqlite:
            # A time with an offset counts on its day in London, whatever the server's zone.
            with translated(db):
                connection.exec_driver_sql("SET LOCAL TIME ZONE 'Europe/London'")
        reading = _Reading(db=db, connection=connection, faults=Faults(db))
        edition = _edition(reading, year)
        if dated is not None:
            edition = replace(edition, letter_date=dated)
        # First all of it is looked at, and nothing kept: there may be many thousands of each.
        register = _checked_register(reading)
        officers, remarks = _officers(reading, edition.letter_date), _remarks(reading, year)
        strays = {
            schema.officers: {code for code, _ in officers if code not in register},
            schema.remarks: {code for code, _ in remarks if code not in register},
        }
        published = _published(reading, year)
        for table, codes in strays.items():
            _check_spelling(reading, table, "authority_code", codes, register)
        _check_cases(reading, edition, register)
        reading.faults.refuse()
        del register, strays
        with translated(db, schema.authorities, schema.decisions, schema.compliance):
            averages = tally.pooled(connection, edition)
            count = connection.scalar(
                sa.select(sa.func.count())
                .select_from(schema.authorities)
                .where(tally.active_in(edition))
            )
        for (kind, measure), percent in published.items():
            averages[kind][measure] = percent
        # closed by whoever stops half way, so that no cursor is left open
        with closing(_records(reading, edition)) as records:
            try:
                yield Pull(
                    edition=edition, averages=dict(averages), records=records, count=count or 0
                )
            except sa.exc.SQLAlchemyError as error:
                # Of another database, as the reading's own errors are sentences by now: taken
                # past db.read(), which would blame this one.
                raised = error
    if raised is not None:
        raise raised


def _edition(reading: _Reading, year: int) -> Edition:
    """The year's edition; its faults are raised here, because all else depends on its dates."""
    return editions.read(reading.connection, reading.db, reading.faults, year).in_full()


def _checked_register(reading: _Reading) -> set[str]:
    """The codes of all authorities, each of whose rows has been looked at."""
    table, faults = schema.authorities, reading.faults
    register: set[str] = set()
    successors: set[str] = set()
    times: Counter[str] = Counter()
    for row in reading.streamed(sa.select(*raw(*table.c)), table):
        authority = _authority(faults, row)
        if authority is None:
            continue
        code, since, until = authority.code, authority.active_from, authority.active_to
        if code in register:
            times[code] += 1
        register.add(code)
        if authority.successor_code:
            successors.add(authority.successor_code)
        if since is not None and until is not None and until < since:
            # It would exist on no day, or on the wrong ones, and nobody would miss its letter.
            wrong = Wrong(f"holds {until}", f", which is before active_from, {since}; correct one.")
            faults.add(table, "active_to", wrong, code)
    for code, more in times.items():
        problem = f"holds {values.shown(code)} in {more + 1} rows"
        fix = "; an authority has one row: let the view give each code once."
        faults.add(table, "code", Wrong(problem, fix))
    _check_spelling(reading, table, "successor_code", successors - register, register)
    return register


def _authority(faults: Faults, row: Mapping[str, Any]) -> Authority | None:
    """The authority in a row; None, with the fault noted, if it has no code."""
    table = schema.authorities
    named = f"the row named {values.shown(row['name'])}"
    code = faults.read(table, row, named, "code", values.code)
    if code is None:
        return None
    return Authority(
        code=code,
        # one without a name is its letter's fault
        name=faults.read(table, row, code, "name", values.text) or "",
        kind=faults.read(table, row, code, "kind", _kind) or "",
        noun=(faults.read(table, row, code, "noun", _noun) if row["noun"] else None) or NOUNS[0],
        active_from=faults.read(table, row, code, "active_from", values.day),
        active_to=faults.read(table, row, code, "active_to", values.day),
        successor_code=faults.read(table, row, code, "successor_code", values.exact) or None,
    )


_kind, _noun, _role = values.one_of(KINDS), values.one_of(NOUNS), values.one_of(ROLES)


def _successors(reading: _Reading) -> dict[str, Authority]:
    """The authorities that others are followed by, by code."""
    table = schema.authorities
    named = sa.select(table.c.successor_code).where(table.c.successor_code.is_not(None))
    chosen = sa.select(*raw(*table.c)).where(table.c.code.in_(named))
    found = (_authority(reading.faults, row) for row in reading.streamed(chosen, table))
    return {one.code: one for one in found if one is not None}


def _officers(
    reading: _Reading, day: date, codes: Collection[str] | None = None
) -> Iterator[tuple[str, Officer]]:
    """Who is in post on `day`, each with the code of an authority: one of `codes`, if given."""
    table, faults = schema.officers, reading.faults
    columns = [column for column in table.c if column.name != "id"]  # which no view has
    chosen = sa.select(*raw(*columns))
    if codes is not None:
        chosen = chosen.where(table.c.authority_code.in_(codes))
    for row in reading.streamed(chosen, table):
        whose = row["email"] or row["family_name"] or row["role"]
        key = f"{whose} of {row['authority_code']}"
        code = faults.read(table, row, str(whose), "authority_code", values.needed_exact)
        texts = {
            name: faults.read(table, row, key, name, values.text) or ""
            for name in ("honorific", "given_name", "family_name", "post", "email")
        }
        officer = Officer(role=faults.read(table, row, key, "role", _role) or "", **texts)
        since = faults.read(table, row, key, "active_from", values.day)
        until = faults.read(table, row, key, "active_to", values.day)
        in_force = (since is None or since <= day) and (until is None or until >= day)
        if code and in_force:
            yield code, officer


def _officers_of(reading: _Reading, day: date, codes: Collection[str]) -> dict[str, list[Officer]]:
    """Who is in post on `day`, by authority; chief executives first, then in a fixed order."""
    officers: dict[str, list[Officer]] = defaultdict(list)
    for code, officer in _officers(reading, day, codes):
        # A join in a view may give somebody twice over: that is still one person.
        if officer not in officers[code]:
            officers[code].append(officer)
    for found in officers.values():
        # sorted here, because databases do not agree on the order of names
        found.sort(
            key=lambda officer: (
                officer.role != CHIEF_EXECUTIVE,
                officer.role,
                officer.family_name,
                officer.given_name,
                officer.email,
            )
        )
    return officers


def _remarks(
    reading: _Reading, year: int, codes: Collection[str] | None = None
) -> Iterator[tuple[str, str]]:
    """The paragraphs in their order, each with the code of an authority: one of `codes`, if given.

    One without a text is none.
    """
    table, faults = schema.remarks, reading.faults
    chosen = (
        sa.select(*raw(table.c.authority_code, table.c.position, table.c.text))
        .where(table.c.year == year)
        .order_by(table.c.authority_code, table.c.position)
    )
    if codes is not None:
        chosen = chosen.where(table.c.authority_code.in_(codes))
    for row in reading.streamed(chosen, table):
        key = f"number {row['position']} of {row['authority_code']} in {year}"
        if text := faults.read(table, row, key, "text", values.text):
            code = faults.read(table, row, key, "authority_code", values.needed_exact)
            yield code or "", text


def _remarks_of(reading: _Reading, year: int, codes: Collection[str]) -> dict[str, list[str]]:
    """The paragraphs of each authority, in their order."""
    remarks: dict[str, list[str]] = defaultdict(list)
    for code, text in _remarks(reading, year, codes):
        remarks[code].append(text)
    return remarks


def _published(reading: _Reading, year: int) -> dict[tuple[str, str], int]:
    table, faults = schema.published_averages, reading.faults
    kinds, measures = values.one_of(KINDS), values.one_of(MEASURES)
    columns = raw(table.c.kind, table.c.measure, table.c.percent)
    published: dict[tuple[str, str], int] = {}
    for row in reading.rows(sa.select(*columns).where(table.c.year == year), table):
        key = f"{row['kind']}, {row['measure']}, {year}"
        kind = faults.read(table, row, key, "kind", kinds)
        measure = faults.read(table, row, key, "measure", measures)
        percent = faults.read(table, row, key, "percent", values.percent)
        if kind is None or measure is None or percent is None:
            continue
        if published.setdefault((kind, measure), percent) != percent:
            problem = f"holds {published[kind, measure]} and {percent}"
            faults.add(table, "percent", Wrong(problem, "; leave one row of the two."), key)
    return published


def _check_cases(reading: _Reading, edition: Edition, register: Set[str]) -> None:
    """Refuse what would be left out of the count in silence, in the cases of the period."""
    d, c = schema.decisions, schema.compliance
    decided = tally.within(d.c.decided_on, edition)
    recorded = tally.within(c.c.recorded_on, edition)
    for table, name, where, reader in (
        (d, "outcome", decided, values.one_of(OUTCOMES["decisions"])),
        (d, "remedied_early", decided, values.flag),
        (c, "outcome", recorded, values.one_of(OUTCOMES["compliance"])),
    ):
        for value in sorted(_distinct(reading, table, name, where), key=values.shown):
            reading.faults.read(table, {name: value}, "", name, reader)
    for table, where in ((d, decided), (c, recorded)):
        _check_references(reading, table, where)
        codes = _distinct(reading, table, "authority_code", where)
        strays = {code for code in codes if code not in register}
        _check_spelling(reading, table, "authority_code", strays, register)
    if reading.db.is_sqlite:  # where a column takes anything, and compares it as text
        iso = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
        for table, name in ((d, "decided_on"), (c, "recorded_on")):
            none = sa.func.substr(table.c[name], 1, 10, type_=sa.Text).bool_op("NOT GLOB")(iso)
            for value in sorted(_distinct(reading, table, name, none), key=values.shown):
                reading.faults.read(table, {name: value}, "", name, values.day)


def _check_references(reading: _Reading, table: sa.Table, where: sa.ColumnElement[bool]) -> None:
    """Refuse cases in several rows: each row would be counted.

    A join in a view makes such rows, and which of two that differ is right only the site knows.
    """
    reference = sa.cast(table.c.case_reference, sa.Text)
    # Spelt alike is the same to people; no reference at all tells no case from another.
    spelt = sa.func.lower(sa.func.replace(sa.func.coalesce(reference, ""), " ", ""))
    times = sa.func.count()
    several = (
        sa.select(sa.func.min(reference).label("reference"), times.label("times"))
        .where(where)
        .group_by(spelt)
        .having(sa.or_(times > 1, spelt == ""))
        .subquery()
    )
    first = (
        sa.select(several, sa.func.count().over().label("cases"))
        .order_by(several.c.reference)
        .limit(1)
    )
    for row in reading.rows(first, table):
        reference, more = row["reference"], row["cases"] - 1
        if reference is None or not reference.strip():
            wrong = Wrong("is empty", "; each case must have its reference.")
        else:
            wrong = Wrong(
                f"holds {values.shown(reference)} in {row['times']:,} rows"
                + (f", and {more:,} other{'s' if more > 1 else ''} in several" if more else ""),
                "; a case counts once: let the view give it one row.",
            )
        reading.faults.add(table, "case_reference", wrong)


def _distinct(
    reading: _Reading, table: sa.Table, name: str, where: sa.ColumnElement[bool]
) -> Iterator[Any]:
    found = reading.streamed(sa.select(*raw(table.c[name])).where(where).distinct(), table)
    return (row[name] for row in found)


def _check_spelling(
    reading: _Reading,
    table: sa.Table,
    name: str,
    strays: Collection[Any],
    register: Set[str],
) -> None:
    """Refuse codes that are not the register's and differ from one in case or spaces alone.

    What belongs to bodies that are not on the register at all is in no letter, and is let be.
    """
    texts = sorted(code for code in strays if isinstance(code, str))
    wanted = {values.alike(code) for code in texts}
    known = {like: code for code in register if wanted and (like := values.alike(code)) in wanted}
    for code in texts:
        if (meant := known.get(values.alike(code), code)) != code:
            fix = f", which is not in authorities.code; did you mean {values.shown(meant)}?"
            reading.faults.add(table, name, Wrong(f"holds {values.shown(code)}", fix))


def _records(reading: _Reading, edition: Edition) -> Generator[Record, None, None]:
    a, cases = schema.authorities, tally.tally(edition)
    chosen = (
        sa.select(*raw(*a.c), *(cases.c[name] for name in tally.COUNTED))
        .outerjoin(cases, cases.c.authority_code == a.c.code)
        .where(tally.active_in(edition))
        .order_by(a.c.code)
    )
    successors = _successors(reading)
    with (
        # A generator is not thrown what its consumer raises: only the reading is in here.
        translated(reading.db, a, schema.decisions, schema.compliance),
        reading.connection.execute(chosen, execution_options={"yield_per": _CHUNK}) as found,
    ):
        for rows_ in found.partitions():
            some = []
            for row in rows_:
                authority = _authority(reading.faults, row._asdict())
                assert authority is not None  # noqa: S101 - its row has been looked at
                to = addressee(authority, successors, edition.letter_date)
                some.append((authority, to, tally.counts(row)))
            officers = _officers_of(reading, edition.letter_date, {to.code for _, to, _ in some})
            remarks = _remarks_of(reading, edition.year, {one.code for one, _, _ in some})
            enclosed = _cases_of(reading, edition, {one.code for one, _, _ in some})
            for authority, to, counts in some:
                yield Record(
                    authority=authority,
                    addressee=to,
                    officers=officers.get(to.code, ()),
                    counts=counts,
                    remarks=remarks.get(authority.code, ()),
                    cases={kind: of.get(authority.code, []) for kind, of in enclosed.items()},
                )


def _cases_of(
    reading: _Reading, edition: Edition, codes: Collection[str]
) -> dict[str, dict[str, list[list[Any]]]]:
    """What is enclosed, by what it is and whose: the period's cases, as plain values."""
    found: dict[str, dict[str, list[list[Any]]]] = {}
    for kind in edition.enclosures:
        table = getattr(schema, kind)
        columns = [table.c[name] for name in CASES[kind]]
        day = table.c.decided_on if kind == "decisions" else table.c.recorded_on
        chosen = (
            sa.select(*raw(*columns))
            .where(table.c.authority_code.in_(codes), tally.within(day, edition))
            .order_by(table.c.authority_code, day, table.c.case_reference)
        )
        by_code = found.setdefault(kind, defaultdict(list))
        for row in reading.rows(chosen, table):
            by_code[row["authority_code"]].append([_plain(row[name], name) for name in CASES[kind]])
    return found


def _plain(value: Any, name: str) -> Any:
    """A value of a case as JSON holds it: days as ISO text, yes or no, and words.

    What is no day stays as it is: it keeps this one letter from being made, and no other.
    """
    if name == "remedied_early":
        return values.flag(value)
    if name.endswith("_on"):
        with suppress(Wrong):
            day = values.day(value)
            return day.isoformat() if day is not None else None
    return None if value is None else str(value)
