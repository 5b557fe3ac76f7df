"""Counting, done by the database: once per authority and once per kind, over a period."""

from collections import defaultdict
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.figures import Counts
from pipeline.letter import MEASURES, PEER_KINDS, Edition

COUNTED = tuple(Counts.__dataclass_fields__)


def within(column: sa.ColumnElement[Any], edition: Edition) -> sa.ColumnElement[bool]:
    """Whether a date, or a date with a time, lies in the edition's period; both ends count."""
    # Half open, because ten o'clock on the last day is after the last day's midnight.
    return sa.and_(column >= edition.period_start, column < day_after(edition.period_end))


def day_after(day: date) -> date:
    """The next day."""
    return day + timedelta(days=1)


def active_in(edition: Edition) -> sa.ColumnElement[bool]:
    """Whether an authority existed at any time in the period."""
    table = schema.authorities
    return sa.and_(
        sa.or_(table.c.active_from.is_(None), table.c.active_from < day_after(edition.period_end)),
        sa.or_(table.c.active_to.is_(None), table.c.active_to >= edition.period_start),
    )


def tally(edition: Edition) -> sa.Subquery:
    """Counts per authority code: the two tables are summed apart, so that neither multiplies."""
    d, c = schema.decisions, schema.compliance

    def count(condition: sa.ColumnElement[bool], name: str) -> sa.Label[int]:
        return sa.func.sum(sa.case((condition, 1), else_=0)).label(name)

    def none(name: str) -> sa.Label[int]:
        return sa.literal(0, sa.Integer).label(name)

    decided = (
        sa.select(
            d.c.authority_code,
            count(d.c.outcome == "upheld", "upheld"),
            count(d.c.outcome == "not_upheld", "not_upheld"),
            # A view may hold 0 and 1 where the table holds booleans.
            count(
                sa.and_(d.c.outcome == "upheld", sa.cast(d.c.remedied_early, sa.Integer) == 1),
                "remedied_early",
            ),
            none("complied"),
            none("complied_late"),
            none("not_complied"),
        )
        .where(within(d.c.decided_on, edition))
        .group_by(d.c.authority_code)
    )
    recorded = (
        sa.select(
            c.c.authority_code,
            none("upheld"),
            none("not_upheld"),
            none("remedied_early"),
            count(c.c.outcome == "complied", "complied"),
            count(c.c.outcome == "complied_late", "complied_late"),
            count(c.c.outcome == "not_complied", "not_complied"),
        )
        .where(within(c.c.recorded_on, edition))
        .group_by(c.c.authority_code)
    )
    both = sa.union_all(decided, recorded).subquery()
    return (
        sa.select(both.c.authority_code, *_sums(both))
        .group_by(both.c.authority_code)
        .subquery("tally")
    )


def _sums(table: sa.FromClause) -> list[sa.Label[int]]:
    return [
        sa.cast(sa.func.coalesce(sa.func.sum(table.c[name]), 0), sa.Integer).label(name)
        for name in COUNTED
    ]


def counts(row: Any) -> Counts:
    """The counts in a row of a tally; an authority without any cases has none."""
    return Counts(**{name: int(getattr(row, name) or 0) for name in COUNTED})


def pooled(connection: sa.Connection, edition: Edition) -> dict[str, dict[str, int | None]]:
    """The averages by kind and measure, over all authorities of a kind together."""
    cases, a = tally(edition), schema.authorities
    rows = connection.execute(
        sa.select(a.c.kind, *_sums(cases))
        .join(cases, cases.c.authority_code == a.c.code)
        .where(active_in(edition), a.c.kind.in_(PEER_KINDS))
        .group_by(a.c.kind)
    )
    averages: dict[str, dict[str, int | None]] = defaultdict(lambda: dict.fromkeys(MEASURES))
    for row in rows:
        found = counts(row)
        averages[row.kind] = {
            "upheld": found.uphold.percent,
            "compliance": found.compliance.percent,
            "remedy": found.remedy.percent,
        }
    return averages
