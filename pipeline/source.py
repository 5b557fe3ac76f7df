"""The statistics database, read only: one consistent pull of one year.

The relations are named in `pipeline.schema.STATISTICS`; they may be tables or views. Counting is
done by the database, once per authority and once per kind, over the edition's period.
"""

import json
import zoneinfo
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.errors import Misconfigured, Refused, Unavailable
from pipeline.figures import Counts
from pipeline.letter import (
    CHIEF_EXECUTIVE,
    MEASURES,
    PEER_KINDS,
    Authority,
    Averages,
    Edition,
    Officer,
    Record,
    addressee,
)

LONDON = zoneinfo.ZoneInfo("Europe/London")


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


@contextmanager
def pull(db: Database, year: int) -> Iterator[Pull]:
    """Read one year from the statistics database.

    Raises Refused if it has no edition of that year, Misconfigured if its relations are not as
    they should be, Unavailable if it cannot be read.
    """
    if db.path is not None and not db.path.exists():
        raise Unavailable(
            f"There is no statistics database at {db}; "
            "load some statistics (letters import FOLDER) or set source.url."
        )
    try:
        with db.read() as connection:
            edition = _edition(connection, year)
            register = _register(connection)
            averages = _averages(connection, edition)
            count = connection.scalar(
                sa.select(sa.func.count())
                .select_from(schema.authorities)
                .where(_active_in(edition))
            )
            # closed by whoever stops half way, so that no cursor is left open
            with closing(_records(connection, edition, register)) as records:
                yield Pull(edition=edition, averages=averages, records=records, count=count or 0)
    except (sa.exc.ProgrammingError, sa.exc.OperationalError) as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise Misconfigured(
            f"The statistics database {db} does not offer what is needed: {reason}. "
            f"It needs tables or views named {', '.join(t.name for t in schema.STATISTICS)}."
        ) from error


def years(db: Database) -> list[int]:
    """The years that the statistics database has an edition of."""
    with db.read() as connection:
        return list(connection.scalars(sa.select(schema.editions.c.year).order_by("year")))


def _edition(connection: sa.Connection, year: int) -> Edition:
    table = schema.editions
    row = connection.execute(sa.select(table).where(table.c.year == year)).one_or_none()
    if row is None:
        known = connection.scalars(sa.select(table.c.year).order_by(table.c.year)).all()
        there_are = f"there is {', '.join(map(str, known))}" if known else "there is none at all"
        raise Refused(
            f"The statistics database has no edition of {year} ({there_are}); "
            "add one to its editions: letters import FOLDER"
        )
    if row.period_start > row.period_end:
        raise Refused(
            f"Edition {year} ends ({row.period_end}) before it starts ({row.period_start}); "
            "correct period_start or period_end in editions."
        )
    return Edition(
        year=row.year,
        letter_date=row.letter_date,
        published_on=row.published_on,
        period_start=row.period_start,
        period_end=row.period_end,
        signatory=row.signatory,
        signatory_posts=_listed(row.signatory_posts, year, "signatory_posts"),
        facts=_facts(row.facts, year),
        copied_roles=(
            ["link_officer"]
            if row.copied_roles is None
            else _listed(row.copied_roles, year, "copied_roles")
        ),
        prepare_on=row.prepare_on or row.letter_date - timedelta(days=7),
        dispatch_at=row.dispatch_at
        or datetime.combine(row.letter_date, time(9), tzinfo=LONDON).astimezone(UTC),
    )


