"""Alerts: what needs a person, on record once for each cause and mode, until it is over.

The row says what has been told to people as well: that the cause is there (`mailed_at`), and that
it is over (`cleared_mailed_at`). What is owed follows from both. Several servers may look at one
ledger: a partial unique index lets one of them raise a cause, and a lease lets one mail it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

import sqlalchemy as sa

from pipeline import schema
from pipeline.database import Database
from pipeline.delivery import NEEDS_A_PERSON, Mode, State
from pipeline.ledger import events
from pipeline.schema import Event

LEASE = timedelta(minutes=10)
"""How long who mails an alert may take; longer than all time-outs of doing so."""

_STALE = timedelta(days=1)  # what was over before anybody could be told is not told after this
_SHOWN = 10  # codes of authorities that are named


class Change(StrEnum):
    """What a mail tells of an alert: that it is there, that it is over, or both at once."""

    RAISED = "raised"
    CLEARED = "cleared"
    BOTH = "both"


class Raised(StrEnum):
    """What came of raising a cause: a new alert, or one that had just been over, open again."""

    NEW = "new"
    AGAIN = "again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert as it is on record.

    `taken` are the addresses that have been mailed what is owed, while others have not;
    `mail_after` is until when a mail that was put off is not tried.
    """

    id: int
    cause: str
    mode: Mode
    what: Mapping[str, Any]
    raised_at: datetime
    mailed_at: datetime | None
    cleared_at: datetime | None
    cleared_mailed_at: datetime | None
    taken: Sequence[str]
    mail_after: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether its cause still holds, for all that is known."""
        return self.cleared_at is None

    def owed(self, now: datetime, *, quiet: timedelta) -> Change | None:
        """What is still to be mailed of it at this moment.

        What was told to be over and is there again is told again only when it has lasted for the
        `quiet` time since: what comes and goes is not mailed each time.
        """
        if self.cleared_at is None:
            if self.mailed_at is None:
                return Change.RAISED
            over = self.cleared_mailed_at
            return Change.RAISED if over is not None and now >= over + quiet else None
        if self.cleared_mailed_at is not None:
            return None
        if self.mailed_at is not None:
            return Change.CLEARED
        return Change.BOTH if now < self.cleared_at + _STALE else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressing:
    """Letters or deliveries of one year that somebody has to look at: how many, and whose.

    `authorities` are the first codes, and `more` says whether there are others.
    """

    count: int
    authorities: Sequence[str]
    more: bool

    @classmethod
    def of(cls, count: int, codes: Sequence[str]) -> Self:
        """With all codes that were asked for: one more than are shown, if there are so many."""
        return cls(count=count, authorities=codes[:_SHOWN], more=len(codes) > _SHOWN)


def standing(db: Database, mode: Mode | None = None) -> list[Alert]:
    """The alerts that are open, oldest first; of one mode, or of all."""
    a = schema.alerts
    of_mode = () if mode is None else (a.c.mode == mode.value,)
    with db.read() as connection:
        rows = connection.execute(
            sa.select(a).where(a.c.cleared_at.is_(None), *of_mode).order_by(a.c.id)
        ).all()
    return [_alert(row) for row in rows]


def over(db: Database, *, limit: int | None = None) -> list[Alert]:
    """The alerts that are over, in every mode, the last one first."""
    a = schema.alerts
    with db.read() as connection:
        rows = connection.execute(
            sa.select(a)
            .where(a.c.cleared_at.is_not(None))
            .order_by(a.c.cleared_at.desc(), a.c.id.desc())
            .limit(limit)
        ).all()
    return [_alert(row) for row in rows]


def count_open(connection: sa.Connection) -> dict[tuple[str, Mode], int]:
    """How many alerts are open, by the first word of their cause and by mode."""
    a = schema.alerts
    found: dict[tuple[str, Mode], int] = {}
    for row in connection.execute(sa.select(a.c.cause, a.c.mode).where(a.c.cleared_at.is_(None))):
        kind = (row.cause.partition(":")[0], Mode(row.mode))
        found[kind] = found.get(kind, 0) + 1
    return found


def raise_(
    db: Database,
    cause: str,
    mode: Mode,
    what: Mapping[str, Any],
    *,
    quiet: timedelta,
    now: datetime,
) -> Raised | None:
    """Put a cause on record; None if it is already, or another process has just done so.

    One that was over for less than the `quiet` time is opened again: it is the same alert.
    """
    a = schema.alerts
    try:
        with db.write() as connection:
            last = connection.execute(
                sa.select(a.c.id, a.c.cleared_at)
                .where(a.c.cause == cause, a.c.mode == mode.value)
                .order_by(a.c.id.desc())
                .limit(1)
            ).one_or_none()
            again = last is not None and last.cleared_at is not None
            if last is not None and again and now < last.cleared_at + quiet:
                done = connection.execute(
                    sa.update(a)
                    .where(a.c.id == last.id, a.c.cleared_at.is_not(None))
                    .values(cleared_at=None, what=dict(what), taken=[], mail_after=None)
                )
                if done.rowcount != 1:
                    return None
                _note(connection, Event.ALERT_RAISED, cause, mode, what, now=now)
                return Raised.AGAIN
            new = connection.scalar(
                db.insert(a)
                .values(cause=cause, mode=mode.value, what=dict(what), raised_at=now, taken=[])
                .on_conflict_do_nothing(
                    index_elements=["cause", "mode"], index_where=sa.text("cleared_at IS NULL")
                )
                .returning(a.c.id)
            )
            if new is None:
                return None
            _note(connection, Event.ALERT_RAISED, cause, mode, what, now=now)
            return Raised.NEW
    except sa.exc.IntegrityError:  # another process has raised it anew in this moment
        return None


def change(db: Database, alert: Alert, what: Mapping[str, Any]) -> None:
    """The cause still holds, but counts differ from what is on record."""
    a = schema.alerts
    with db.write() as connection:
        connection.execute(
            sa.update(a).where(a.c.id == alert.id, a.c.cleared_at.is_(None)).values(what=dict(what))
        )


def clear(db: Database, alert: Alert, *, now: datetime) -> bool:
    """Its cause is over; False if another process has said so."""
    a = schema.alerts
    with db.write() as connection:
        done = connection.execute(
            sa.update(a)
            .where(a.c.id == alert.id, a.c.cleared_at.is_(None))
            .values(cleared_at=now, taken=[], mail_after=None)
        )
        if done.rowcount != 1:
            return False
        _note(connection, Event.ALERT_CLEARED, alert.cause, alert.mode, alert.what, now=now)
    return True


def claim(
    db: Database,
    mode: Mode,
    *,
    owner: str,
    gone: Callable[[str], bool],
    quiet: timedelta,
    now: datetime,
) -> list[tuple[Alert, Change]]:
    """Take all that is to be mailed and that nobody else is mailing; oldest first.

    `gone(owner)` tells of an owner that is certainly no longer running: from such a one it is taken
    over at once, from others when their lease is over.
    """
    a = schema.alerts
    with db.write() as connection:
        rows = connection.execute(
            _unmailed(mode, now).with_for_update(skip_locked=True, of=a)
        ).all()
        found = _to_mail(rows, gone=gone, quiet=quiet, now=now)
        if found:
            connection.execute(
                sa.update(a)
                .where(a.c.id.in_([alert.id for alert, _ in found]))
                .values(owner=owner, lease_until=now + LEASE)
            )
    return found


def owes(
    db: Database,
    mode: Mode,
    *,
    gone: Callable[[str], bool],
    quiet: timedelta,
    now: datetime,
) -> bool:
    """Whether `claim` would find something; most looks find nothing, and need not write."""
    with db.read() as connection:
        rows = connection.execute(_unmailed(mode, now)).all()
    return bool(_to_mail(rows, gone=gone, quiet=quiet, now=now))


def _unmailed(mode: Mode, now: datetime) -> sa.Select[Any]:
    """What may be owed, oldest first."""
    a = schema.alerts
    return (
        sa.select(a)
        .where(
            a.c.mode == mode.value,
            sa.or_(
                a.c.cleared_at.is_(None)
                & sa.or_(a.c.mailed_at.is_(None), a.c.cleared_mailed_at.is_not(None)),
                a.c.cleared_at.is_not(None)
                & a.c.cleared_mailed_at.is_(None)
                & sa.or_(a.c.mailed_at.is_not(None), a.c.cleared_at > now - _STALE),
            ),
        )
        .order_by(a.c.id)
    )


def _to_mail(
    rows: Iterable[Any], *, gone: Callable[[str], bool], quiet: timedelta, now: datetime
) -> list[tuple[Alert, Change]]:
    found = []
    for row in rows:
        # A lease further ahead than any lasts was written by a clock that was wrong.
        held = row.owner is not None and now < row.lease_until <= now + 2 * LEASE
        if held and not gone(row.owner):
            continue
        alert = _alert(row)
        if alert.mail_after is not None and now < alert.mail_after <= now + _STALE:
            continue
        owed = alert.owed(now, quiet=quiet)
        if owed is not None:
            found.append((alert, owed))
    return found


def is_held(db: Database, ids: Collection[int], *, owner: str) -> bool:
    """Whether all these are still `owner`'s to mail."""
    a = schema.alerts
    with db.read() as connection:
        held = connection.scalar(
            sa.select(sa.func.count()).select_from(a).where(a.c.id.in_(ids), a.c.owner == owner)
        )
    return held == len(ids)


