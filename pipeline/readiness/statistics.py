"""What may be wrong with a year's statistics, asked of the database in whole sets.

Everything here is asked after a pull of the same year went through, so the rows of the period are
known to hold dates, codes and words that can be read.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.address import ascii_address
from pipeline.database import Database
from pipeline.errors import LetterFault, Misconfigured
from pipeline.letter import CHIEF_EXECUTIVE, MEASURES, Edition, long_date
from pipeline.readiness.found import Check, Finding, Kind, Totals
from pipeline.readiness.letters import Whole
from pipeline.readiness.words import counted, listed
from pipeline.source import tally, values
from pipeline.source.reading import raw, translated

_WEEK = timedelta(days=7)
_DAY = timedelta(days=1)
_ONE = {"decisions": "decision", "compliance": "compliance outcome"}
_YEAR_BEFORE_IS_THERE = 10  # a tenth of this year's cases

_a, _o, _d, _c, _r, _p = (
    schema.authorities,
    schema.officers,
    schema.decisions,
    schema.compliance,
    schema.remarks,
    schema.published_averages,
)


class Statistics:
    """The statistics as they are at this moment, over one connection."""

    def __init__(self, db: Database, connection: sa.Connection, edition: Edition) -> None:
        self._db, self._connection, self._edition = db, connection, edition
        if not db.is_sqlite:
            with translated(db):
                connection.exec_driver_sql("SET LOCAL TIME ZONE 'Europe/London'")

    def look(self, today: date) -> Iterator[Finding]:
        """Everything that is found here, by itself."""
        for part in (
            self._nowhere,
            self._addresses,
            self._leaving,
            self._cases,
            lambda: self._to_come(today),
            self._register,
            self._no_letter,
        ):
            yield from self._apart(part)

    def _apart(self, part: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
        """What a part finds; one that cannot be asked, as no run asks it, spoils no other."""
        try:
            with self._connection.begin_nested():
                found = list(part())
        except Misconfigured as fault:
            yield Finding(
                kind=Kind.ADVISORY,
                check=Check.STATISTICS,
                found=f"Something could not be looked at. {fault}",
                fix="Correct the view if it is to be looked at; no letter needs it.",
            )
        else:
            yield from found

    def published(self) -> frozenset[tuple[str, str]]:
        """The kinds and measures of which the year has a published average."""
        chosen = sa.select(*raw(_p.c.kind, _p.c.measure)).where(_p.c.year == self._edition.year)
        return frozenset((row.kind, row.measure) for row in self._rows(chosen, _p))

    def codes(self) -> Iterator[tuple[str, str, bool]]:
        """Each authority's code and name, and whether it was active in the period."""
        active = sa.case((tally.active_in(self._edition), 1), else_=0).label("active")
        for row in self._rows(sa.select(*raw(_a.c.code, _a.c.name), active), _a):
            yield row.code, row.name or row.code, bool(row.active)

    def totals(self, *, with_letter: bool) -> Totals:
        """The period's cases, counted apart from the letters: all, or those some letter counts."""

        def of(table: sa.Table, day: sa.Column[Any]) -> sa.ColumnElement[bool]:
            within = tally.within(day, self._edition)
            return sa.and_(within, self._has_letter(table)) if with_letter else within

        early = sa.func.sum(sa.cast(_d.c.remedied_early, sa.Integer)).label("early")
        number = sa.func.count().label("number")
        decided = {
            row.outcome: row
            for row in self._rows(
                sa.select(_d.c.outcome, number, early)
                .where(of(_d, _d.c.decided_on))
                .group_by(_d.c.outcome),
                _d,
            )
        }
        recorded = {
            row.outcome: int(row.number)
            for row in self._rows(
                sa.select(_c.c.outcome, number)
                .where(of(_c, _c.c.recorded_on))
                .group_by(_c.c.outcome),
                _c,
            )
        }
        upheld = decided.get("upheld")
        counts = {name: int(row.number) for name, row in decided.items()}
        return Totals(
            investigated=counts.get("upheld", 0) + counts.get("not_upheld", 0),
            upheld=counts.get("upheld", 0),
            remedied_early=int(upheld.early or 0) if upheld is not None else 0,
            compliance_due=sum(recorded.values()),
            complied=recorded.get("complied", 0) + recorded.get("complied_late", 0),
        )

    def year_before(self) -> dict[str, dict[str, Whole]]:
        """The figures of the period a year earlier, by code and measure.

        Nothing where the statistics hold less than a tenth of this year's cases of it: then that
        year is not there, and every count would seem to have jumped. Nothing either where what they
        hold of it cannot be counted, as nobody looks at that year any more.
        """
        try:
            with self._connection.begin_nested():
                return self._year_before()
        except Misconfigured:
            return {}

    def _year_before(self) -> dict[str, dict[str, Whole]]:
        earlier = replace(
            self._edition,
            period_start=_a_year_before(self._edition.period_start),
            period_end=self._edition.period_start - timedelta(days=1),
        )
        now, then = (self._number_of_cases(one) for one in (self._edition, earlier))
        if not then or then * _YEAR_BEFORE_IS_THERE < now:
            return {}
        cases = tally.tally(earlier)
        found: dict[str, dict[str, Whole]] = {}
        for row in self._rows(sa.select(cases), _d, _c):
            counts = tally.counts(row)
            try:
                rates = (counts.uphold, counts.compliance, counts.remedy)
            except LetterFault:  # of last year, and not to be mended now
                continue
            found[row.authority_code] = {
                measure: (rate.part, rate.whole)
                for measure, rate in zip(MEASURES, rates, strict=True)
            }
        return found

    def ended(self) -> dict[tuple[str, str], date]:
        """The last day of those who held a copied role and are followed by nobody."""
        day, other = self._edition.letter_date, _o.alias("other")
        here = sa.and_(
            other.c.authority_code == _o.c.authority_code,
            other.c.role == _o.c.role,
            sa.or_(other.c.active_to.is_(None), other.c.active_to >= day),
        )
        found = self._rows(
            sa.select(
                *raw(_o.c.authority_code, _o.c.role),
                sa.type_coerce(sa.func.max(_o.c.active_to), sa.types.NullType()).label("last"),
            )
            .where(
                _o.c.role.in_(self._edition.copied_roles),
                _o.c.active_to < day,
                ~sa.exists().where(here),
            )
            .group_by(_o.c.authority_code, _o.c.role),
            _o,
        )
        days: dict[tuple[str, str], date] = {}
        for row in found:
            try:
                last = values.day(row.last)
            except values.Wrong:  # a pull says so, and this may be asked before one
                continue
            if last is not None:
                days[row.authority_code, row.role] = last
        return days

    def _number_of_cases(self, edition: Edition) -> int:
        total = 0
        for table, day in ((_d, _d.c.decided_on), (_c, _c.c.recorded_on)):
            within = sa.select(sa.func.count().label("number")).where(tally.within(day, edition))
            [row] = self._rows(within.select_from(table), table)
            total += int(row.number)
        return total

    def _nowhere(self) -> Iterator[Finding]:
        """What belongs to a code that gets no letter, so that it is counted or said nowhere."""
        edition = self._edition
        in_period = f"between {long_date(edition.period_start)} and {long_date(edition.period_end)}"
        for table, where, one, when in (
            (_d, tally.within(_d.c.decided_on, edition), _ONE[_d.name], f" {in_period}"),
            (_c, tally.within(_c.c.recorded_on, edition), _ONE[_c.name], f" {in_period}"),
            (_r, _r.c.year == edition.year, "remark", f" in {edition.year}"),
        ):
            for row in self._strays(table, sa.and_(where, ~self._has_letter(table))):
                who = "is not on the register" if row.name is None else "has no letter in this year"
                counts = "it is" if row.number == 1 else "they are"
                what = "printed" if table is _r else "counted"
                yield Finding(
                    kind=Kind.BLOCKING,
                    check=Check.NOWHERE,
                    found=f"{counted(row.number, one)}{when} of {row.authority_code}, which {who}:"
                    f" {counts} {what} in nobody's letter.",
                    fix=f"Correct {table.name}.authority_code, or add the authority to the"
                    " register."
                    if row.name is None
                    else f"Correct {table.name}.authority_code, or active_from and active_to in"
                    " authorities.",
                    code=row.authority_code,
                    name=row.name,
                )
        for row in self._strays(_o, ~sa.exists().where(_a.c.code == _o.c.authority_code)):
            yield Finding(
                kind=Kind.ADVISORY,
                check=Check.REGISTER,
                found=f"{counted(row.number, 'officer')} of {row.authority_code}, which is not on"
                " the register.",
                fix="Correct officers.authority_code, or add the authority to the register.",
                code=row.authority_code,
            )

    def _strays(self, table: sa.Table, where: sa.ColumnElement[bool]) -> Iterator[Any]:
        code = table.c.authority_code
        name = sa.select(sa.func.max(_a.c.name)).where(_a.c.code == code).scalar_subquery()
        return self._rows(
            sa.select(*raw(code), sa.func.count().label("number"), name.label("name"))
            .where(where)
            .group_by(code)
            .order_by(code),
            table,
            _a,
        )

    def _has_letter(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return sa.exists().where(
            _a.c.code == table.c.authority_code, tally.active_in(self._edition)
        )

    def _addresses(self) -> Iterator[Finding]:
        """Addresses of officers who are not written to this year; of others, the letter's fault."""
        edition = self._edition
        written_to = (CHIEF_EXECUTIVE, *edition.copied_roles)
        held = sa.and_(_in_force(edition.letter_date), _o.c.email.is_not(None))
        chosen = (
            sa.select(*raw(_o.c.authority_code, _o.c.role, _o.c.email), *raw(_a.c.name))
            .join(_a, _a.c.code == _o.c.authority_code)
            .where(held, _o.c.role.not_in(written_to))
            .order_by(_o.c.authority_code)
        )
        for row in self._rows(chosen, _o, _a):
            address = values.text(row.email)
            if not address:
                continue
            try:
                ascii_address(address)
            except LetterFault as fault:
                role = row.role.replace("_", " ")
                yield Finding(
                    kind=Kind.ADVISORY,
                    check=Check.ADDRESS,
                    found=f"{fault} It is that of its {role}, who is not written to this year.",
                    fix="Correct officers.email before somebody writes to it.",
                    code=row.authority_code,
                    name=row.name,
                )

    def _leaving(self) -> Iterator[Finding]:
        """Chief executives whose last day is the letter's date or within a week of it."""
        day, other = self._edition.letter_date, _o.alias("other")
        stays = sa.exists().where(
            other.c.authority_code == _o.c.authority_code,
            other.c.role == CHIEF_EXECUTIVE,
            sa.or_(other.c.active_from.is_(None), other.c.active_from < tally.day_after(day)),
            sa.or_(other.c.active_to.is_(None), other.c.active_to >= day + _WEEK + _DAY),
        )
        chosen = (
            sa.select(*raw(_a.c.code, _a.c.name, _o.c.given_name, _o.c.family_name, _o.c.active_to))
            .join(_a, _a.c.code == _o.c.authority_code)
            .where(
                _o.c.role == CHIEF_EXECUTIVE,
                _in_force(day),
                _o.c.active_to < day + _WEEK + _DAY,
                ~stays,
            )
            .order_by(_a.c.code)
        )
        for row in self._rows(chosen, _o, _a):
            last = values.day(row.active_to)
            name = " ".join(filter(None, (row.given_name, row.family_name))) or "The vacant post"
            if last is not None:
                yield Finding(
                    kind=Kind.ADVISORY,
                    check=Check.LEAVING,
                    found=f"{name} is its chief executive until {long_date(last)} only.",
                    fix="Look whether the letter should go to whoever follows; correct officers if"
                    " so.",
                    code=row.code,
                    name=row.name,
                )

    def _cases(self) -> Iterator[Finding]:
        edition = self._edition
        decided = tally.within(_d.c.decided_on, edition)
        backwards = (
            sa.select(
                *raw(_d.c.authority_code),
                sa.func.count().label("number"),
                sa.func.min(_d.c.case_reference).label("first"),
                sa.select(sa.func.max(_a.c.name))
                .where(_a.c.code == _d.c.authority_code)
                .scalar_subquery()
                .label("name"),
            )
            .where(decided, _d.c.received_on > _d.c.decided_on)
            .group_by(_d.c.authority_code)
            .order_by(_d.c.authority_code)
        )
        for row in self._rows(backwards, _d, _a):
            yield Finding(
                kind=Kind.ADVISORY,
                check=Check.CASE,
                found=f"{counted(row.number, 'case')} decided before"
                f" {'it was' if row.number == 1 else 'they were'} received"
                f" ({row.first}{'' if row.number == 1 else ' the first'}).",
                fix="Correct received_on or decided_on in decisions: the wrong one may also put a"
                " case into the wrong year.",
                code=row.authority_code,
                name=row.name,
            )
        for table, day in ((_d, _d.c.decided_on), (_c, _c.c.recorded_on)):
            yield from self._again(table, tally.within(day, edition))
            yield from self._outside(table, day)

    def _again(self, table: sa.Table, within: sa.ColumnElement[bool]) -> Iterator[Finding]:
        """Cases of the period that are on record a second time, outside it."""
        reference = sa.cast(table.c.case_reference, sa.Text)
        spelt = sa.func.lower(sa.func.replace(reference, " ", ""))
        chosen = (
            sa.select(
                sa.func.min(reference).label("one"),
                sa.func.max(reference).label("other"),
                sa.func.count().label("number"),
            )
            .group_by(spelt)
            .having(sa.func.count() > 1, sa.func.sum(sa.case((within, 1), else_=0)) > 0)
            .order_by(sa.func.min(reference))
        )
        for row in self._rows(chosen, table):
            spellings = f" and {row.other}" if row.other != row.one else ""
            yield Finding(
                kind=Kind.ADVISORY,
                check=Check.CASE,
                found=f"{table.name} has the case {row.one}{spellings} in {row.number:,} rows, only"
                " one of them within the period.",
                fix="Look which date is right, and leave one row: a case counts in one year.",
            )

    def _outside(self, table: sa.Table, day: sa.Column[Any]) -> Iterator[Finding]:
        first, last = self._edition.period_start, self._edition.period_end
        after = tally.day_after(last)
        chosen = sa.select(
            sa.func.sum(sa.case((day < first, 1), else_=0)).label("before"),
            sa.func.sum(sa.case((day >= after, 1), else_=0)).label("after"),
        ).where(day >= first - _WEEK, day < after + _WEEK)
        [row] = self._rows(chosen, table)
        before, since = int(row.before or 0), int(row.after or 0)
        said = [
            f"{counted(number, _ONE[table.name])} {where}"
            for number, where in (
                (before, f"before {long_date(first)}"),
                (since, f"after {long_date(last)}"),
            )
            if number
        ]
        if said:
            yield Finding(
                kind=Kind.ADVISORY,
                check=Check.OUTSIDE,
                found=f"Within a week of the period, and not counted: {listed(said)}.",
                fix="Nothing, if these are their dates; look at them if the year seems short.",
            )

    def _to_come(self, today: date) -> Iterator[Finding]:
        """Cases dated in the future: with the right date they may be this year's."""
        for table, day in ((_d, _d.c.decided_on), (_c, _c.c.recorded_on)):
            chosen = sa.select(
                sa.func.count().label("number"),
                sa.func.min(sa.cast(table.c.case_reference, sa.Text)).label("first"),
            ).where(day >= tally.day_after(today))
            [row] = self._rows(chosen, table)
            if row.number:
                yield Finding(
                    kind=Kind.ADVISORY,
                    check=Check.OUTSIDE,
                    found=f"{counted(row.number, _ONE[table.name])} dated after today"
                    f" ({row.first}{'' if row.number == 1 else ' the first'}).",
                    fix=f"Correct {day.name} in {table.name}: with the right date it may count in"
                    " this year.",
                )

    def _register(self) -> Iterator[Finding]:
        other = _a.alias("other")
        broken = (
            sa.select(*raw(_a.c.code, _a.c.name, _a.c.successor_code))
            .where(
                _a.c.successor_code.is_not(None),
                _a.c.successor_code != "",
                ~sa.exists().where(other.c.code == _a.c.successor_code),
            )
            .order_by(_a.c.code)
        )
        for row in self._rows(broken, _a):
            yield Finding(
                kind=Kind.ADVISORY,
                check=Check.REGISTER,
                found=f"Its successor, {row.successor_code}, is not on the register.",
                fix="Correct successor_code, or add the successor to authorities.",
                code=row.code,
                name=row.name,
            )
        plain: tuple[tuple[str, Callable[[], sa.ColumnElement[Any]]], ...] = (
            ("name", lambda: sa.func.lower(sa.func.trim(_a.c.name))),
            ("code", lambda: sa.func.lower(_a.c.code)),
        )
        for what, alike in plain:
            several = (
                sa.select(alike().label("alike"))
                .where(tally.active_in(self._edition))
                .group_by(alike())
                .having(sa.func.count() > 1)
            )
            twice: dict[str, list[Any]] = {}
            chosen: sa.Select[Any] = (
                sa.select(*raw(_a.c.code, _a.c.name), alike().label("alike"))
                .where(tally.active_in(self._edition), alike().in_(several))
                .order_by(_a.c.code)
            )
            for row in self._rows(chosen, _a):
                twice.setdefault(row.alike, []).append(row)
            for same in twice.values():
                yield Finding(
                    kind=Kind.ADVISORY,
                    check=Check.REGISTER,
                    found=f"{listed([one.code for one in same])} have the same {what}"
                    f" ({same[0].name}), and each gets a letter.",
                    fix="If it is one authority, leave one row, or end the other with active_to.",
                    code=same[0].code,
                    name=same[0].name,
                )

    def _no_letter(self) -> Iterator[Finding]:
        edition = self._edition
        chosen = (
            sa.select(*raw(_a.c.code, _a.c.name, _a.c.active_from, _a.c.active_to))
            .where(~tally.active_in(edition))
            .order_by(_a.c.code)
        )
        for row in self._rows(chosen, _a):
            since, until = values.day(row.active_from), values.day(row.active_to)
            if since is not None and since > edition.period_end:
                when = f"it exists from {long_date(since)}, after the period"
            else:
                when = f"it existed until {long_date(until or edition.period_start)}, before it"
            yield Finding(
                kind=Kind.ADVISORY,
                check=Check.NO_LETTER,
                found=f"It gets no letter: {when}.",
                fix="Nothing, if these are its dates; else correct authorities.",
                code=row.code,
                name=row.name,
            )

    def _rows(self, statement: sa.Executable, *tables: sa.Table) -> Iterator[Any]:
        with (
            translated(self._db, *tables),
            self._connection.execute(statement, execution_options={"yield_per": 1000}) as found,
        ):
            yield from found


def _in_force(day: date) -> sa.ColumnElement[bool]:
    return sa.and_(
        # a view may have times: from ten o'clock of the day on is on the day
        sa.or_(_o.c.active_from.is_(None), _o.c.active_from < tally.day_after(day)),
        sa.or_(_o.c.active_to.is_(None), _o.c.active_to >= day),
    )


def _a_year_before(day: date) -> date:
    try:
        return day.replace(year=day.year - 1)
    except ValueError:  # 29 February
        return day.replace(year=day.year - 1, day=28)