def _decoded(value: Any) -> Any:
    """JSON from a column that the database itself knows only as text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _listed(value: Any, year: int, column: str) -> list[str]:
    value = _decoded(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    raise Refused(f'Edition {year}: {column} must be a JSON list of texts, like ["one", "two"].')


def _facts(value: Any, year: int) -> dict[str, int | str]:
    value = _decoded(value)
    if value is None:
        return {}
    if isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(fact, int | str) and not isinstance(fact, bool)
        for name, fact in value.items()
    ):
        return value
    raise Refused(
        f'Edition {year}: facts must be a JSON object of whole numbers and texts, like {{"a": 1}}.'
    )


def _register(connection: sa.Connection) -> dict[str, Authority]:
    table = schema.authorities
    return {
        row.code: Authority(
            code=row.code,
            name=row.name or "",
            kind=row.kind,
            noun=row.noun or "Council",
            active_from=row.active_from,
            active_to=row.active_to,
            successor_code=row.successor_code,
        )
        for row in connection.execute(sa.select(table))
    }


def _active_in(edition: Edition) -> sa.ColumnElement[bool]:
    table = schema.authorities
    return sa.and_(
        sa.or_(table.c.active_from.is_(None), table.c.active_from <= edition.period_end),
        sa.or_(table.c.active_to.is_(None), table.c.active_to >= edition.period_start),
    )


def _tally(edition: Edition) -> sa.Subquery:
    """Counts per authority code: the two tables are summed apart, so that neither multiplies."""
    d, c = schema.decisions, schema.compliance

    def count(condition: sa.ColumnElement[bool], name: str) -> sa.Label[int]:
        return sa.func.sum(sa.case((condition, 1), else_=0)).label(name)

    def none(name: str) -> sa.Label[int]:
        return sa.literal(0, sa.Integer).label(name)

    period = (edition.period_start, edition.period_end)
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
        .where(d.c.decided_on.between(*period))
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
        .where(c.c.recorded_on.between(*period))
        .group_by(c.c.authority_code)
    )
    both = sa.union_all(decided, recorded).subquery()
    return (
        sa.select(both.c.authority_code, *_sums(both))
        .group_by(both.c.authority_code)
        .subquery("tally")
    )


_COUNTED = tuple(Counts.__dataclass_fields__)


def _sums(table: sa.FromClause) -> list[sa.Label[int]]:
    return [
        sa.cast(sa.func.coalesce(sa.func.sum(table.c[name]), 0), sa.Integer).label(name)
        for name in _COUNTED
    ]


def _counts(row: Any) -> Counts:
    return Counts(**{name: int(getattr(row, name) or 0) for name in _COUNTED})


def _averages(connection: sa.Connection, edition: Edition) -> Averages:
    """Pooled over the authorities of a kind; what the edition publishes wins."""
    tally, a = _tally(edition), schema.authorities
    rows = connection.execute(
        sa.select(a.c.kind, *_sums(tally))
        .join(tally, tally.c.authority_code == a.c.code)
        .where(_active_in(edition), a.c.kind.in_(PEER_KINDS))
        .group_by(a.c.kind)
    )
    averages: dict[str, dict[str, int | None]] = defaultdict(lambda: dict.fromkeys(MEASURES))
    for row in rows:
        counts = _counts(row)
        averages[row.kind] = {
            "upheld": counts.uphold.percent,
            "compliance": counts.compliance.percent,
            "remedy": counts.remedy.percent,
        }
    published = schema.published_averages
    for row in connection.execute(sa.select(published).where(published.c.year == edition.year)):
        averages[row.kind][row.measure] = row.percent
    return dict(averages)


def _records(
    connection: sa.Connection, edition: Edition, register: dict[str, Authority]
) -> Generator[Record, None, None]:
    a, tally, r = schema.authorities, _tally(edition), schema.remarks
    remarks: dict[str, list[str]] = defaultdict(list)
    for row in connection.execute(
        sa.select(r.c.authority_code, r.c.text)
        .where(r.c.year == edition.year)
        .order_by(r.c.authority_code, r.c.position)
    ):
        remarks[row.authority_code].append(row.text)
    officers = _officers(connection, edition.letter_date)
    chosen = (
        sa.select(a.c.code, *(tally.c[name] for name in _COUNTED))
        .outerjoin(tally, tally.c.authority_code == a.c.code)
        .where(_active_in(edition))
        .order_by(a.c.code)
    )
    with connection.execute(chosen, execution_options={"yield_per": 1000}) as rows:
        for row in rows:
            authority = register[row.code]
            to = addressee(authority, register, edition.letter_date)
            yield Record(
                authority=authority,
                addressee=to,
                officers=officers.get(to.code, ()),
                counts=_counts(row),
                remarks=remarks.get(authority.code, ()),
            )


def _officers(connection: sa.Connection, day: date) -> dict[str, list[Officer]]:
    """Who is in post on `day`, by authority; chief executives first, then in a fixed order."""
    o = schema.officers
    rows = connection.execute(
        sa.select(
            o.c.authority_code,
            o.c.role,
            o.c.honorific,
            o.c.given_name,
            o.c.family_name,
            o.c.post,
            o.c.email,
        ).where(
            sa.or_(o.c.active_from.is_(None), o.c.active_from <= day),
            sa.or_(o.c.active_to.is_(None), o.c.active_to >= day),
        )
    )
    officers: dict[str, list[Officer]] = defaultdict(list)
    for row in rows:
        officers[row.authority_code].append(
            Officer(
                role=row.role,
                honorific=row.honorific or "",
                given_name=row.given_name or "",
                family_name=row.family_name or "",
                post=row.post or "",
                email=row.email or "",
            )
        )
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
    return dict(officers)