def mailed(db: Database, alert: Alert, change: Change, *, owner: str, now: datetime) -> None:
    """Everybody who is to be told has been; nothing changes if it is no longer `owner`'s."""
    columns: dict[Change, dict[str, datetime | None]] = {
        Change.RAISED: {"mailed_at": now, "cleared_mailed_at": None},
        Change.CLEARED: {"cleared_mailed_at": now},
        Change.BOTH: {"mailed_at": now, "cleared_mailed_at": now},
    }
    told = columns[change]
    _release(db, alert, owner, taken=[], mail_after=None, **told)


def put_off(
    db: Database, alert: Alert, taken: Collection[str], *, owner: str, until: datetime | None
) -> None:
    """It is still owed to all but those in `taken`; not to be tried before `until`."""
    _release(db, alert, owner, taken=sorted(taken), mail_after=until)


def _release(db: Database, alert: Alert, mailer: str, **values: Any) -> None:
    a = schema.alerts
    with db.write() as connection:
        connection.execute(
            sa.update(a)
            .where(a.c.id == alert.id, a.c.owner == mailer)
            .values(owner=None, lease_until=None, **values)
        )


def faults(db: Database) -> dict[int, Pressing]:
    """The letters that cannot be made, by year; not those that are withheld or forgotten."""
    table, r = schema.letters, schema.runs
    conditions = (
        r.c.cancelled_at.is_(None),
        r.c.forgotten_at.is_(None),
        table.c.fault.is_not(None),
        table.c.withheld_at.is_(None),
        table.c.superseded_at.is_(None),
    )
    with db.read() as connection:
        rows = connection.execute(
            sa.select(r.c.year, sa.func.count())
            .join_from(table, r, r.c.id == table.c.run_id)
            .where(*conditions)
            .group_by(r.c.year)
        ).all()
        return {
            year: Pressing.of(
                count,
                connection.scalars(
                    sa.select(table.c.authority_code)
                    .join(r, r.c.id == table.c.run_id)
                    .where(*conditions, r.c.year == year)
                    .order_by(table.c.authority_code)
                    .limit(_SHOWN + 1)
                ).all(),
            )
            for year, count in rows
        }


