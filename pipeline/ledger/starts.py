"""Starts: what the schedule has begun, finished or missed, one row for each year, step and mode.

Several servers may look at one ledger. A start belongs to whoever took it, under a lease that is
renewed while the work goes on; it is taken over from a process that is certainly gone, or whose
lease is over. That keeps two from doing the same work side by side; that nothing is sent twice
does not lean on it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import Mode, State
from pipeline.ledger import events, runs, story
from pipeline.ledger.runs import Run
from pipeline.ledger.story import Summary
from pipeline.schema import Event, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start as it is on record; `due_at` is when it was due as whoever wrote it saw it.

    `lease_until` is until when somebody is at it, None if nobody is.
    """

    year: int
    step: Step
    due_at: datetime
    begun_at: datetime | None
    done_at: datetime | None
    missed_at: datetime | None
    lease_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A start that `owner` holds.

    `first`: nobody has begun it before. `new`: nothing about it was on record before.
    """

    id: int
    year: int
    step: Step
    mode: Mode
    owner: str
    first: bool
    new: bool


def on_record(db: Database, mode: Mode) -> Mapping[tuple[int, Step], Start]:
    """Every start on record in this mode, by year and step."""
    s = schema.starts
    with db.read() as connection:
        rows = connection.execute(_columns().where(s.c.mode == mode.value)).all()
    return {(one.year, one.step): one for one in map(_start, rows)}


def missed(db: Database, year: int, mode: Mode) -> list[Start]:
    """The starts of a year that were missed and that nobody has made up for since.

    A start is made up for once its step is finished: all letters made, or all that are made sent.
    """
    s = schema.starts
    with db.read() as connection:
        rows = connection.execute(
            _columns()
            .where(s.c.year == year, s.c.mode == mode.value, s.c.missed_at.is_not(None))
            .order_by(s.c.due_at)
        ).all()
    found = [_start(row) for row in rows]
    run = runs.find_run(db, year) if found else None
    return [one for one in found if run is None or not is_finished(db, run, one.step, mode)]


def is_finished(db: Database, run: Run, step: Step, mode: Mode) -> bool:
    """Whether there is nothing left to do of this step, whoever did it.

    A letter that cannot be made, or is in doubt, is left to a person and not to the schedule.
    Sending is finished when something was sent in this mode and nothing is left to be.
    """
    summary = story.summary(db, run, mode)
    if step is Step.PREPARE:
        return not summary.letters["unprepared"]
    if unsettled(summary, mode) or not sum(summary.deliveries.values()):
        return False
    return not summary.unplanned


def unsettled(summary: Summary, mode: Mode) -> int:
    """How many letters are to be made and deliveries to be settled by a run, not by a person.

    What is in doubt waits for a person; but captured mail is its own evidence, and a run looks.
    """
    doubts = summary.deliveries[State.IN_DOUBT.value] if mode is Mode.CAPTURE else 0
    return summary.unfinished + doubts


def given_up(db: Database, year: int) -> bool:
    """Whether a person has cancelled the year's run and nobody has opened the year again."""
    r = schema.runs
    with db.read() as connection:
        newest = connection.execute(
            sa.select(r.c.cancelled_at).where(r.c.year == year).order_by(r.c.id.desc()).limit(1)
        ).one_or_none()
        live = connection.scalar(
            sa.select(r.c.id).where(r.c.year == year, r.c.cancelled_at.is_(None))
        )
    return newest is not None and live is None


def awaits_word(db: Database, run: Run, mode: Mode) -> bool:
    """Whether nobody has said yet that the run may go, which was opened after one was given up.

    Who gave up an earlier run of the year stopped the schedule. A person's approval of this run
    sets it going again, or what a person has begun to send of it in this mode.
    """
    r, e, a = schema.runs, schema.events, schema.approvals
    m, table = schema.messages, schema.letters
    with db.read() as connection:
        if not connection.scalar(
            sa.select(
                sa.exists().where(
                    r.c.year == run.year,
                    r.c.id < run.id,
                    e.c.run_id == r.c.id,
                    e.c.kind == Event.RUN_CANCELLED.value,
                )
            )
        ):
            return False
        said = sa.or_(
            sa.exists().where(a.c.run_id == run.id),
            sa.exists().where(
                table.c.run_id == run.id, m.c.letter_id == table.c.id, m.c.mode == mode.value
            ),
        )
        return not connection.scalar(sa.select(said))


