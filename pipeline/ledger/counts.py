"""How much of everything there is: numbers for whoever watches from afar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import NEEDS_A_PERSON, Mode, State
from pipeline.ledger.alerts import count_open
from pipeline.ledger.reports import FOR_A_PERSON, waiting_within
from pipeline.schema import Returned, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayCount:
    """A relay that letters have gone to or were to; `failures` in a row, 0 when it is well."""

    relay: str
    failures: int
    in_trouble_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCount:
    """A start of the schedule that is on record."""

    year: int
    step: Step
    mode: Mode
    done: bool
    missed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The ledger as it stands; what was cancelled with its run is not counted.

    `letters` by year and how they stand, `deliveries` by year, mode and state, every state that
    there could be. `pressing` is how much of each year needs a person, in live mode and in those in
    which something was sent. `doubts` is since when the oldest one lasts, by mode, and `newest`
    when the last thing happened that is on record. `returned` is mail that waits for a person, by
    kind, and `alerts` those that are open, by the kind of their cause and by mode.
    """

    letters: Mapping[tuple[int, str], int]
    deliveries: Mapping[tuple[int, Mode, State], int]
    paused: Mapping[int, bool]
    pressing: Mapping[tuple[int, Mode], int]
    doubts: Mapping[Mode, datetime]
    newest: datetime | None
    relays: Sequence[RelayCount]
    starts: Sequence[StartCount]
    returned: Mapping[Returned, int]
    alerts: Mapping[tuple[str, Mode], int]


def count(db: Database) -> Counts:
    """Count everything."""
    r, s, relays = schema.runs, schema.starts, schema.relays
    with db.read() as connection:
        live = connection.execute(
            sa.select(r.c.year, r.c.paused_at).where(r.c.cancelled_at.is_(None))
        ).all()
        letters = {
            (run.year, stands): 0
            for run in live
            for stands in ("unprepared", "fault", "prepared", "withheld")
        }
        letters |= _letters(connection)
        found = _deliveries(connection)
        deliveries = {
            (year, mode, state): found.get((year, mode, state), 0)
            for year, mode in sorted({(year, mode) for year, mode, _ in found})
            for state in State
        }
        return Counts(
            letters=letters,
            deliveries=deliveries,
            paused={run.year: run.paused_at is not None for run in live},
            pressing=_pressing(connection, letters, deliveries),
            doubts=_doubts(connection),
            newest=connection.scalar(
                sa.select(schema.events.c.at).order_by(schema.events.c.id.desc()).limit(1)
            ),
            relays=[
                RelayCount(
                    relay=row.relay,
                    failures=row.failures,
                    in_trouble_since=row.in_trouble_since,
                )
                for row in connection.execute(sa.select(relays).order_by(relays.c.relay))
            ],
            starts=[
                StartCount(
                    year=row.year,
                    step=Step(row.step),
                    mode=Mode(row.mode),
                    done=row.done_at is not None,
                    missed=row.missed_at is not None,
                )
                for row in connection.execute(sa.select(s).order_by(s.c.year, s.c.id))
            ],
            returned=dict.fromkeys(FOR_A_PERSON, 0) | waiting_within(connection),
            alerts=count_open(connection),
        )


def _letters(connection: sa.Connection) -> dict[tuple[int, str], int]:
    table, r = schema.letters, schema.runs
    stands = sa.case(
        (table.c.withheld_at.is_not(None), "withheld"),
        (table.c.pdf.is_not(None), "prepared"),
        (table.c.fault.is_not(None), "fault"),
        else_="unprepared",
    )
    rows = connection.execute(
        sa.select(r.c.year, stands, sa.func.count())
        .join_from(table, r, r.c.id == table.c.run_id)
        .where(r.c.cancelled_at.is_(None), table.c.superseded_at.is_(None))
        .group_by(r.c.year, stands)
    )
    return {(row[0], row[1]): row[2] for row in rows}


def _deliveries(connection: sa.Connection) -> dict[tuple[int, Mode, State], int]:
    table, r, d = schema.letters, schema.runs, schema.deliveries
    rows = connection.execute(
        sa.select(r.c.year, d.c.mode, d.c.state, sa.func.count())
        .join_from(d, table, table.c.id == d.c.letter_id)
        .join(r, r.c.id == table.c.run_id)
        .where(r.c.cancelled_at.is_(None))
        .group_by(r.c.year, d.c.mode, d.c.state)
    )
    return {(row[0], Mode(row[1]), State(row[2])): row[3] for row in rows}


def _pressing(
    connection: sa.Connection,
    letters: Mapping[tuple[int, str], int],
    deliveries: Mapping[tuple[int, Mode, State], int],
) -> dict[tuple[int, Mode], int]:
    """What somebody has to look at, as `story.summary` counts it, in one go for all modes."""
    table, r, m, d = schema.letters, schema.runs, schema.messages, schema.deliveries
    latest = sa.select(sa.func.max(m.c.id)).group_by(m.c.letter_id, m.c.mode)
    rows = connection.execute(
        sa.select(r.c.year, d.c.mode, sa.func.count())
        .join_from(d, table, table.c.id == d.c.letter_id)
        .join(r, r.c.id == table.c.run_id)
        .where(
            r.c.cancelled_at.is_(None),
            table.c.withheld_at.is_(None),
            table.c.superseded_at.is_(None),
            d.c.state.in_([state.value for state in NEEDS_A_PERSON]),
            d.c.message_id.in_(latest),
        )
        .group_by(r.c.year, d.c.mode)
    )
    failed = {(row[0], Mode(row[1])): row[2] for row in rows}
    years = {year for year, _ in letters}
    modes = {(year, Mode.LIVE) for year in years} | {(year, mode) for year, mode, _ in deliveries}
    return {
        (year, mode): failed.get((year, mode), 0) + letters.get((year, "fault"), 0)
        for year, mode in sorted(modes)
    }


def _doubts(connection: sa.Connection) -> dict[Mode, datetime]:
    d, a, table, r = schema.deliveries, schema.attempts, schema.letters, schema.runs
    since = sa.func.coalesce(a.c.ended_at, a.c.intent_at, a.c.claimed_at)
    rows = connection.execute(
        sa.select(d.c.mode, sa.type_coerce(sa.func.min(since), schema.Utc))
        .join_from(d, a, sa.and_(a.c.delivery_id == d.c.id, a.c.number == d.c.attempt))
        .join(table, table.c.id == d.c.letter_id)
        .join(r, r.c.id == table.c.run_id)
        .where(d.c.state == State.IN_DOUBT.value, r.c.cancelled_at.is_(None))
        .group_by(d.c.mode)
    )
    return {Mode(row[0]): row[1] for row in rows}