def troubled(
    db: Database, mode: Mode, kinds: Mapping[str, Collection[State]]
) -> dict[tuple[int, str], Pressing]:
    """The deliveries that somebody has to look at, by year and kind, as `story.summary` counts.

    `kinds` says which states are of which kind. One that a later message of the same letter has
    made up for is not among them, nor is one of a letter that is withheld or forgotten.
    """
    table, r, m, d = schema.letters, schema.runs, schema.messages, schema.deliveries
    in_trouble = (
        d.c.mode == mode.value,
        d.c.state.in_([state.value for state in NEEDS_A_PERSON]),
    )
    with db.read() as connection:
        if not connection.scalar(sa.select(sa.exists().where(*in_trouble))):
            return {}
        latest = sa.select(sa.func.max(m.c.id)).where(m.c.mode == mode.value)
        conditions = (
            *in_trouble,
            r.c.cancelled_at.is_(None),
            r.c.forgotten_at.is_(None),
            table.c.withheld_at.is_(None),
            table.c.superseded_at.is_(None),
            d.c.message_id.in_(latest.group_by(m.c.letter_id)),
        )
        source = d.join(table, table.c.id == d.c.letter_id).join(r, r.c.id == table.c.run_id)
        rows = connection.execute(
            sa.select(r.c.year, d.c.state, sa.func.count())
            .select_from(source)
            .where(*conditions)
            .group_by(r.c.year, d.c.state)
        ).all()
        found: dict[tuple[int, str], Pressing] = {}
        for kind, states in kinds.items():
            for year in sorted({row[0] for row in rows if row[1] in states}):
                codes = connection.scalars(
                    sa.select(table.c.authority_code)
                    .select_from(source)
                    .where(
                        *conditions,
                        r.c.year == year,
                        d.c.state.in_([state.value for state in states]),
                    )
                    .distinct()
                    .order_by(table.c.authority_code)
                    .limit(_SHOWN + 1)
                ).all()
                count = sum(row[2] for row in rows if row[0] == year and row[1] in states)
                found[year, kind] = Pressing.of(count, codes)
        return found


def _note(
    connection: sa.Connection,
    kind: Event,
    cause: str,
    mode: Mode,
    what: Mapping[str, Any],
    *,
    now: datetime,
) -> None:
    data = {"cause": cause, "mode": mode.value, "what": dict(what)}
    events.note(connection, kind, at=now, data=data)


def _alert(row: Any) -> Alert:
    return Alert(
        id=row.id,
        cause=row.cause,
        mode=Mode(row.mode),
        what=row.what,
        raised_at=row.raised_at,
        mailed_at=row.mailed_at,
        cleared_at=row.cleared_at,
        cleared_mailed_at=row.cleared_mailed_at,
        taken=tuple(row.taken),
        mail_after=row.mail_after,
    )