def take(
    db: Database,
    year: int,
    step: Step,
    mode: Mode,
    *,
    due_at: datetime,
    owner: str,
    lease: timedelta,
    gone: Callable[[str], bool],
    now: datetime,
    begins: bool = True,
) -> Hold | None:
    """Take a start that is not done; None if somebody else holds it, or it is done.

    `gone(owner)` tells of an owner that is certainly no longer running: from such a one it is taken
    over at once, from others when their lease is over. With `begins` the work begins, which is
    noted the first time; without, it is only held, to be settled.
    """
    s = schema.starts
    with db.write() as connection:
        new = _ensure(db, connection, year, step, mode, due_at=due_at)
        row = connection.execute(
            sa.select(s).where(*_named(year, step, mode)).with_for_update()
        ).one()
        held = row.owner not in {None, owner} and row.lease_until > now and not gone(row.owner)
        if held or row.done_at is not None:
            return None
        first = row.begun_at is None
        values: dict[str, Any] = {"owner": owner, "lease_until": now + lease}
        if begins:
            values |= {"begun_at": row.begun_at or now, "missed_at": None, "due_at": due_at}
        connection.execute(sa.update(s).where(s.c.id == row.id).values(**values))
        if begins and first:
            _note(connection, Event.START_BEGUN, year, step, mode, due_at=due_at, at=now)
    return Hold(id=row.id, year=year, step=step, mode=mode, owner=owner, first=first, new=new)


def renew(db: Database, hold: Hold, *, lease: timedelta, now: datetime) -> bool:
    """Keep a start for longer; False if it is no longer ours."""
    return _changed(db, hold, lease_until=now + lease)


def release(db: Database, hold: Hold) -> bool:
    """Let a start go again, not done, for whoever looks next; False if it is no longer ours."""
    return _changed(db, hold, owner=None, lease_until=None)


def forget(db: Database, hold: Hold) -> bool:
    """Let a start go as if it had never begun: what it began was cancelled by a person."""
    return _changed(db, hold, owner=None, lease_until=None, begun_at=None)


def done(db: Database, hold: Hold, *, run_id: int | None, now: datetime) -> bool:
    """There is nothing left to do; False if the start is no longer ours."""
    s = schema.starts
    with db.write() as connection:
        row = connection.execute(
            sa.update(s)
            .where(s.c.id == hold.id, s.c.owner == hold.owner, s.c.done_at.is_(None))
            .values(done_at=now, missed_at=None, owner=None, lease_until=None)
            .returning(s.c.due_at)
        ).one_or_none()
        if row is None:
            return False
        _note(
            connection,
            Event.START_DONE,
            hold.year,
            hold.step,
            hold.mode,
            due_at=row.due_at,
            at=now,
            run_id=run_id,
        )
    return True


def miss(
    db: Database, year: int, step: Step, mode: Mode, *, due_at: datetime, now: datetime
) -> bool:
    """Write down that a start was missed; False if it was begun, or this is on record already."""
    s = schema.starts
    with db.write() as connection:
        _ensure(db, connection, year, step, mode, due_at=due_at)
        updated = connection.execute(
            sa.update(s)
            .where(
                *_named(year, step, mode),
                s.c.begun_at.is_(None),
                s.c.done_at.is_(None),
                sa.or_(s.c.missed_at.is_(None), s.c.due_at != due_at),
            )
            .values(missed_at=now, due_at=due_at)
        )
        if updated.rowcount != 1:
            return False
        _note(connection, Event.START_MISSED, year, step, mode, due_at=due_at, at=now)
    return True


def _columns() -> sa.Select[Any]:
    s = schema.starts
    return sa.select(
        *(s.c.year, s.c.step, s.c.due_at, s.c.begun_at, s.c.done_at, s.c.missed_at),
        s.c.lease_until,
    )


def _start(row: Any) -> Start:
    return Start(
        year=row.year,
        step=Step(row.step),
        due_at=row.due_at,
        begun_at=row.begun_at,
        done_at=row.done_at,
        missed_at=row.missed_at,
        lease_until=row.lease_until,
    )


def _named(year: int, step: Step, mode: Mode) -> tuple[sa.ColumnElement[bool], ...]:
    s = schema.starts
    return s.c.year == year, s.c.step == step.value, s.c.mode == mode.value


def _ensure(
    db: Database,
    connection: sa.Connection,
    year: int,
    step: Step,
    mode: Mode,
    *,
    due_at: datetime,
) -> bool:
    """See that there is a row; whether this made it."""
    inserted = connection.scalar(
        db.insert(schema.starts)
        .values(year=year, step=step.value, mode=mode.value, due_at=due_at)
        .on_conflict_do_nothing(index_elements=["year", "step", "mode"])
        .returning(schema.starts.c.id)
    )
    return inserted is not None


def _changed(db: Database, hold: Hold, **values: Any) -> bool:
    s = schema.starts
    with db.write() as connection:
        updated = connection.execute(
            sa.update(s)
            .where(s.c.id == hold.id, s.c.owner == hold.owner, s.c.done_at.is_(None))
            .values(**values)
        )
        return updated.rowcount == 1


def _note(
    connection: sa.Connection,
    kind: Event,
    year: int,
    step: Step,
    mode: Mode,
    *,
    due_at: datetime,
    at: datetime,
    run_id: int | None = None,
) -> None:
    events.note(
        connection,
        kind,
        at=at,
        run_id=run_id,
        data={
            "year": year,
            "step": step.value,
            "mode": mode.value,
            "due_at": due_at.isoformat(timespec="seconds"),
        },
    )
